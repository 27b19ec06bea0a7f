"""Scores of held-out examples one by one, before and after, and what the difference between the two is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from llmkit.stages.tuning.task import SCORED

if TYPE_CHECKING:
    from torch import nn

    from llmkit.evaluation.result import ItemRecord
    from llmkit.train.examples import Rendered

T = TypeVar("T")


def spread(items: Sequence[T], most: int = SCORED) -> list[T]:
    """At most so many of the items, evenly, in their order."""
    count = min(most, len(items))
    return [items[at * len(items) // count] for at in range(count)]


def rows_nll(model: nn.Module, examples: Sequence[Rendered]) -> list[tuple[float, int]]:
    """For each example (negative log-likelihood of its trained tokens in nats, their number).

    One row at a time, in float32 and without dropout: no neighbour and no padding has any part in it.
    """
    import torch

    from llmkit.train.losses import token_loss, without_cache
    from llmkit.train.padding import Padded
    from llmkit.train.samples import Sample

    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found = []
    try:
        with torch.no_grad(), without_cache(model), torch.compiler.set_stance("force_eager"):
            for example in examples:
                batch = Padded([example], batch_size=1, seed=0, shuffle=False).batch([Sample(0, 0)], 1)
                nll, tokens = token_loss(model, batch.to(device))
                found.append((float(nll), int(tokens)))
    finally:
        model.train(was_training)
    return found


def compared(
    metrics: Sequence[str], before: Sequence[ItemRecord], after: Sequence[ItemRecord]
) -> Mapping[str, Mapping[str, Any]]:
    """Each metric before and after on the same examples, and the paired difference with its 95% interval. JSON-ready.

    Empty where there are fewer than two examples to compare; without a metric that no example has a share in.
    `n` is the number of examples that have one.
    """
    from llmkit.evaluation.aggregate import task_result
    from llmkit.evaluation.compare import compare
    from llmkit.evaluation.metrics.table import score_name

    if len(after) < 2 or len(before) != len(after):
        return {}
    metrics = [
        name
        for name in metrics
        if all(any(record.scores[score_name(name)].weight for record in records) for records in (before, after))
    ]
    old, new = (task_result("held-out", "finetune", metrics, records, digest="held-out") for records in (before, after))
    differences = compare(new, old).differences
    return {
        name: {
            "before": old.metrics[name].value,
            "after": new.metrics[name].value,
            "ci": new.metrics[name].ci,
            "difference": differences[name].value,
            "difference_ci": differences[name].ci,
            "p_value": differences[name].p_value,
            "n": sum(record.scores[score_name(name)].weight > 0 for record in after),
        }
        for name in metrics
        if name in differences
    }

"""Loss on held-out samples while a model is being trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import nn

from llmkit.config.sections import TrainOptions
from llmkit.train.losses import Loss, token_loss, without_cache
from llmkit.train.precision import autocast, wide
from llmkit.train.records import Evaluation
from llmkit.train.samples import Sample, Samples, samples_of_step, shares


@torch.no_grad()
def evaluate(
    model: nn.Module,
    samples: Samples,
    *,
    batch_size: int,
    limit: int = 0,
    loss: Loss = token_loss,
    precision: str = "fp32",
    accelerator: Accelerator | None = None,
) -> tuple[float, int]:
    """(summed negative log-likelihood in nats, positions predicted) over all samples, or `limit` of them, each once.

    The model stays on its device and returns to the mode it was in. With an accelerator, processes share the samples.
    """
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=wide(device), device=device)
    try:
        with without_cache(model), autocast(device, precision):
            for share in shares(spread(samples, limit), batch_size, rank, world):
                nll, weight = loss(model, samples.batch(share, batch_size).to(device))
                total += torch.stack([nll.to(total.dtype), weight.to(total.dtype)])
    finally:
        model.train(was_training)
    reduced = accelerator.reduce(total, "sum") if accelerator else total
    return float(reduced[0]), int(reduced[1])


def spread(samples: Samples, limit: int) -> list[Sample]:
    """All samples of the first epoch in order, or `limit` of them, evenly spread: the same ones every time."""
    every = samples_of_step(samples, 0, len(samples))
    if not limit or limit >= len(every):
        return every
    return [every[at * len(every) // limit] for at in range(limit)]


class HeldOut:
    """Held-out samples by the name of the dataset they are of, and how they are measured.

    Args:
        parts: of one dataset or several; measured by their joint loss per token.
        options: their `eval_samples` is the limit over all parts, which are measured in proportion to their sizes.
    """

    def __init__(self, parts: Mapping[str, Samples], options: TrainOptions, *, loss: Loss = token_loss) -> None:
        self._parts, self._loss = parts, loss
        total = sum(len(part) for part in parts.values())
        wanted = min(options.eval_samples or total, total)
        self._limits = {name: max(1, round(wanted * len(part) / total)) for name, part in parts.items()}

    def measure(
        self, model: nn.Module, step: int, *, batch_size: int, precision: str, accelerator: Accelerator
    ) -> Evaluation:
        """The loss after a step, of all parts and, where there are several, of each."""
        found = {
            name: evaluate(
                model,
                part,
                batch_size=batch_size,
                limit=self._limits[name],
                loss=self._loss,
                precision=precision,
                accelerator=accelerator,
            )
            for name, part in self._parts.items()
        }
        nll, tokens = sum(nll for nll, _ in found.values()), sum(tokens for _, tokens in found.values())
        parts = {name: Evaluation(step, *sums) for name, sums in found.items()} if len(found) > 1 else {}
        return Evaluation(step, nll, tokens, parts)

"""The loss of a batch as (sum, weight): summed cross-entropy and the number of positions it was summed over.

A mean would have to be weighted again over micro-batches and processes; sums and counts simply add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from llmkit.models.families import FAMILIES
from llmkit.models.heads import head_as_loss, logits_at_once
from llmkit.train.samples import IGNORE, Batch

Loss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
"""`loss(model, batch) -> (sum, weight)`, two scalars; the sum carries the gradient."""

HEAD_IS_LAST = frozenset(row.model_type for row in FAMILIES.values())
"""Architectures that return the output layer's values as their logits, unscaled and uncapped."""


def token_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy, in nats, of the labels of a batch under any language model, wrapped or not.

    Logits are computed only where there is a label, a slice at a time, inside the model's own output layer: nothing of
    the shape (rows, length, vocabulary) ever exists. The result is that of the plain computation.
    """
    inner = unwrapped(model)
    labels, places = batch.labels.flatten(), batch.places
    weight = labels.new_full((), len(labels) if places is None else len(places))
    if inner.config.model_type in HEAD_IS_LAST:
        head, at_once = inner.get_output_embeddings(), logits_at_once(labels.device.type)

        def chosen(hidden: Tensor) -> tuple[Tensor, Tensor]:
            states = hidden.flatten(0, 1)
            return (states, labels) if places is None else (states[places], labels[places])

        with head_as_loss(head, chosen, at_once):
            return model(**batch.inputs).logits, weight
    logits = model(**batch.inputs).logits.flatten(0, 1)
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total, weight


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside what distributes it and what adapts it."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


@contextmanager
def without_cache(model: nn.Module) -> Iterator[None]:
    """Key-value caching off in every part of a model: useless in training, and slower.

    It is also the first half of the packing trap: with a cache, position ids do not isolate packed documents.
    """
    configs: dict[int, Any] = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    before = {key: config.use_cache for key, config in configs.items() if hasattr(config, "use_cache")}
    for key in before:
        configs[key].use_cache = False
    try:
        yield
    finally:
        for key, value in before.items():
            configs[key].use_cache = value

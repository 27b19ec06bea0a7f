"""The loss of a batch as (sum, weight): summed cross-entropy and the number of positions it was summed over.

A mean would have to be weighted again over micro-batches and processes; sums and counts simply add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmkit.models.families import FAMILIES
from llmkit.train.samples import IGNORE, Batch

Loss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
"""`loss(model, batch) -> (sum, weight)`, two scalars; the sum carries the gradient."""

_HEAD_IS_LAST = frozenset(row.model_type for row in FAMILIES.values())
"""Architectures that return the output layer's values as their logits, unscaled and uncapped."""

_LOGITS_AT_ONCE = {"cpu": 2**22}
"""Logits computed together. 16 MB of float32 stay in a CPU's cache: 1.2 to 1.5 times the tokens/s of a whole batch's
logits (measured: 16x256 tokens, 8k vocabulary, 2 cores)."""
_LOGITS_AT_ONCE_ELSEWHERE = 2**27


def token_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy, in nats, of the labels of a batch under any language model, wrapped or not.

    Logits are computed only where there is a label, a slice at a time, inside the model's own output layer: nothing of
    the shape (rows, length, vocabulary) ever exists. The result is that of the plain computation.
    """
    inner = unwrapped(model)
    weight = (batch.labels != IGNORE).sum()
    if inner.config.model_type in _HEAD_IS_LAST:
        with _head_as_loss(inner.get_output_embeddings(), batch.labels):
            return model(**batch.inputs).logits, weight
    logits = model(**batch.inputs).logits.flatten(0, 1)
    total = functional.cross_entropy(logits.float(), batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
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


@contextmanager
def _head_as_loss(head: nn.Module, labels: Tensor) -> Iterator[None]:
    """While open, the output layer returns the summed loss of its hidden states (rows, length, width)."""
    logits_of = head.forward

    def summed_loss(hidden: Tensor) -> Tensor:
        trained = labels != IGNORE
        states, targets = hidden[trained], labels[trained]
        slice_ = max(1, _LOGITS_AT_ONCE.get(hidden.device.type, _LOGITS_AT_ONCE_ELSEWHERE) // _width(head))
        # At least one slice, if an empty one: a process without labels must still give every parameter a gradient.
        parts = [
            functional.cross_entropy(logits_of(state).float(), target, reduction="sum")
            for state, target in zip(torch.split(states, slice_), torch.split(targets, slice_), strict=True)
        ]
        return torch.stack(parts).sum()

    head.forward = summed_loss
    try:
        yield
    finally:
        del head.forward


def _width(head: Any) -> int:
    return int(head.weight.shape[0])

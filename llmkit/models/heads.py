"""The output layer as a loss: summed cross-entropy, a slice of the logits at a time.

Training computes with it, and a plan of training counts the memory that it takes; so it stands below both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

LOGITS_AT_ONCE: Mapping[str, int] = {"cpu": 2**22}
"""Logits computed together, by kind of device. 16 MB of float32 stay in a CPU's cache: 1.2 to 1.5 times the tokens/s of
a whole batch's logits (measured: 16x256 tokens, 8k vocabulary, 2 cores)."""
LOGITS_AT_ONCE_ELSEWHERE = 2**27


def logits_at_once(device_type: str) -> int:
    """How many logits are computed together on a kind of device."""
    return LOGITS_AT_ONCE.get(device_type, LOGITS_AT_ONCE_ELSEWHERE)


@contextmanager
def head_as_loss(head: nn.Module, chosen: Callable[[Tensor], tuple[Tensor, Tensor]], at_once: int) -> Iterator[None]:
    """While open, the output layer returns a summed cross-entropy, in nats, in place of logits.

    Args:
        head: the output layer.
        chosen: takes of its hidden states (rows, length, width) those that have a target: `(states, token ids)`.
        at_once: logits that are computed together.
    """
    logits_of = head.forward
    weight: Tensor = head.weight  # type: ignore[assignment]  # a Linear's, which the type of modules does not say
    rows = max(1, at_once // weight.shape[0])

    def summed_loss(hidden: Tensor) -> Tensor:
        states, targets = chosen(hidden)
        # At least one slice, if an empty one: a process without labels must still give every parameter a gradient.
        parts = [
            functional.cross_entropy(logits_of(state).float(), target, reduction="sum")
            for state, target in zip(torch.split(states, rows), torch.split(targets, rows), strict=True)
        ]
        return torch.stack(parts).sum()

    head.forward = summed_loss
    try:
        yield
    finally:
        del head.forward

"""The output layer as a loss: summed cross-entropy, a slice of the logits at a time.

Training computes with it, and a plan of training counts the memory that it takes; so it stands below both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOGITS_AT_ONCE: Mapping[str, int] = {"cpu": 2**22}
"""Logits computed together, by kind of device. 16 MB of float32 stay in a CPU's cache: 1.2 to 1.5 times the tokens/s of
a whole batch's logits (measured: 16x256 tokens, 8k vocabulary, 2 cores)."""
LOGITS_AT_ONCE_ELSEWHERE = 2**27

_ALIGNMENT: Mapping[str, int] = {"cuda": 64}
"""Tensor cores want a vocabulary that is a multiple of this (nanoGPT, model.py: 50257 is rounded up to 50304)."""

COMPILED = "compiled_loss"
"""Name of the attribute that, where true, says that a head's softmax and its gradient are compiled."""

Chosen = Callable[[Tensor], tuple[Tensor, Tensor]]


def logits_at_once(device_type: str) -> int:
    """How many logits are computed together on a kind of device."""
    return LOGITS_AT_ONCE.get(device_type, LOGITS_AT_ONCE_ELSEWHERE)


@contextmanager
def head_as_loss(head: nn.Module, chosen: Chosen, at_once: int) -> Iterator[None]:
    """While open, the output layer returns a summed cross-entropy, in nats, in place of logits.

    A plain linear layer computes each slice's gradient along with its loss: logits are neither kept nor computed again.

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
        # Where an adapter trains some rows of the layer, `head.weight` is the whole with these rows put in.
        linear = getattr(head, "original_module", head)
        if type(linear) is nn.Linear and (linear is head or linear.bias is None) and torch.is_grad_enabled():
            softmax = _compiled() if getattr(head, COMPILED, False) else _loss_and_gradient
            given = (states, head.weight, linear.bias, targets, rows, softmax)
            total: Tensor = _Sliced.apply(*given)  # type: ignore[no-untyped-call]  # torch has no types here
            return total
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


class _Sliced(torch.autograd.Function):
    """Summed cross-entropy of a linear layer, whose gradient is made on the way forward, a slice of rows at a time.

    The idea is Liger Kernel's (arXiv:2410.10989, section 3.2).
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        rows: int,
        softmax: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        with torch.autocast(kind, enabled=False):
            inputs = states.to(dtype)
            matrix, offsets = _aligned(weight.to(dtype), None if bias is None else bias.to(dtype), kind)
            wanted = ctx.needs_input_grad
            by_state = torch.empty_like(inputs) if wanted[0] else None
            by_weight = torch.zeros_like(matrix, dtype=weight.dtype) if wanted[1] else None
            by_bias = weight.new_zeros(len(matrix)) if wanted[2] else None
            total = torch.zeros((), dtype=torch.float32, device=states.device)
            for start in range(0, len(inputs), rows):
                part = inputs[start : start + rows]
                loss, gradient = softmax(functional.linear(part, matrix, offsets), targets[start : start + rows])
                total += loss
                if by_state is not None:
                    torch.mm(gradient, matrix, out=by_state[start : start + rows])
                if by_weight is not None and dtype == by_weight.dtype:
                    by_weight.addmm_(gradient.t(), part)
                elif by_weight is not None:
                    by_weight += gradient.t() @ part
                if by_bias is not None:
                    by_bias += gradient.sum(0)
        ctx.made = (
            None if by_state is None else by_state.to(states.dtype),
            None if by_weight is None else by_weight[: len(weight)],
            None if by_bias is None else by_bias[: len(weight)],
        )
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        made, ctx.made = ctx.made, ()
        return (*(None if part is None else part.mul_(upstream[0]) for part in made), None, None, None)


def _loss_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of logits (rows, vocabulary), in float32, and its gradient in their own type."""
    logs = functional.log_softmax(logits, dim=-1, dtype=torch.float32)
    at = targets[:, None]
    loss = -logs.gather(1, at).sum()
    gradient = logs.exp_()
    gradient.scatter_add_(1, at, gradient.new_full((), -1.0).expand(at.shape))
    return loss, gradient.to(logits.dtype)


def _fusible(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same in a form from which a compiler makes two passes over the logits."""
    wide = logits.float()
    logs = wide - wide.logsumexp(-1, keepdim=True)
    hit = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return -logs.gather(1, targets[:, None]).sum(), (logs.exp() - hit.float()).to(logits.dtype)


@cache
def _compiled() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    # The last slice of a batch has a shape of its own: at most two are compiled.
    return torch.compile(_fusible, dynamic=False)


def _aligned(weight: Tensor, bias: Tensor | None, kind: str) -> tuple[Tensor, Tensor | None]:
    """The layer with rows added up to the device's alignment; their logits are -inf, so their probability is 0."""
    missing = -len(weight) % _ALIGNMENT.get(kind, 1)
    if not missing:
        return weight, bias
    given = weight.new_zeros(len(weight)) if bias is None else bias
    return functional.pad(weight, (0, 0, 0, missing)), functional.pad(given, (0, missing), value=float("-inf"))

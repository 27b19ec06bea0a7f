"""Dropout on a CPU, at the cost of a quarter of torch's: its random numbers are drawn four at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = 2**16
"""A number of 16 bits says whether an element stays, so `p` is met to 1 in 131,072; the mean is met exactly."""

_TORCHS = functional.dropout


@contextmanager
def quick_dropout() -> Iterator[None]:
    """While open, dropout on a CPU is computed by this module, as often as torch's and from the same generator.

    6.3 million elements, forward, one core with AVX-512, torch 2.13: bfloat16 8 ms against 31, float32 13 against 50.
    """
    # nn.Dropout and every architecture call it by this name.
    module: Any = functional
    before = module.dropout
    module.dropout = dropout
    try:
        yield
    finally:
        module.dropout = before


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002  # torch's name
    """Stands in for `torch.nn.functional.dropout`, with its arguments and result."""
    dropped = round(p * _STEPS)
    plain = not training or inplace or input.device.type != "cpu" or not 0 < dropped < _STEPS
    # What is compiled is fused with what stands around it, random numbers and all.
    if plain or torch.compiler.is_compiling():
        return _TORCHS(input, p, training, inplace)
    made: Tensor = _Dropout.apply(input, dropped)  # type: ignore[no-untyped-call]  # torch has no types here
    return made


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dropped: int) -> Tensor:
        drawn = torch.empty(-(-tensor.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.int16)[: tensor.numel()].view(tensor.shape) >= dropped - _STEPS // 2
        ctx.save_for_backward(kept)
        ctx.scale = _STEPS / (_STEPS - dropped)
        return _masked(tensor, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _masked(gradient, kept, ctx.scale), None


def _masked(tensor: Tensor, kept: Tensor, scale: float) -> Tensor:
    # The fastest of torch's many ways differs: four times between them, for either type.
    if tensor.dtype == torch.bfloat16:
        return torch.mul(tensor, kept.view(torch.uint8)).mul_(scale)
    return torch.where(kept, tensor, tensor.new_zeros(())).mul_(scale)

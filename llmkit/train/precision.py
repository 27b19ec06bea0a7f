"""Where to compute and in which precision: chosen by measuring this machine, not by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch

from llmkit.errors import UnavailableError, UsageError
from llmkit.models.kernels import quick_kernels

Precision = Literal["fp32", "bf16"]

_ROWS, _WIDTH = 2048, 512
_REPEATS = 7
_WORTHWHILE = 1.2
"""bf16 must win by this factor: casting the weights in every step eats smaller gains."""


@dataclass(frozen=True)
class Probe:
    """Matrix multiplication as measured on one device, in GFLOP/s."""

    device: str
    fp32: float
    bf16: float

    def peak(self, precision: Precision) -> float:
        """FLOP/s in that precision, as measured."""
        return 1e9 * (self.bf16 if precision == "bf16" else self.fp32)

    @property
    def precision(self) -> Precision:
        """bf16 only where it is clearly faster; without hardware for it, it can be a hundred times slower."""
        return "bf16" if self.bf16 > _WORTHWHILE * self.fp32 else "fp32"


def probe(device: torch.device, precision: Precision | None = None) -> Probe:
    """Multiply small matrices (2048x512 by 512x512) in both precisions, alternately; takes well under a second.

    The median of several runs is what other work on the machine disturbs least.

    Args:
        precision: measure this one alone, and leave the other at 0.
    """
    wanted: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
    speeds: dict[torch.dtype, list[float]] = {dtype: [] for name, dtype in wanted.items() if precision in (None, name)}
    operands = {
        dtype: (
            torch.ones(_ROWS, _WIDTH, device=device, dtype=dtype),
            torch.ones(_WIDTH, _WIDTH, device=device, dtype=dtype),
        )
        for dtype in speeds
    }
    for turn in range(_REPEATS + 1):
        for dtype, (left, right) in operands.items():
            _finish(device)
            begin = time.perf_counter()
            torch.mm(left, right)
            _finish(device)
            if turn:  # the first run also pays for setting up
                speeds[dtype].append(2e-9 * _ROWS * _WIDTH * _WIDTH / (time.perf_counter() - begin))
    fp32, bf16 = (median(speeds.get(dtype, [0.0])) for dtype in wanted.values())
    return Probe(str(device), fp32, bf16)


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` is the fastest kind there is.

    Args:
        local_rank: number of this process on this machine; `auto` and `cuda` give each process its own GPU.

    Raises:
        UnavailableError: this machine has no such device.
        UsageError: there is no such name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"no device is called '{name}'", mend="use auto, cpu, cuda, cuda:N or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UnavailableError("this machine has no Apple GPU that torch can use", mend="use --device cpu")
    if kind != "cuda":
        return torch.device(kind)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(number) if number else local_rank
    if index >= count:
        raise UnavailableError(
            f"device cuda:{index} is not there: torch {torch.__version__} sees {count} CUDA devices here",
            mend="use --device cpu" if not count else f"use cuda:0 to cuda:{count - 1}, and at most {count} processes",
        )
    return torch.device("cuda", index)


def threads_for(processes: int) -> int:
    """CPU threads for one of `processes` processes on this machine; OMP_NUM_THREADS, where set, decides."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products in bfloat16, where that is the precision; attention as the device is fastest at it."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"), quick_kernels():
        yield


def wide(device: torch.device) -> torch.dtype:
    """The widest type of floating point for sums; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

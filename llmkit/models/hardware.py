"""Accelerators by name: what a plan must know of one. Readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmkit.errors import UsageError, closest

GIB = 1024**3


@dataclass(frozen=True)
class Hardware:
    """One device that trains.

    Attributes:
        bf16: peak TFLOP/s of dense matrix products in 16 bits with float32 sums, without structured sparsity; of
            bfloat16, or of float16 where the device has no bfloat16.
        fp32: peak TFLOP/s in float32, without TF32, which torch leaves off by default.
        memory: bytes that its driver reports.
        watts: the board's power limit; 0 where unknown.
        source: the maker's data sheet; "" for a device that was measured.
    """

    name: str
    bf16: float
    fp32: float
    memory: int
    watts: float
    source: str = ""

    def peak(self, precision: str) -> float:
        """Peak FLOP/s of matrix products in a precision of `PlanOptions`."""
        return 1e12 * (self.fp32 if precision == "fp32" else self.bf16)


def _gib(value: float) -> int:
    return round(value * GIB)


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
_ROWS = (
    # Memory as nvidia-smi shows it: with error correction, T4 and L40S offer less than their name says. The data
    # sheets of Hopper and Ada print peaks with sparsity; these are the dense halves.
    Hardware("h200", 989.4, 66.9, _gib(140.4), 700, f"{_NVIDIA}/h200/"),
    Hardware("h100", 989.4, 66.9, _gib(79.6), 700, f"{_NVIDIA}/h100/"),
    Hardware("a100-80gb", 312.0, 19.5, _gib(80.0), 400, f"{_NVIDIA}/a100/"),
    Hardware("a100-40gb", 312.0, 19.5, _gib(40.0), 400, f"{_NVIDIA}/a100/"),
    Hardware("l40s", 362.05, 91.6, _gib(45.0), 350, f"{_NVIDIA}/l40s/"),
    Hardware(
        "rtx4090",
        165.2,
        82.6,
        _gib(24.0),
        450,
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
    Hardware(
        "rtx3090",
        71.0,
        35.6,
        _gib(24.0),
        350,
        "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf",
    ),
    Hardware("t4", 65.0, 8.1, _gib(15.0), 70, f"{_NVIDIA}/tesla-t4/"),
)

HARDWARE: Mapping[str, Hardware] = MappingProxyType({row.name: row for row in _ROWS})
"""Name -> device, the largest memory and newest generation first."""


def hardware(name: str) -> Hardware:
    """The device of that name. Raises UsageError, with the nearest names, where there is none."""
    if name in HARDWARE:
        return HARDWARE[name]
    raise UsageError(
        f"no GPU is called '{name}'{closest(name, HARDWARE)}",
        mend="GPUs: " + ", ".join(HARDWARE) + "; or auto for this machine, with --device-memory for any other",
    )


def by_driver_name(name: str, memory: int) -> Hardware | None:
    """The row for the name that a driver gives, such as `NVIDIA A100-SXM4-40GB`; None for a device not in the table.

    Args:
        memory: bytes, which tell the two A100 apart.
    """
    words = name.lower().replace(" ", "").replace("-", "")
    for key in ("h200", "h100", "l40s", "rtx4090", "rtx3090", "t4"):
        if key in words:
            return hardware(key)
    if "a100" in words:
        return hardware("a100-80gb" if memory > 60 * GIB else "a100-40gb")
    return None

"""Model FLOPs utilisation (MFU): how much of what a device can compute goes into the model's own arithmetic.

As PaLM defines it (arXiv:2204.02311, appendix B): the FLOPs that the model needs forward and backward, without any
recomputation, over what the devices could do at their peak in the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llmkit.models.families import Objective
from llmkit.models.hardware import by_driver_name
from llmkit.models.memory import positions
from llmkit.models.plan import flops
from llmkit.models.tracing import Pass
from llmkit.train.options import Choices
from llmkit.train.precision import probe

_PROBES = 3


@dataclass(frozen=True)
class Utilisation:
    """What a run's speed is measured by.

    Attributes:
        flops: of one position with a place for a label, forward and backward.
        peak: FLOP/s of all devices together.
        measured: whether the peak is a matrix product timed here, because no data sheet gives one.
    """

    flops: float
    peak: float
    measured: bool

    def mfu(self, rate: float) -> float:
        """The share of the peak at so many positions per second."""
        return self.flops * rate / self.peak


def utilisation(model: nn.Module, objective: Objective, length: int, choices: Choices) -> Utilisation | None:
    """How to tell a run's MFU; takes some tenths of a second on a CPU, and nothing on a known GPU.

    Args:
        model: as it is trained: frozen weights count for less.
        length: tokens of a sample, of their mean length where they differ.
        choices: what the run settled on; all its processes have devices alike.

    Returns:
        None where nothing is known: a model whose shape cannot be read.
    """
    try:
        each = flops_per_position(model, objective, length)
    except (AttributeError, TypeError):
        return None
    device = next(model.parameters()).device
    peak, measured = _peak(device, choices)
    return Utilisation(each, peak * choices.processes, measured) if peak else None


def flops_per_position(model: nn.Module, objective: Objective, length: int) -> float:
    """FLOPs of training for each position of the labels: those of a whole sample, shared out."""
    answer, predicted = positions(objective, length)
    config: Any = model.config
    # What matters of an adapter is that the base's weights have no gradient, which the model itself says.
    forward, backward, _ = flops(model, config, Pass(1, length, answer, predicted))
    return (forward + backward) / (answer or length)


def _peak(device: torch.device, choices: Choices) -> tuple[float, bool]:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        known = by_driver_name(properties.name, properties.total_memory)
        if known is not None:
            return known.peak(choices.precision), False
    # Other work on the machine can only make it look slower: the fastest of three is nearest to what it can do.
    return max(probe(device, choices.precision).peak(choices.precision) for _ in range(_PROBES)), True

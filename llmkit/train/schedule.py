"""Learning-rate schedules: pure functions from how far a run has come to a multiplier of its peak learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

ScheduleName = Literal["cosine", "linear", "constant", "wsd"]
Decay = Callable[[float], float]
"""From the share of the run after warm-up that is over, in [0, 1], to the share of the peak that is left."""

WSD_DECAY = 0.2
"""Share of a warmup-stable-decay run that decays; 10 to 20% is enough (arXiv:2405.18392, figure 5)."""


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _linear(done: float) -> float:
    return 1.0 - done


def _constant(done: float) -> float:
    return 1.0


def _wsd(done: float) -> float:
    # 1 - sqrt is the better shape of the decay (arXiv:2405.18392, section 3).
    into_decay = max(0.0, (done - (1.0 - WSD_DECAY)) / WSD_DECAY)
    return 1.0 - math.sqrt(into_decay)


SCHEDULES: Mapping[ScheduleName, Decay] = MappingProxyType(
    {"cosine": _cosine, "linear": _linear, "constant": _constant, "wsd": _wsd}
)


def multiplier(name: ScheduleName, step: float, steps: float, *, warmup: float, floor: float) -> float:
    """The learning rate of a step as a share of the peak.

    Linear warm-up, never from zero, over the first `warmup * steps` steps; then the schedule's decay from 1 to `floor`.

    Args:
        step: number of the step from 0. A run with a time budget passes a fraction.
        steps: steps of the whole run.
        warmup: share of the steps that warm up, in [0, 1].
        floor: share of the peak that a decaying schedule ends at.
    """
    warm = warmup * steps
    if step < warm:
        return min(1.0, (step + 1.0) / warm)
    # The last step, number steps - 1, is the one that reaches the floor.
    done = min(1.0, (step - warm) / max(1.0, steps - 1.0 - warm))
    return floor + (1.0 - floor) * SCHEDULES[name](done)

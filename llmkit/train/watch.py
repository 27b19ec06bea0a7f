"""When a run should stop before its end: the loss flies off, or the held-out loss no longer falls.

Both judge by what is stored in checkpoints, so a resumed run stops where the uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmkit.train.records import Evaluation

MEMORY = 0.98
"""Weight of the past in the smoothed loss: an average over some fifty steps. Batches differ, and with few trained
tokens by a nat and more; their average does not."""
SETTLING = 25
"""Steps before the smoothed loss can be a lowest one: a first batch may be an easy one."""


@dataclass(frozen=True)
class LossWatch:
    """The training loss smoothed, and the lowest it has been.

    Attributes:
        average, weight: the exponential sum and its weight; their quotient is the smoothed loss, in nats per token,
            without the pull of a beginning at zero (Kingma and Ba 2015, section 3).
        lowest: lowest smoothed loss so far; None while it settles.
        lowest_step: the step at which it was that low.
    """

    average: float = 0.0
    weight: float = 0.0
    lowest: float | None = None
    lowest_step: int = 0

    @property
    def smoothed(self) -> float:
        return self.average / self.weight

    def after(self, step: int, loss: float) -> LossWatch:
        """With one more step."""
        seen = replace(
            self, average=MEMORY * self.average + (1 - MEMORY) * loss, weight=MEMORY * self.weight + (1 - MEMORY)
        )
        if step >= SETTLING and (seen.lowest is None or seen.smoothed <= seen.lowest):
            return replace(seen, lowest=seen.smoothed, lowest_step=step)
        return seen

    def rose(self, by: float) -> bool:
        """Whether the smoothed loss is `by` nats above its lowest; never for 0."""
        return bool(by) and self.lowest is not None and self.smoothed > self.lowest + by


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The evaluation with the lowest held-out loss, the earliest of equals; None without any."""
    return min(evaluations, key=lambda evaluation: evaluation.loss, default=None)


def stalled(evaluations: Sequence[Evaluation], patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing lower than what was before them; never for 0."""
    best = best_of(evaluations)
    return bool(patience) and best is not None and len(evaluations) - 1 - evaluations.index(best) >= patience

"""What the curves of a run say: whether it over- or underfits, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unmeasured",
    "not finite",
    "never fell",
    "unstable",
    "overfit",
    "memorising",
    "underfit",
    "falling",
    "flat",
    "learned",
    "short",
]

RISEN = 0.01
"""Share of the best held-out loss by which the last one must lie above it to count as risen, and not as noise."""
GAP = 0.05
"""Share of the held-out loss by which the training loss must lie below it to count as lower. The two are measured on
different text and, with dropout, in different modes: a few percent mean nothing."""
FALLING = 0.02
"""Share of the whole fall that the last quarter of the run must have made, for the loss to be falling still. A cosine
schedule ends flat by itself, so this is little."""
TREND = 3
"""Evaluations, the one before training among them, from which a curve has a direction."""
NOTHING = 0.005
"""Share of the loss before training that counts as none: of losses that have come down to it, as those of labels and
values do, a few percent more or less are noise. (A language model's stay far above.)"""
LATE = (1 / 16, 1 / 2)
"""Share of the run over which its end may be judged: of a longer part, the beginning would be judged with it, and of a
shorter one, noise."""


@dataclass(frozen=True)
class Point:
    """One evaluation: the held-out loss after so many steps, and the training loss there (None before the first)."""

    step: int
    held_out: float
    training: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One word for it, what was seen, and what to do; `good` where nothing is wrong, `bad` where something is."""

    kind: Kind
    seen: str
    advice: str = ""

    @property
    def style(self) -> Literal["good", "bad", "plain"]:
        if self.kind in ("unmeasured", "not finite", "never fell", "unstable", "overfit"):
            return "bad"
        return "good" if self.kind in ("flat", "learned") else "plain"

    def __str__(self) -> str:
        return f"{self.seen}: {self.advice}" if self.advice else self.seen


def judge(points: Sequence[Point], *, stopped: str = "") -> Verdict:
    """The verdict on a run.

    Args:
        points: its evaluations in order, the first before training.
        stopped: why it ended before its budget did, in words; "" where it did not.
    """
    if not points:
        return Verdict("unmeasured", "no held-out part", "nothing says how well this generalises; hold text out")
    if not all(math.isfinite(point.held_out) for point in points):
        return Verdict("not finite", "the held-out loss is not a number", "use a lower learning rate")
    found = _judged(points)
    return Verdict(found.kind, f"{found.seen} ({stopped})", found.advice) if stopped else found


def _judged(points: Sequence[Point]) -> Verdict:
    first, last = points[0], points[-1]
    best = min(points, key=lambda point: point.held_out)
    if len(points) == 1:
        return Verdict("short", f"held-out loss {last.held_out:.3f}", "evaluate more often to see it change")
    if best is first:
        return _never_fell(first, last)
    noise = NOTHING * abs(first.held_out)
    if last.held_out - best.held_out > max(RISEN * best.held_out, noise):
        return _risen(best, last)
    fell = f"held-out loss {first.held_out:.3f} to {last.held_out:.3f}"
    if 0 <= last.held_out < noise:
        return Verdict("learned", f"{fell}, next to nothing", "what the examples can teach, it has learned")
    gap = _gap(last)
    beside = "" if gap is None else f", with the training loss at {last.training:.3f}"
    if gap is not None and gap > GAP and gap * last.held_out > noise:
        advice = "it begins to learn its text by heart; more text helps more than more steps"
        return Verdict("memorising", f"{fell}, and the training loss is lower, {last.training:.3f}", advice)
    falling = _still_falling(points) if len(points) >= TREND else None
    if falling is None:
        return Verdict("short", fell, "evaluate more often to see whether it still falls")
    if falling:
        if gap is None:
            return Verdict("falling", f"{fell}, and still falling", "more steps would help")
        advice = "it underfits; train for more steps, or take a larger model"
        return Verdict("underfit", f"{fell}, still falling{beside}", advice)
    advice = "a larger model or a longer schedule would go lower; more of the same would not"
    return Verdict("flat", f"{fell}, flat at the end{beside}", advice)


def _never_fell(first: Point, last: Point) -> Verdict:
    seen = f"the held-out loss did not fall ({first.held_out:.3f} to {last.held_out:.3f})"
    gap = _gap(last)
    if gap is not None and gap > GAP:
        learned = f"{seen}, the training loss is {last.training:.3f}"
        return Verdict("never fell", learned, "what it learned does not carry over; look at the data and the splits")
    advice = (
        "look at the data, and try a lower learning rate"
        if last.held_out > first.held_out
        else "train longer, or use a higher learning rate"
    )
    return Verdict("never fell", seen, advice)


def _risen(best: Point, last: Point) -> Verdict:
    rose = f"held-out loss up from {best.held_out:.3f} (step {best.step:,}) to {last.held_out:.3f}"
    if best.training is not None and last.training is not None and last.training > best.training * (1 + RISEN):
        advice = "training is unstable; use a lower learning rate or a longer warm-up"
        return Verdict("unstable", f"{rose}, training loss too, to {last.training:.3f}", advice)
    beside = "" if last.training is None else f", training loss at {last.training:.3f}"
    advice = f"it overfits; stop near step {best.step:,}, or use more text, a smaller model or more weight decay"
    return Verdict("overfit", f"{rose}{beside}", advice)


def _gap(point: Point) -> float | None:
    """How far the training loss lies below the held-out one, as a share of the latter; None where it is not known."""
    if point.training is None or point.held_out <= 0:
        return None
    return (point.held_out - point.training) / point.held_out


def _still_falling(points: Sequence[Point]) -> bool | None:
    """Whether the last quarter of the run made a good part of the fall; None where no evaluation is near its start."""
    first, last = points[0], points[-1]
    length = last.step - first.step
    start = first.step + 0.75 * length
    near = min(points[:-1], key=lambda point: abs(point.step - start))
    span = (last.step - near.step) / length
    if not LATE[0] <= span <= LATE[1]:
        return None
    share = (near.held_out - last.held_out) / (first.held_out - last.held_out)
    return share * 0.25 / span > FALLING

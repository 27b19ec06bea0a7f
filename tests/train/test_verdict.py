"""The verdict on curves of every shape: what is seen, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.train.verdict import Point, judge


def points(held_out: Sequence[float], training: Sequence[float | None] | None = None) -> list[Point]:
    training = training or [None] * len(held_out)
    return [Point(100 * i, loss, lower) for i, (loss, lower) in enumerate(zip(held_out, training, strict=True))]


FALL = [8.0, 5.0, 4.0, 3.5, 3.2]
LEVEL = [8.0, 3.5, 3.21, 3.2, 3.2]


@pytest.mark.parametrize(
    ("held_out", "training", "kind", "advice"),
    [
        (FALL, [None, 5.1, 4.0, 3.5, 3.19], "underfit", "more steps"),
        (FALL, None, "falling", "more steps"),
        (FALL, [None, 5.0, 3.5, 2.5, 1.9], "memorising", "more text"),
        (LEVEL, [None, 3.5, 3.2, 3.2, 3.18], "flat", "larger model"),
        (LEVEL, [None, 3.5, 2.9, 2.5, 2.0], "memorising", "more text"),
        ([8.0, 4.0, 3.0, 3.4, 3.9], [None, 4.0, 2.8, 2.0, 1.1], "overfit", "stop near step 200"),
        ([8.0, 4.0, 3.0, 3.4, 3.9], None, "overfit", "stop near step 200"),
        ([8.0, 4.0, 3.0, 5.0, 6.0], [None, 4.0, 3.0, 5.1, 6.1], "unstable", "lower learning rate"),
        ([4.0, 4.1, 4.5], [None, 4.0, 4.4], "never fell", "lower learning rate"),
        ([4.0, 4.0, 4.0], [None, 4.0, 4.0], "never fell", "higher learning rate"),
        ([4.0, 4.1, 4.5], [None, 3.0, 1.0], "never fell", "splits"),
        ([0.81, 0.003, 0.0004, 0.0001, 0.0003], [None, 0.2, 0.004, 0.001, 0.00001], "learned", "has learned"),
        ([0.81, 0.2, 0.0101, 0.01, 0.0102], [None, 0.3, 0.02, 0.01, 0.0101], "flat", "larger model"),
        ([0.81, 0.2, 0.0101, 0.01, 0.0099], [None, 0.3, 0.02, 0.01, 0.007], "flat", "larger model"),
        ([0.81, 0.3, 0.05, 0.03, 0.09], [None, 0.3, 0.05, 0.02, 0.01], "overfit", "stop near step 300"),
        ([4.0], None, "short", "more often"),
        ([4.0, 3.0], [None, 3.0], "short", "more often"),
        ([4.0, math.nan], None, "not finite", "lower learning rate"),
        ([], None, "unmeasured", "hold text out"),
    ],
)  # fmt: skip
def test_a_curve_of_each_shape_gets_its_verdict_and_its_advice(
    held_out: list[float], training: list[float | None] | None, kind: str, advice: str
) -> None:
    found = judge(points(held_out, training))
    assert found.kind == kind
    assert advice in str(found)


def test_noise_of_less_than_a_percent_is_no_rise() -> None:
    assert judge(points([8.0, 3.5, 3.2, 3.2, 3.21], [None, 3.5, 3.2, 3.2, 3.2])).kind == "flat"


def test_the_last_quarter_is_judged_by_steps_and_not_by_the_number_of_evaluations() -> None:
    """The same curve, looked at ever more often, falls no less."""

    def curve(step: float) -> float:
        return 3.0 + 5.0 * math.exp(-step / 400)

    for every in (50, 100, 200, 250):
        measured = [Point(step, curve(step), curve(step)) for step in range(0, 1001, every)]
        assert judge(measured).kind == "underfit"
    late = [Point(step, curve(step), curve(step)) for step in range(0, 4001, 100)]
    assert judge(late).kind == "flat"


@pytest.mark.parametrize(("steps", "kind"), [(108, "flat"), (120, "flat"), (150, "flat"), (103, "short")])
def test_the_fall_before_the_last_part_of_a_run_is_not_counted_as_the_last_parts(steps: int, kind: str) -> None:
    """Evaluated every 100 steps: all of the fall came before step 100, whatever the whole run's length."""
    found = judge([Point(0, 0.81), Point(100, 0.1004, 0.11), Point(steps, 0.1, 0.1)])
    assert found.kind == kind


def test_where_no_evaluation_is_near_the_last_quarter_nothing_is_said_of_it() -> None:
    assert judge([Point(0, 0.81), Point(5, 0.4, 0.5), Point(10, 0.12, 0.3), Point(100, 0.1, 0.1)]).kind == "short"


def test_a_run_that_was_stopped_says_why() -> None:
    assert "(no lower held-out loss in 3 evaluations)" in str(
        judge(points(LEVEL), stopped="no lower held-out loss in 3 evaluations")
    )


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0.01, 20) | st.none()), max_size=12))
def test_every_curve_gets_one_line(losses: list[tuple[float, float | None]]) -> None:
    found = judge([Point(10 * i, held, low) for i, (held, low) in enumerate(losses)])
    assert str(found).strip()
    assert "\n" not in str(found)

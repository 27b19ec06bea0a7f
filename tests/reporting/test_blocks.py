"""A picture cannot be asked for that could not be drawn."""

from __future__ import annotations

import math

import pytest

from llmkit.reporting.blocks import Bars


def test_bars_are_drawn_to_the_scale_of_the_longest_with_its_rest() -> None:
    assert Bars(["a", "b"], [3, 5], rest=[4, 0]).longest == 7
    assert Bars([], []).longest == 0


@pytest.mark.parametrize(
    ("values", "notes", "rest"),
    [
        ([1.0], (), ()),
        ([1.0, 2.0], ("x",), ()),
        ([1.0, 2.0], (), (1.0,)),
        ([1.0, -2.0], (), ()),
        ([1.0, math.nan], (), ()),
    ],
)
def test_bars_that_do_not_fit_their_labels_or_have_no_length_are_refused(
    values: list[float], notes: tuple[str, ...], rest: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="label|bar"):
        Bars(["a", "b"], values, notes=notes, rest=rest)

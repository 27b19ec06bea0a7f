import math
import re
from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from llmkit.reporting.blocks import Plot
from llmkit.reporting.curves import HEIGHT, WIDTH, History, plot_svg, sparkline, thinned, ticks
from llmkit.reporting.page import page

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)
POINTS = st.lists(st.tuples(NUMBERS, st.floats(allow_nan=True, allow_infinity=True)), max_size=40)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_ticks_are_even_and_span_the_values(values: list[float]) -> None:
    found = ticks(values)
    assert 2 <= len(found) <= 8
    slack = 1e-6 * max(map(abs, values)) + 1e-100
    assert found[0] <= min(values) + slack
    assert found[-1] >= max(values) - slack
    steps = [b - a for a, b in pairwise(found)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps) + 1e-9


@given(st.dictionaries(st.text(max_size=8), POINTS, max_size=3), st.text(max_size=20))
def test_any_curves_are_well_formed_and_stay_inside_the_picture(
    curves: dict[str, list[tuple[float, float]]], title: str
) -> None:
    svg = plot_svg(Plot(curves, title, title, title), "p")
    clean = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", svg)
    for line in ElementTree.fromstring(clean).iter("polyline"):
        for point in line.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT


def test_a_long_curve_is_thinned_to_means_of_neighbours() -> None:
    points = [(float(i), float(i % 2)) for i in range(10_000)]
    few = thinned(points, 100)
    assert len(few) == 100
    assert all(math.isclose(y, 0.5) for _, y in few)


def test_a_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, float("nan")], 8) == "▁▁"
    assert sparkline([], 8) == ""


def test_a_page_shows_a_plot_with_its_legend_and_escapes_names() -> None:
    shown = page("t", [Plot({"<b>loss</b>": [(0, 3.0), (1, 2.0)], "held-out": [(0, 3.1)]}, "Loss", "step", "nats")])
    assert "<polyline" in shown and "<b>loss" not in shown and "held-out" in shown


@given(st.lists(NUMBERS, max_size=300), st.sampled_from([2, 8, 64]))
def test_a_growing_curve_keeps_its_last_value_and_its_mean_and_takes_no_more_room(
    values: list[float], most: int
) -> None:
    history = History(most)
    for value in values:
        history.add(value)
    assert len(history.values) <= most + 1
    assert history.values[-1:] == values[-1:]
    if len(values) < most:
        assert history.values == values


def test_a_long_growing_curve_is_the_means_of_its_parts() -> None:
    history = History(4)
    for value in range(16):
        history.add(float(value))
    assert history.values == [3.5, 11.5, 15.0]


def test_marks_are_drawn_inside_of_the_picture_and_left_out_outside_of_it() -> None:
    svg = plot_svg(Plot({"a": [(0, 1), (100, 2)]}, marks={"best": 40, "<stopped>": 100, "never": 500}), "p")
    lines = [line for line in ElementTree.fromstring(svg).iter("line") if line.get("class") == "mark"]
    assert len(lines) == 2
    assert all(0 <= float(line.get("x1", "")) <= WIDTH for line in lines)
    assert "never" not in svg
    assert "&lt;stopped&gt;" in svg

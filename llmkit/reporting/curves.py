"""Curves: as SVG for a page, as a line of blocks for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from llmkit.reporting.blocks import Plot
from llmkit.reporting.figures import number
from llmkit.reporting.markup import escaped

WIDTH, HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44
_MOST_POINTS = 600
"""Points drawn of a curve: more than one for two pixels shows nothing more and makes the page large."""

_TICKS = 5
_LARGEST = 1e100
"""Beyond it, and where a value is no number, arithmetic on pixels has no meaning."""
_SPARK = "▁▂▃▄▅▆▇█"

Points = Sequence[tuple[float, float]]


def plot_svg(plot: Plot, name: str) -> str:
    """An `<svg>` of the curves with axes; `name` is the prefix of its ids, unique in the page."""
    curves = {label: thinned(finite(points), _MOST_POINTS) for label, points in plot.curves.items()}
    everything = [point for points in curves.values() for point in points]
    said = "; ".join(f"{label}: {number(p[0][1])} to {number(p[-1][1])}" for label, p in curves.items() if p)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-t {name}-d">',
        f'<title id="{name}-t">{escaped(plot.title or "curves")}</title><desc id="{name}-d">{escaped(said)}</desc>',
    ]
    if everything:
        across, up = ticks(x for x, _ in everything), ticks(y for _, y in everything)
        parts += _grid(plot, across, up)
        for place, points in enumerate(curves.values()):
            path = " ".join(f"{_x(x, across):.1f},{_y(y, up):.1f}" for x, y in points)
            parts.append(f'<polyline class="curve c{place % 4}" points="{path}"/>')
        parts += [line for label, at in plot.marks.items() for line in _mark(label, at, across)]
    return "".join((*parts, "</svg>"))


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as a line of blocks, from the lowest to the highest of them; at most `width` columns."""
    shown = [y for _, y in thinned(finite(list(enumerate(values))), width)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(_SPARK) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARK[round((value - low) * scale)] for value in shown)


class History:
    """A curve that grows by a value at a time and never takes more room: older values are averaged, two by two."""

    def __init__(self, most: int = 256) -> None:
        self._most, self._each = most, 1
        self._kept: list[float] = []
        self._sum, self._count = 0.0, 0
        self._last: float | None = None

    def add(self, value: float) -> None:
        self._sum, self._count, self._last = self._sum + value, self._count + 1, value
        if self._count < self._each:
            return
        self._kept.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._kept) >= self._most:
            self._kept = [(left + right) / 2 for left, right in zip(self._kept[::2], self._kept[1::2], strict=True)]
            self._each *= 2

    @property
    def values(self) -> list[float]:
        """The curve so far; its last value is the last that was added."""
        return self._kept if self._last is None or self._each == 1 else [*self._kept, self._last]


def finite(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that can be drawn."""
    return [(float(x), float(y)) for x, y in points if abs(x) < _LARGEST and abs(y) < _LARGEST]


def thinned(points: Points, most: int) -> Points:
    """At most `most` of the points: the mean of as many neighbours, so that noise does not decide what is seen."""
    if len(points) <= most:
        return points
    cuts = [round(i * len(points) / most) for i in range(most + 1)]
    groups = [points[start:end] for start, end in pairwise(cuts)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def ticks(values: Iterable[float]) -> list[float]:
    """Round numbers that span the values: steps of 1, 2 or 5 times a power of ten."""
    found = list(values)
    low, high = min(found), max(found)
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1 / _LARGEST):
        around = size if size > 1 / _LARGEST else 1.0
        low, high = low - around / 2, high + around / 2
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _grid(plot: Plot, across: Sequence[float], up: Sequence[float]) -> list[str]:
    parts: list[str] = []
    for value in up:
        y = _y(value, up)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y:.1f}">{escaped(number(value))}</text>')
    for value in across:
        x = _x(value, across)
        parts.append(
            f'<text class="tick below" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}">{escaped(number(value))}</text>'
        )
    parts.append(f'<text class="tick below" x="{(_LEFT + WIDTH) / 2}" y="{HEIGHT - 8}">{escaped(plot.x)}</text>')
    return parts


def _mark(label: str, at: float, across: Sequence[float]) -> list[str]:
    """A line from top to bottom, with its name on the side that has room."""
    if not across[0] <= at <= across[-1]:
        return []
    x = _x(at, across)
    left = x > (_LEFT + WIDTH) / 2
    return [
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>',
        f'<text class="mark{" left" if left else ""}" x="{x - 5 if left else x + 5:.1f}" y="{_TOP + 10}">'
        f"{escaped(label)}</text>",
    ]


def _x(value: float, across: Sequence[float]) -> float:
    return _LEFT + (value - across[0]) / (across[-1] - across[0]) * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, up: Sequence[float]) -> float:
    return HEIGHT - _BOTTOM - (value - up[0]) / (up[-1] - up[0]) * (HEIGHT - _TOP - _BOTTOM)

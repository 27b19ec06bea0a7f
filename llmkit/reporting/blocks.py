"""What a result is shown as: a handful of shapes that a terminal, a log and a page can all draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Style = Literal["plain", "good", "bad", "dim", "heading"]
Ink = Literal["read", "learned", "cut"]
"""What a model does with a piece of a text: reads it, learns to write it, or never sees it."""


@dataclass(frozen=True)
class Table:
    """Rows under columns; `numeric` holds the indices of right-aligned columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Line:
    """One line of our own words."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True)
class Heading:
    """The title of what follows. Level 1 opens a section, which a page lists at its top; level 2 a part of one."""

    text: str
    level: Literal[1, 2] = 1


@dataclass(frozen=True)
class Quote:
    """Somebody else's text, shown inert: never interpreted as markup.

    Attributes:
        link: the place it can be opened at, and `line` the line there; 0 where it has none.
        marked: half-open ranges of the body, in order and apart, that matter most.
        faint: of lesser interest.
    """

    body: str
    title: str = ""
    link: str = ""
    line: int = 0
    marked: Sequence[tuple[int, int]] = ()
    faint: bool = False


@dataclass(frozen=True)
class Tree:
    """A label with what hangs below it."""

    label: str
    children: Sequence[Tree] = ()
    style: Style = "plain"


@dataclass(frozen=True)
class Figures:
    """The few numbers that matter most, each as `(label, value, note)`; a page sets them large, side by side."""

    items: Sequence[tuple[str, object, str]]


@dataclass(frozen=True)
class Bars:
    """A horizontal bar for each label: a waterfall, a histogram, a mix.

    Attributes:
        values: one for each label, not negative.
        unit: of the values, as in `figures.quantity`: `B` shows sizes, `%` percent.
        notes: words behind each value; none, or one for each label.
        rest: what is stacked behind each value in a paler colour, such as what a step dropped; none, or one each.
        names: what the values and the rest are, for the legend.

    Raises:
        ValueError: if there are not as many values (notes, rests) as labels, or one is negative or not finite.
    """

    labels: Sequence[str]
    values: Sequence[float]
    title: str = ""
    unit: str = ""
    notes: Sequence[str] = ()
    rest: Sequence[float] = ()
    names: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        if len(self.values) != len(self.labels) or {len(self.notes), len(self.rest)} - {0, len(self.labels)}:
            raise ValueError(f"{len(self.labels)} labels need as many values, and as many notes and rests or none")
        if not all(math.isfinite(value) and value >= 0 for value in (*self.values, *self.rest)):
            raise ValueError("a bar's value is negative or not finite")

    @property
    def longest(self) -> float:
        """The length of the longest bar, its rest included, which all others are drawn to the scale of."""
        return max(map(sum, zip(self.values, self.rest or [0.0] * len(self.values), strict=True)), default=0.0)


@dataclass(frozen=True)
class Plot:
    """Curves over one axis: losses over steps. Points of a curve rise in x; what is not finite leaves a gap.

    Attributes:
        curves: `(x, y)` points by name.
        x, y: what the axes are.
        marks: places on the x axis that have a name; those outside of the curves are not drawn.
    """

    curves: Mapping[str, Sequence[tuple[float, float]]]
    title: str = ""
    x: str = ""
    y: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Diff:
    """Two states of somebody else's text, shown as the lines that changed, with what changed in them marked."""

    before: str
    after: str
    title: str = ""


@dataclass(frozen=True)
class Marked:
    """Somebody else's text in pieces, each with what a model does with it; in colours, or between signs."""

    pieces: Sequence[tuple[str, Ink]]
    title: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks of lesser interest under one line; a page shows them when it is opened, a terminal always."""

    label: str
    blocks: Sequence[Block]


Block = Table | Line | Heading | Quote | Tree | Figures | Bars | Plot | Diff | Marked | Fold

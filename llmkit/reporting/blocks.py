"""What a result is shown as: a handful of shapes that a terminal, a log and a page can all draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["plain", "good", "bad", "dim", "heading"]


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
class Quote:
    """Somebody else's text, shown inert: never interpreted as markup. `link` is the place it can be opened at."""

    body: str
    title: str = ""
    link: str = ""


@dataclass(frozen=True)
class Tree:
    """A label with what hangs below it."""

    label: str
    children: Sequence[Tree] = ()
    style: Style = "plain"


Block = Table | Line | Quote | Tree

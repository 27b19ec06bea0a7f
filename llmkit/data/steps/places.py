"""Keeping a cleaned text tied to its source: what steps do to its lines is carried over into pages and line numbers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace

from llmkit.text.document import Document


def line_map(origins: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The `Document.line_map` of a text whose n-th line comes from line `origins[n]` of the source (1-based)."""
    pairs: list[tuple[int, int]] = []
    expected = 1
    for line, origin in enumerate(origins, start=1):
        if origin != expected:
            pairs.append((line, origin))
        expected = origin + 1
    return tuple(pairs)


def carry_places(before: Document, after: Document) -> Document:
    """`after` with the pages and the line map that follow from those of `before`.

    A step may change what a line says, or remove whole lines; it never joins, splits or reorders them. Where as many
    lines are left, each keeps its place; else each of the remaining lines is looked for in order.
    """
    if before.text == after.text:
        return after
    if before.record and not before.pages:  # a row of a table: its lines are no lines of the source
        return after
    old, new = before.text.split("\n"), after.text.split("\n")
    if len(old) == len(new):
        return replace(after, pages=_pages(before, range(len(new)), new), line_map=before.line_map)
    kept = _in_order(old, new)
    origins = _origins(before, len(old))
    return replace(after, pages=_pages(before, kept, new), line_map=line_map(origins[line] for line in kept))


def _in_order(old: Sequence[str], new: Sequence[str]) -> list[int]:
    """For each new line the index of the old line it was; new lines are old ones, some of them left out."""
    at: dict[str, list[int]] = {}
    for index, line in enumerate(old):
        at.setdefault(line, []).append(index)
    kept: list[int] = []
    position = 0
    for line in new:
        same = at.get(line, [])
        later = bisect_left(same, position)
        if later < len(same):
            position = same[later]  # else the line was changed as well: stay where we are
        kept.append(min(position, len(old) - 1))
        position += 1
    return kept


def _origins(document: Document, lines: int) -> list[int]:
    """The source's line number of each of the document's lines."""
    numbers = list(range(1, lines + 1))
    ends = [here for here, _ in document.line_map[1:]] + [lines + 1]
    for (here, there), end in zip(document.line_map, ends, strict=False):
        numbers[here - 1 : end - 1] = range(there, there + end - here)
    return numbers


def _pages(before: Document, kept: Sequence[int], new: Sequence[str]) -> tuple[int, ...]:
    """Offsets of the pages in the new text: where the first line that is left of each page begins."""
    if not before.pages:
        return ()
    starts = [0]
    for line in new:
        starts.append(starts[-1] + len(line) + 1)
    wanted = [before.lines.line(offset) - 1 for offset in before.pages]
    pages: list[int] = []
    position = 0
    for first in wanted:
        while position < len(kept) and kept[position] < first:
            position += 1
        pages.append(starts[position] if position < len(kept) else starts[-1] - 1)
    return tuple(pages)

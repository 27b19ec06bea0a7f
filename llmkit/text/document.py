"""A document as read from its source, and the maps that lead from a position in it back to a line and a page."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n?|\n")


class Span(NamedTuple):
    """Half-open range of code points, `text[start:end]`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Document:
    """One text with its origin. `text` is what the reader extracted, unnormalised.

    Attributes:
        source: an absolute file path, or a URI. Several documents of one file (records) share it.
        text: code points; all spans in llmkit count these.
        media: media type of the source, such as `text/x-python`.
        record: which record of the source this is (line of a JSONL, row of a table); "" for a whole file.
        pages: code-point offset at which each page begins; empty where the source has no pages.
        meta: small facts of the reader (title, language, licence), JSON-serialisable.
        line_map: where the line numbers of the text and of its source part: `(line, line in the source)`, each true
            from that line on until the next. Empty where they are the same, or the source has no lines.
    """

    source: str
    text: str
    media: str = "text/plain"
    record: str = ""
    pages: tuple[int, ...] = ()
    meta: Mapping[str, object] = field(default_factory=dict)
    line_map: tuple[tuple[int, int], ...] = ()

    @cached_property
    def id(self) -> str:
        """16 hex digits of the source and record: stable across runs, independent of the content."""
        return hashlib.sha256(f"{self.source}\x00{self.record}".encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """sha256 of the text in hex: two documents with one digest have the same content."""
        return text_digest(self.text)

    @cached_property
    def lines(self) -> LineMap:
        return LineMap(self.text)

    def page_at(self, offset: int) -> int | None:
        """1-based page of a code-point offset, or None where there are no pages."""
        return bisect_right(self.pages, offset) or 1 if self.pages else None

    def source_line(self, offset: int) -> int:
        """1-based line of the source that a code-point offset leads back to."""
        line = self.lines.line(offset)
        at = bisect_right(self.line_map, line, key=lambda pair: pair[0])
        if not at:
            return line
        here, there = self.line_map[at - 1]
        return there + line - here


class LineMap:
    """1-based line numbers of code-point offsets; `\\n`, `\\r\\n` and a lone `\\r` each end a line, as in editors."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def start(self, line: int) -> int:
        """Offset at which a 1-based line begins."""
        return self._starts[line - 1]


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

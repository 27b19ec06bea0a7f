"""An answer and what it rests on: the values that ask, eval and serve show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Citation:
    """A quotation that stands in its source, now, word for word.

    Attributes:
        source: the file (or URI); `start` and `end` are code points in the text extracted from it, as it is now.
        line: 1-based; `page` likewise, None where the source has no pages.
        score: how much the quote says about the question, from 0 to 1.
        stale: the source has changed since it was indexed. The quote still stands in it.
    """

    source: str
    quote: str
    start: int
    end: int
    line: int
    page: int | None
    score: float
    stale: bool


@dataclass(frozen=True)
class Retrieved:
    """A passage that the search found, at its place in the text as it was indexed."""

    source: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """What is said to a question.

    Attributes:
        text: the answer; `[1]` refers to the first of `citations`.
        abstained: nothing in the documents answers; `retrieved` has what comes nearest.
        unsupported: statements of `text` whose citation did not hold, or that had none.
        timings: seconds by step.
    """

    text: str
    abstained: bool
    citations: tuple[Citation, ...]
    retrieved: tuple[Retrieved, ...]
    timings: Mapping[str, float]
    unsupported: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As `ask --json` prints it, JSON values only."""
        return {
            "answer": self.text,
            "abstained": self.abstained,
            "citations": [asdict(citation) for citation in self.citations],
            "retrieved": [asdict(retrieved) for retrieved in self.retrieved],
            "unsupported": list(self.unsupported),
            "timings": {step: round(seconds, 4) for step, seconds in self.timings.items()},
        }

"""An answer and what it rests on: the values that ask, eval and serve show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.answering.retrieve import Retrieval


@dataclass(frozen=True)
class Place:
    """A place in a source as it is now: code points, 1-based line and page."""

    source: str
    start: int
    end: int
    line: int
    page: int | None
    record: str = ""


@dataclass(frozen=True)
class AnswerSpan:
    """The part of a quote that answers the question exactly, by a reader; `start` and `end` as the quote's.

    `score` is the log-odds against "this does not answer it".
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Citation:
    """A quotation that stands in its source, now, word for word.

    Attributes:
        source: the file (or URI); `start` and `end` are code points in the text extracted from it, as it is now.
        line: 1-based; `page` likewise, None where the source has no pages.
        score: how much the quote says about the question, from 0 to 1.
        stale: the source has changed since it was indexed. The quote still stands in it.
        record: which record of the source (row of a table, line of a JSONL); "" for a whole file. `start`, `end` and
            `line` are then those of the record.
        answer_span: the exact answer, where a reader marked it.
        also: other places that say the same.
    """

    source: str
    quote: str
    start: int
    end: int
    line: int
    page: int | None
    score: float
    stale: bool
    record: str = ""
    answer_span: AnswerSpan | None = None
    also: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Nearest:
    """A passage that comes nearest to a question which nothing answers; `text` is its first line, as it was indexed."""

    source: str
    line: int
    page: int | None
    text: str
    record: str = ""


@dataclass(frozen=True)
class Judged:
    """What spoke for an answer being in the documents, against the threshold of the index.

    Attributes:
        score: below `threshold`, nothing is answered.
        cosine, coverage: what the score is made of, see `abstain.Evidence`.
        reader: the reader's log-odds that a passage answers it, and `reader_threshold` what they must reach; None
            without a reader.
        reader_decides: whether the reader may refuse: it must have been measured to be able to.
    """

    score: float
    threshold: float
    cosine: float
    coverage: float
    reader: float | None = None
    reader_threshold: float | None = None
    reader_decides: bool = False


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
        invented: numbers that a model cited and no passage has.
        notes: what a user must know: passages that were left out, an answer that was cut.
        evidence: what was weighed; None where there was no index.
        nearest: of an abstention, what comes nearest and does not answer.
        considered: all that the search gave, for an explanation; not part of what is printed.
        interrupted: Ctrl-C ended it; `text` is what was said until then.
        timings: seconds by step.
    """

    text: str
    abstained: bool
    citations: tuple[Citation, ...]
    retrieved: tuple[Retrieved, ...]
    timings: Mapping[str, float]
    unsupported: tuple[str, ...] = field(default=())
    invented: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    evidence: Judged | None = None
    nearest: tuple[Nearest, ...] = ()
    considered: Retrieval | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As `ask --json` prints it, JSON values only."""
        return {
            "answer": self.text,
            "abstained": self.abstained,
            "evidence": asdict(self.evidence) if self.evidence else None,
            "nearest": [asdict(nearest) for nearest in self.nearest],
            "citations": [asdict(citation) for citation in self.citations],
            "retrieved": [asdict(retrieved) for retrieved in self.retrieved],
            "unsupported": list(self.unsupported),
            "invented": list(self.invented),
            "notes": list(self.notes),
            "interrupted": self.interrupted,
            "timings": {step: round(seconds, 4) for step, seconds in self.timings.items()},
        }

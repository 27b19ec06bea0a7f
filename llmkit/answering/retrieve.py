"""From a question to the passages that may answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmkit.answering.abstain import Evidence, evidence
from llmkit.answering.answer import Retrieved
from llmkit.retrieval.search import Hit, Mode, Searcher
from llmkit.text.document import Span


class Found(NamedTuple):
    """A passage: one hit, or several of one document that overlap. `digest` is that of the document when indexed."""

    source: str
    record: str
    media: str
    digest: str
    heading: str
    span: Span
    line: int
    page: int | None
    text: str
    score: float


@dataclass(frozen=True)
class Retrieval:
    """What a search gave: passages to answer from (best first), all places found, and the evidence in them."""

    question: str
    passages: tuple[Found, ...]
    retrieved: tuple[Retrieved, ...]
    evidence: Evidence


def retrieve(searcher: Searcher, question: str, *, most: int = 5, mode: Mode = "hybrid") -> Retrieval:
    """Searches, joins overlapping neighbours and weighs the evidence.

    Args:
        most: hits to answer from; more are retrieved.
    """
    hits = searcher.search(question, most=max(most, 10), mode=mode)
    places = [Retrieved(hit.chunk.source, *hit.chunk.span, round(hit.score, 6)) for hit in hits]
    matched = [hit for hit in hits[:most] if hit.score > 0]
    return Retrieval(question, tuple(_joined(matched)), tuple(places), evidence(searcher, question, hits))


def _joined(hits: Sequence[Hit]) -> list[Found]:
    """One passage for each group of overlapping chunks, at the place and with the score of the group's best."""
    found: list[Found] = []
    for hit in hits:
        new = _passage(hit)
        touching = [old for old in found if _overlap(old, new)]
        for old in touching:
            new = _merged(old, new)
        at = min((found.index(old) for old in touching), default=len(found))
        found = [old for old in found if old not in touching]
        found.insert(at, new)
    return found


def _passage(hit: Hit) -> Found:
    chunk = hit.chunk
    place = (chunk.source, chunk.record, chunk.media, chunk.digest, chunk.heading)
    return Found(*place, chunk.span, chunk.line, chunk.page, chunk.text, hit.score)


def _overlap(a: Found, b: Found) -> bool:
    same = (a.source, a.record, a.digest) == (b.source, b.record, b.digest)
    return same and a.span.start <= b.span.end and b.span.start <= a.span.end


def _merged(a: Found, b: Found) -> Found:
    first, second = sorted((a, b), key=lambda passage: passage.span)
    beyond = max(0, second.span.end - first.span.end)
    text = first.text + (second.text[-beyond:] if beyond else "")
    span = Span(first.span.start, max(first.span.end, second.span.end))
    return first._replace(span=span, text=text, score=max(a.score, b.score))

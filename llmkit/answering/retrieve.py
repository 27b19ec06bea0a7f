"""From a question to the passages that may answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmkit.answering.abstain import Evidence, evidence
from llmkit.answering.answer import Retrieved
from llmkit.retrieval.diversity import maximal_marginal_relevance
from llmkit.retrieval.search import DISTINCT_SOURCES, Hit, Mode, Searcher
from llmkit.text.document import Span

T = TypeVar("T")
Rerank = Callable[[str, Sequence[str]], Sequence[float]]
"""A question and passages to how well each answers it, on any scale: a cross-encoder."""
Fate = Literal["used", "joined", "copy", "beyond_k", "too_alike", "no_match"]
"""What became of a hit: a passage of its own, a part of one, the text of another one; or it was left out: behind the
first k, too like those before it, or nothing of the question is in it."""

SHOWN = 10
"""Hits that are told of at least."""
POOL = 4
"""Times k: hits among which copies are put together and different ones are chosen."""
GAP = 8
"""Most white space between neighbours that become one passage, in code points."""
COPIES = 10
"""Places at most that are told of one text."""


@dataclass(frozen=True)
class Ranking:
    """How passages are searched and put in order.

    Attributes:
        most: hits to answer from.
        rerank: reads the first `rerank_top` hits again; None keeps the order of the search.
        diversity: see `maximal_marginal_relevance`; 0 leaves it out.
    """

    most: int = 5
    mode: Mode = "hybrid"
    rerank: Rerank | None = None
    rerank_top: int = 20
    diversity: float = 0.0


class Found(NamedTuple):
    """A passage: one hit, or several of one document that touch. `digest` is that of the document when indexed.

    `copies` are the same text in other places, `rows` the chunks that it is made of. White space between two chunks is
    not in the index: there `text` has line breaks, as many as the source has code points.
    """

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
    rows: tuple[int, ...] = ()
    copies: tuple[Found, ...] = ()


class Considered(NamedTuple):
    """A hit and what became of it. `score` is what ranked it in the end, `reread` what the cross-encoder said."""

    hit: Hit
    score: float
    reread: float | None
    fate: Fate


@dataclass(frozen=True)
class Retrieval:
    """What a search gave: passages to answer from (best first), all places found, and the evidence in them."""

    question: str
    passages: tuple[Found, ...]
    retrieved: tuple[Retrieved, ...]
    evidence: Evidence
    considered: tuple[Considered, ...] = field(default=(), repr=False)


def retrieve(searcher: Searcher, question: str, ranking: Ranking | None = None) -> Retrieval:
    """Searches, weighs the evidence, puts the hits in order, and joins neighbours.

    Raises:
        UsageError: as `Searcher.search`.
    """
    ranking = ranking or Ranking()
    wanted = max(POOL * ranking.most, SHOWN, ranking.rerank_top if ranking.rerank else 0)
    hits = searcher.search(question, most=wanted, mode=ranking.mode)
    # The threshold was measured on what the plain search finds, so that is what is held against it.
    judged = hits if ranking.mode == "hybrid" else searcher.search(question, most=SHOWN)
    weighed = evidence(searcher, question, _shown(judged, [hit.chunk.source for hit in judged], SHOWN))
    scored = _reread(question, _unit(hits), ranking)
    leads, copies = _by_text([each for each in scored if each.score > 0])
    chosen = _chosen(searcher, leads, ranking)
    rows = {each.hit.chunk.row for each in chosen}
    passages = []
    for passage in _joined([each.hit._replace(score=each.score) for each in chosen]):
        same = [copy.hit for row in passage.rows for copy in copies.get(row, ())]
        passages.append(passage._replace(copies=tuple(_joined(same))[:COPIES]))
    fates = _fates(scored, leads, {passage.rows[0] for passage in passages}, rows)
    places = [Retrieved(each.hit.chunk.source, *each.hit.chunk.span, round(each.score, 6)) for each in fates]
    shown = _shown(places, [place.source for place in places], max(ranking.most, SHOWN))
    return Retrieval(question, tuple(passages), tuple(shown), weighed, tuple(fates))


def _shown(found: Sequence[T], sources: Sequence[str], most: int) -> list[T]:
    """The first ones, and behind them the first of each further source up to ten."""
    shown: list[T] = []
    seen: set[str] = set()
    for n, (each, source) in enumerate(zip(found, sources, strict=True)):
        if n < most or (source not in seen and len(seen) < DISTINCT_SOURCES):
            shown.append(each)
            seen.add(source)
    return shown


def _unit(hits: Sequence[Hit]) -> list[Considered]:
    """Scores from 0 to 1: BM25 alone has no upper bound."""
    top = max(1.0, max((hit.score for hit in hits), default=1.0))
    return [Considered(hit, max(0.0, hit.score) / top, None, "used") for hit in hits]


def _reread(question: str, found: list[Considered], ranking: Ranking) -> list[Considered]:
    """The first hits in the cross-encoder's order, on the stretch of scores that they had: the others stay behind."""
    first = [each for each in found[: ranking.rerank_top] if each.score > 0]
    if ranking.rerank is None or not first:
        return found
    said = [float(score) for score in ranking.rerank(question, [each.hit.chunk.embedded for each in first])]
    low, width = min(said), (max(said) - min(said)) or 1.0
    floor, top = first[-1].score, first[0].score
    again = [
        each._replace(reread=score, score=floor + (top - floor) * (score - low) / width)
        for each, score in zip(first, said, strict=True)
    ]
    again.sort(key=lambda each: -(each.reread or 0.0))
    return [*again, *found[len(first) :]]


def _by_text(found: Sequence[Considered]) -> tuple[list[Considered], dict[int, list[Considered]]]:
    """The first hit of each text, and by its row the others of that text or of a part of it, in other documents."""
    leads: list[tuple[str, Considered]] = []
    copies: dict[int, list[Considered]] = {}
    for each in found:
        chunk, text = each.hit.chunk, " ".join(each.hit.chunk.text.split())
        for said, lead in leads:
            if text in said and lead.hit.chunk.document != chunk.document:
                copies.setdefault(lead.hit.chunk.row, []).append(each)
                break
        else:
            leads.append((text, each))
    return [lead for _, lead in leads], copies


def _chosen(searcher: Searcher, leads: Sequence[Considered], ranking: Ranking) -> list[Considered]:
    if not ranking.diversity or len(leads) <= 1:
        return list(leads[: ranking.most])
    pool = leads[: POOL * ranking.most]
    relevance = [each.score for each in pool]
    similarity = _likeness(searcher, [each.hit for each in pool])
    order = maximal_marginal_relevance(relevance, similarity, diversity=ranking.diversity, most=ranking.most)
    return [pool[n] for n in order]


def _likeness(searcher: Searcher, hits: Sequence[Hit]) -> NDArray[np.float32]:
    """Cosines between hits; where one has no vector, the share of terms that two have in common (Jaccard)."""
    rows, vectors = searcher.view.vectors_of([hit.chunk.row for hit in hits])
    if len(rows) == len(hits):
        order = {int(row): n for n, row in enumerate(rows)}
        ordered = vectors[[order[hit.chunk.row] for hit in hits]]
        return np.asarray(ordered @ ordered.T, dtype=np.float32)
    terms = [frozenset(found) for found in searcher.view.terms([hit.chunk.text for hit in hits])]
    return np.array([[len(a & b) / (len(a | b) or 1) for b in terms] for a in terms], dtype=np.float32)


def _fates(
    scored: Sequence[Considered], leads: Sequence[Considered], heads: set[int], used: set[int]
) -> list[Considered]:
    """Each hit with what became of it."""
    first = {each.hit.chunk.row for each in leads}
    last = max((n for n, each in enumerate(scored) if each.hit.chunk.row in used), default=-1)
    found = []
    for n, each in enumerate(scored):
        row = each.hit.chunk.row
        fate: Fate = "beyond_k"
        if each.score <= 0:
            fate = "no_match"
        elif row in used:
            fate = "used" if row in heads else "joined"
        elif row not in first:
            fate = "copy"
        elif n < last:
            fate = "too_alike"
        found.append(each._replace(fate=fate))
    return found


def _joined(hits: Sequence[Hit]) -> list[Found]:
    """One passage for each group of chunks that touch, at the place and with the score of the group's best."""
    found: list[Found] = []
    for hit in hits:
        new = _passage(hit)
        touching = [old for old in found if _touch(old, new)]
        for old in touching:
            new = _merged(old, new)
        at = min((found.index(old) for old in touching), default=len(found))
        found = [old for old in found if old not in touching]
        found.insert(at, new)
    return found


def _passage(hit: Hit) -> Found:
    chunk = hit.chunk
    place = (chunk.source, chunk.record, chunk.media, chunk.digest, chunk.heading)
    return Found(*place, chunk.span, chunk.line, chunk.page, chunk.text, hit.score, (chunk.row,))


def _touch(a: Found, b: Found) -> bool:
    """Whether two passages overlap, or stand one behind the other with nothing but white space between."""
    if (a.source, a.record, a.digest) != (b.source, b.record, b.digest):
        return False
    first, second = sorted((a, b), key=lambda passage: passage.span)
    if second.span.start <= first.span.end:
        return True
    # Chunks of a document are stored in a row, and together hold all of it but white space.
    return second.span.start - first.span.end <= GAP and any(row + 1 in second.rows for row in first.rows)


def _merged(a: Found, b: Found) -> Found:
    first, second = sorted((a, b), key=lambda passage: passage.span)
    gap = "\n" * max(0, second.span.start - first.span.end)
    beyond = max(0, second.span.end - max(first.span.end, second.span.start))
    text = first.text + gap + (second.text[-beyond:] if beyond else "")
    span = Span(first.span.start, max(first.span.end, second.span.end))
    best, other = (a, b) if a.score >= b.score else (b, a)
    return first._replace(span=span, text=text, score=best.score, rows=(*best.rows, *other.rows))

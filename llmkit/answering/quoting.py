"""Answers without a language model: what the documents say, word for word, and by a reader the exact part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from llmkit.answering.abstain import question_idf
from llmkit.answering.answer import AnswerSpan, Citation, Place
from llmkit.answering.retrieve import COPIES, Found, Retrieval
from llmkit.answering.verify import Verifier
from llmkit.generation import extract
from llmkit.retrieval.bert import one_thread
from llmkit.retrieval.search import Searcher
from llmkit.text.document import Span

if TYPE_CHECKING:
    from llmkit.models.reading import Reading

QUOTES = 3
REFUSES = 0.7
"""Least AUROC of telling answerable questions from others at which a reader may refuse: at .635, as measured of a small
one, two questions in five that it refuses have an answer."""
SPANS = 3
"""Spans of each passage that are looked at."""
PLACE_WEIGHT = 32.0
"""Of a passage's score (0 to 1) against a reader's log-odds, in choosing the span that answers: with 0, 8 and 32 its F1
was .41, .51 and .52 on 78 questions of SQuAD's held-out articles, five passages each."""


@dataclass(frozen=True)
class Marker:
    """A reader: it says which part of a passage answers a question.

    Attributes:
        read: pairs of question and passage to their best spans; asked for so many of each.
        threshold: of `Reading.answer`; None for a reader that always finds something.
        auroc: how well it was measured to tell questions that a text answers from others; None where nobody did.
    """

    read: Callable[[Sequence[tuple[str, str]], int], Sequence[Reading]]
    threshold: float | None = None
    auroc: float | None = None

    @property
    def least(self) -> float | None:
        """The log-odds from which a span counts as an answer; None where every one does."""
        return None if self.threshold is None else -self.threshold

    @property
    def may_refuse(self) -> bool:
        return self.threshold is not None and self.auroc is not None and self.auroc >= REFUSES


class Marked(NamedTuple):
    """A span that a reader found in a passage; `score` is its log-odds against "not in here"."""

    passage: int
    span: Span
    score: float


def marked(question: str, passages: Sequence[Found], marker: Marker) -> list[Marked]:
    """What the reader finds, best first: by its own score and by the passage's."""
    readings = marker.read([(question, passage.text) for passage in passages], SPANS)
    found = [
        Marked(n, Span(span.start, span.end), span.score)
        for n, reading in enumerate(readings)
        for span in reading.spans[:SPANS]
    ]
    return sorted(found, key=lambda each: -(each.score + PLACE_WEIGHT * passages[each.passage].score))


def quoted(
    searcher: Searcher, retrieval: Retrieval, verifier: Verifier, spans: Sequence[Marked] = ()
) -> tuple[Citation, ...]:
    """The best quotes that stand in their sources now, best first.

    Args:
        spans: what a reader is sure of. They are marked in the quotes, and the sentence of the first one is added
            where no quote holds it. They do not change the order: with the reader of recipes/finetune/reader.yaml the
            first quote held the answer to 79% of SQuAD's questions, and to 74% at best when the reader's choice led.
    """
    passages = [extract.Passage(p.text, p.media, p.score, p.heading) for p in retrieval.passages]
    idf = question_idf(searcher.view, retrieval.question)
    # More than are shown: a source may have changed, and what is no longer in it is not quoted.
    quotes = extract.best_quotes(
        passages, idf, searcher.view.terms, _similarity(searcher, retrieval.question), most=2 * QUOTES
    )
    if spans:
        quotes = _with(spans[0], quotes, passages)
    found = [cited for quote in quotes if (cited := _cited(quote, retrieval.passages, verifier, spans))]
    return tuple(found[: QUOTES + bool(spans)])


def _with(best: Marked, quotes: list[extract.Quote], passages: Sequence[extract.Passage]) -> list[extract.Quote]:
    """The quotes that are shown, and behind them the sentence around the best span where none holds it."""
    shown = quotes[:QUOTES]
    if any(quote.passage == best.passage and _inside(best.span, quote.span) for quote in shown):
        return quotes
    around = extract.quote_around(passages[best.passage], best.span)
    apart = [q for q in shown if q.passage != best.passage or q.span.end <= around.start or around.end <= q.span.start]
    return [*apart, extract.Quote(best.passage, around, apart[-1].score if apart else passages[best.passage].score)]


def _cited(
    quote: extract.Quote, passages: Sequence[Found], verifier: Verifier, spans: Sequence[Marked]
) -> Citation | None:
    passage = passages[quote.passage]
    citation = verifier.citation(passage, quote.span, quote.score)
    others = list(_elsewhere(quote, passages, verifier))
    if citation is None:
        # The first place has changed; what still stands in another is as good.
        if not others:
            return None
        citation, *others = others
    places = dict.fromkeys(
        Place(each.source, each.start, each.end, each.line, each.page, each.record) for each in others
    )
    own = (citation.source, citation.record, citation.start)
    also = tuple(place for place in places if (place.source, place.record, place.start) != own)
    return replace(citation, also=also[:COPIES], answer_span=_answer(citation, quote, passage.text, spans))


def _elsewhere(quote: extract.Quote, passages: Sequence[Found], verifier: Verifier) -> Iterator[Citation]:
    """The same words in copies of the passage, and in other passages."""
    for number, span in ((quote.passage, quote.span), *quote.same):
        passage = passages[number]
        said = passage.text[slice(*span)]
        if number != quote.passage and (found := verifier.citation(passage, span, quote.score)):
            yield found
        for copy in passage.copies:
            start = copy.text.find(said)
            if start >= 0 and (found := verifier.citation(copy, Span(start, start + len(said)), quote.score)):
                yield found


def _answer(citation: Citation, quote: extract.Quote, text: str, spans: Sequence[Marked]) -> AnswerSpan | None:
    """The best span inside the quote, where it stands in the source: word for word, or none."""
    inside = [each for each in spans if each.passage == quote.passage and _inside(each.span, quote.span)]
    if not inside:
        return None
    best = max(inside, key=lambda each: each.score)
    said, offset = text[slice(*best.span)], best.span.start - quote.span.start
    if not citation.quote.startswith(said, offset):
        offset = citation.quote.find(said)
        if offset < 0:
            return None
    start = citation.start + offset
    return AnswerSpan(said, start, start + len(said), round(best.score, 4))


def _inside(span: Span, other: Span) -> bool:
    return other.start <= span.start and span.end <= other.end


def _similarity(searcher: Searcher, question: str) -> extract.Similarity | None:
    embedder = searcher.embedder
    if embedder is None or not searcher.fusion.knows(question):
        return None

    def cosines(texts: Sequence[str]) -> list[float]:
        vector = embedder.encode([question], role="query")[0]
        vectors = embedder.encode(texts)
        with one_thread():
            return [float(cosine) for cosine in vectors @ vector]

    return cosines

"""From passages to an answer: quotes as they stand, or a model's words with each citation checked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from llmkit.answering.abstain import Calibration, Idf, question_idf
from llmkit.answering.answer import Answer, Citation
from llmkit.answering.retrieve import Found, Retrieval, retrieve
from llmkit.answering.verify import ReadSource, Verifier
from llmkit.generation import extract
from llmkit.generation.prompts import Passage, grounded_messages, says_nothing
from llmkit.retrieval.bert import one_thread
from llmkit.retrieval.search import Mode, Searcher
from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans

Generate = Callable[[list[dict[str, str]]], str]
"""Chat messages to the model's reply."""

NOT_HERE = "Not in these documents."
QUOTES = 3
SUPPORT = 0.5
"""Least share of a statement's terms, weighted by rarity, in the sentences it cites."""
UNSUPPORTED = "[unsupported]"

_CITED = re.compile(r"\s*\[(\d{1,3})\]")
_LEADING = re.compile(r"(?:\s*\[\d{1,3}\])+[.。]?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED = re.compile(r"[\"“「]([^\"”」]{8,})[\"”」]")


def answer(
    searcher: Searcher,
    question: str,
    calibration: Calibration,
    read_source: ReadSource,
    *,
    generate: Generate | None = None,
    most: int = 5,
    mode: Mode = "hybrid",
) -> Answer:
    """Answers from the index, or says that it holds no answer.

    Args:
        read_source: reads a source again, as it is now.
        generate: a model; None quotes the documents themselves, and needs none.
        most: passages to answer from.
    """
    timings: dict[str, float] = {}
    with _timed(timings, "search"):
        retrieval = retrieve(searcher, question, most=most, mode=mode)
    if retrieval.evidence.score < calibration.threshold or not retrieval.passages:
        return Answer(NOT_HERE, True, (), retrieval.retrieved, timings)
    verifier = Verifier(read_source)
    if generate is None:
        with _timed(timings, "quote"):
            return _quoted(searcher, retrieval, verifier, timings)
    with _timed(timings, "generate"):
        sources = [Passage(passage.text, _label(passage)) for passage in retrieval.passages]
        reply = generate(grounded_messages(question, sources))
    if says_nothing(reply) or not reply.strip():
        return Answer(NOT_HERE, True, (), retrieval.retrieved, timings)
    with _timed(timings, "verify"):
        return _checked(searcher, retrieval, reply, verifier, timings)


def _quoted(searcher: Searcher, retrieval: Retrieval, verifier: Verifier, timings: Mapping[str, float]) -> Answer:
    passages = [extract.Passage(p.text, p.media, p.score, p.heading) for p in retrieval.passages]
    idf = question_idf(searcher.view, retrieval.question)
    # More than are shown: a source may have changed, and what is no longer in it is not quoted.
    quotes = extract.best_quotes(
        passages, idf, searcher.view.terms, _similarity(searcher, retrieval.question), most=2 * QUOTES
    )
    found = (verifier.citation(retrieval.passages[quote.passage], quote.span, quote.score) for quote in quotes)
    citations = tuple(citation for citation in found if citation)[:QUOTES]
    if not citations:
        return Answer(NOT_HERE, True, (), retrieval.retrieved, timings)
    text = "\n\n".join(f"{citation.quote} [{number}]" for number, citation in enumerate(citations, 1))
    return Answer(text, False, citations, retrieval.retrieved, timings)


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


class _Claim(NamedTuple):
    text: str
    cited: tuple[int, ...]


def _checked(
    searcher: Searcher, retrieval: Retrieval, reply: str, verifier: Verifier, timings: Mapping[str, float]
) -> Answer:
    citations: list[Citation] = []
    unsupported: list[str] = []
    parts: list[str] = []
    for claim in _claims(reply):
        numbers = []
        for cited in claim.cited:
            if not 1 <= cited <= len(retrieval.passages):
                continue
            citation = _support(searcher, claim.text, retrieval.passages[cited - 1], verifier)
            if citation is not None:
                if citation not in citations:
                    citations.append(citation)
                numbers.append(citations.index(citation) + 1)
        if numbers:
            parts.append(claim.text + " " + "".join(f"[{number}]" for number in dict.fromkeys(numbers)))
        else:
            unsupported.append(claim.text)
            parts.append(f"{claim.text} {UNSUPPORTED}")
    return Answer(" ".join(parts), False, tuple(citations), retrieval.retrieved, timings, tuple(unsupported))


def _claims(reply: str) -> Iterator[_Claim]:
    """Sentences with the passages they cite; `[1]` behind the full stop still belongs to the sentence before it."""
    held: _Claim | None = None
    for start, end in sentence_spans(reply):
        sentence = reply[start:end]
        if held is not None and (leading := _LEADING.match(sentence)):
            held = held._replace(cited=held.cited + _numbers(leading.group()))
            sentence = sentence[leading.end() :].strip()
        bare = _CITED.sub("", sentence).strip()
        if bare:
            if held is not None:
                yield held
            held = _Claim(bare, _numbers(sentence))
    if held is not None:
        yield held


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _CITED.findall(text))


def _support(searcher: Searcher, claim: str, passage: Found, verifier: Verifier) -> Citation | None:
    """The sentences of the passage that carry the claim, if they do: its terms, all its numbers, and its quotations."""
    numbers = set(_NUMBER.findall(claim))
    if not numbers <= set(_NUMBER.findall(passage.text)):
        return None
    if any(quoted not in passage.text for quoted in _QUOTED.findall(claim)):
        return None
    spans = [span for span in sentence_spans(passage.text) if len(span) <= extract.LONGEST]
    windows = spans + [Span(a.start, b.end) for a, b in pairwise(spans)]
    texts = [passage.text[slice(*span)] for span in windows]
    terms = searcher.view.terms([claim, *texts])
    idf = Idf(searcher.view).of(terms[0])
    total = sum(idf.values())
    if not total or not windows:
        return None
    shares = [sum(idf[term] for term in idf.keys() & set(found)) / total for found in terms[1:]]
    best = max(range(len(windows)), key=lambda n: (round(shares[n], 6), -len(windows[n])))
    return verifier.citation(passage, windows[best], shares[best]) if shares[best] >= SUPPORT else None


def _label(passage: Found) -> str:
    name = passage.source.rsplit("/", 1)[-1]
    return f"{name}, page {passage.page}" if passage.page else f"{name}, line {passage.line}"


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[step] = time.perf_counter() - start

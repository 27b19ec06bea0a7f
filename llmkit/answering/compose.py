"""From passages to an answer: quotes as they stand, or a model's words with each citation checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from llmkit.answering.abstain import Calibration
from llmkit.answering.answer import Answer, Judged, Nearest
from llmkit.answering.fitting import Writer, write_fitting
from llmkit.answering.grounded import check
from llmkit.answering.quoting import Marked, Marker, marked, quoted
from llmkit.answering.retrieve import Found, Ranking, Retrieval, retrieve
from llmkit.answering.verify import ReadSource, Verifier
from llmkit.generation.prompts import Message, Passage, says_nothing
from llmkit.retrieval.search import Searcher

NOT_HERE = "Not in these documents."
FIRST_LINE = 100
"""Characters shown of a passage that comes near and does not answer."""
MOST_LOG_ODDS = 100.0
"""Of a reader that found nothing at all: JSON has no infinity."""


def answer(
    searcher: Searcher,
    question: str,
    calibration: Calibration,
    read_source: ReadSource,
    *,
    writer: Writer | Marker | None = None,
    history: Sequence[Message] = (),
    ranking: Ranking | None = None,
) -> Answer:
    """Answers from the index, or says that it holds no answer.

    Args:
        read_source: reads a source again, as it is now.
        writer: a model that words the answer, or a reader that marks it in the quotes; None quotes the documents
            themselves, and needs no model.
        history: earlier turns of the conversation, for the model.
        ranking: how passages are searched and put in order.
    """
    timings: dict[str, float] = {}
    with _timed(timings, "search"):
        retrieval = retrieve(searcher, question, ranking)
    found = retrieval.evidence
    judged = Judged(round(found.score, 4), calibration.threshold, round(found.cosine, 4), round(found.coverage, 4))
    verifier = Verifier(read_source)
    if found.score < calibration.threshold or not retrieval.passages:
        said = _refused(retrieval, timings)
    elif isinstance(writer, Writer):
        said = _worded(searcher, retrieval, verifier, timings, (writer, history))
    else:
        said, judged = _quoted(searcher, retrieval, verifier, timings, writer, judged)
    return replace(said, evidence=judged, nearest=nearest(retrieval) if said.abstained else (), considered=retrieval)


def nearest(retrieval: Retrieval, most: int = 3) -> tuple[Nearest, ...]:
    """The passages that come nearest to a question, each source and each text once, with their first lines."""
    found: dict[str, Nearest] = {}
    for each in retrieval.considered:
        chunk = each.hit.chunk
        if each.fate not in ("no_match", "copy") and chunk.source not in found:
            line = next((line.strip() for line in chunk.text.splitlines() if any(map(str.isalnum, line))), "")
            text = line if len(line) <= FIRST_LINE else line[: FIRST_LINE - 1] + "…"
            found[chunk.source] = Nearest(chunk.source, chunk.line, chunk.page, text, chunk.record)
    return tuple(found.values())[:most]


def _worded(
    searcher: Searcher,
    retrieval: Retrieval,
    verifier: Verifier,
    timings: dict[str, float],
    model: tuple[Writer, Sequence[Message]],
) -> Answer:
    """The model's words, each statement held against what it cites."""
    writer, history = model
    sources = [Passage(passage.text, _label(passage)) for passage in retrieval.passages]
    with _timed(timings, "generate"):
        written = write_fitting(writer, retrieval.question, sources, history)
    reply = written.generation.text
    notes = (*written.notes, *written.generation.notes)
    interrupted = written.generation.finish_reason == "interrupted"
    if not interrupted and (says_nothing(reply) or not reply.strip()):
        return replace(_refused(retrieval, timings), notes=notes)
    with _timed(timings, "verify"):
        checked = check(searcher, retrieval.passages[: written.passages], reply, verifier)
    return Answer(
        checked.text,
        False,
        checked.citations,
        retrieval.retrieved,
        timings,
        unsupported=checked.unsupported,
        invented=checked.invented,
        notes=(*notes, *_invented(checked.invented, written.passages)),
        interrupted=interrupted,
    )


def _invented(numbers: Sequence[int], passages: int) -> list[str]:
    if not numbers:
        return []
    listed = ", ".join(f"[{number}]" for number in numbers)
    return [f"the model cites {listed}, and there {'is one passage' if passages == 1 else f'are {passages} passages'}"]


def _quoted(
    searcher: Searcher,
    retrieval: Retrieval,
    verifier: Verifier,
    timings: dict[str, float],
    marker: Marker | None,
    judged: Judged,
) -> tuple[Answer, Judged]:
    """What the documents say, or nothing where a reader that may say so finds no answer in them."""
    spans: list[Marked] = []
    if marker is not None:
        with _timed(timings, "read"):
            spans = marked(retrieval.question, retrieval.passages, marker)
        best = max((span.score for span in spans), default=-MOST_LOG_ODDS)
        least = marker.least
        judged = replace(judged, reader=round(best, 4), reader_threshold=least, reader_decides=marker.may_refuse)
        if marker.may_refuse and least is not None and best < least:
            return _refused(retrieval, timings), judged
        spans = [span for span in spans if least is None or span.score >= least]
    with _timed(timings, "quote"):
        citations = quoted(searcher, retrieval, verifier, spans)
    if not citations:
        return _refused(retrieval, timings), judged
    text = "\n\n".join(f"{citation.quote} [{number}]" for number, citation in enumerate(citations, 1))
    return Answer(text, False, citations, retrieval.retrieved, timings), judged


def _refused(retrieval: Retrieval, timings: Mapping[str, float]) -> Answer:
    return Answer(NOT_HERE, True, (), retrieval.retrieved, timings)


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

"""Answers for the commands that ask: from an index with checked quotes, or from a model alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import NotFoundError
from llmkit.stages.knowledge import Knowledge, narrowed
from llmkit.stages.writing import alone, writer_of

if TYPE_CHECKING:
    from llmkit.answering.answer import Answer
    from llmkit.answering.fitting import Writer
    from llmkit.answering.quoting import Marker
    from llmkit.answering.retrieve import Ranking
    from llmkit.evaluation.kinds.rag import RagAnswer
    from llmkit.generation.endpoint import EndpointModel
    from llmkit.generation.local import LocalModel
    from llmkit.retrieval.search import Mode
    from llmkit.text.document import Document

    Writes = LocalModel | EndpointModel

EXTRACTED = frozenset(
    {".pdf", ".html", ".htm", ".xhtml", ".docx", ".pptx", ".xlsx", ".epub", ".ipynb", ".eml", ".warc"}
)
"""Files whose text is not what an editor shows: a quote of them has a page or nothing, but no line."""


def from_index(
    question: str,
    knowledge: Knowledge,
    *,
    writer: Writer | Marker | None = None,
    history: Sequence[Mapping[str, str]] = (),
    ranking: Ranking | None = None,
) -> Answer:
    """An answer from the indexed documents, every quote of it looked up in its source now.

    Args:
        writer: a model that words it (`writing.writer_of`), or a reader that marks it (`reading.marker_of`).
        history: earlier turns of the conversation, for the model.
        ranking: how passages are searched and put in order.

    Raises:
        UnavailableError: the model's endpoint does not answer.
    """
    from llmkit.answering.compose import answer

    return answer(
        knowledge.searcher,
        question,
        knowledge.calibration,
        read_source,
        writer=writer,
        history=history,
        ranking=ranking,
    )


def answer_text(question: str, knowledge: Knowledge | None, model: Writes | None) -> str:
    """The answer alone, for scoring: without the numbers of its citations; nothing where the documents hold none."""
    from llmkit.generation.sampling import GREEDY

    if knowledge is None:
        assert model is not None  # noqa: S101  # a task that needs either has one
        return str(alone(question, model, GREEDY)["answer"])
    found = from_index(question, knowledge, writer=writer_of(model, GREEDY) if model is not None else None)
    return said_in(found, lambda _: None).text


def said_in(found: Answer, confidence: Callable[[Answer], float | None]) -> RagAnswer:
    """An answer as it is scored: without the numbers of its citations, and the places that they name."""
    from llmkit.answering.claims import claims
    from llmkit.answering.grounded import UNSUPPORTED
    from llmkit.evaluation.kinds.rag import RagAnswer
    from llmkit.evaluation.kinds.retrieval import Place
    from llmkit.text.document import Span

    places = tuple(Place(each.source, Span(each.start, each.end), each.record) for each in found.citations)
    sure = confidence(found)
    if found.abstained:
        return RagAnswer("", True, confidence=sure)
    quotes = "\n\n".join(f"{each.quote} [{number}]" for number, each in enumerate(found.citations, 1))
    if found.text == quotes:  # the documents' own words: nothing in them is a claim of ours
        marks = [each.answer_span for each in found.citations if each.answer_span is not None]
        best = max(marks, key=lambda mark: mark.score, default=None)
        text = "\n".join(each.quote for each in found.citations)
        return RagAnswer(text, False, best.text if best else "", places, len(places), 0, sure)
    said = claims(found.text.replace(UNSUPPORTED, ""))
    text = " ".join(claim.text for claim in said)
    states = sum(claim.states for claim in said)
    unsupported = len(found.unsupported)
    return RagAnswer(text, False, "", places, max(states, unsupported), unsupported, sure)


def as_payload(answer: Answer, knowledge: Knowledge) -> dict[str, Any]:
    """An answer as `--json` prints it: its sources open from the current directory."""
    payload = answer.to_json()
    if answer.abstained:
        payload["notes"] += [*narrowed(knowledge), *outdated(knowledge, payload["retrieved"])]
    payload["notes"] += knowledge.searcher.notes
    cited = payload["citations"]
    for place in (*cited, *(also for quote in cited for also in quote["also"]), *payload["nearest"]):
        if place["record"] or place["page"] or Path(place["source"]).suffix.lower() in EXTRACTED:
            place["line"] = None  # a line of the extracted text is none of the file's
        place["source"] = reachable(place["source"])
    for place in payload["retrieved"]:
        place["source"] = reachable(place["source"])
    return payload


def explanation_of(answer: Answer, knowledge: Knowledge, mode: Mode) -> dict[str, Any]:
    """Why the answer rests on these passages (`answering.explain`), its sources as they open from here."""
    from llmkit.answering.explain import explain

    if answer.considered is None:
        return {}
    explanation = explain(knowledge.searcher, answer.considered, answer.evidence, mode)
    for hit in explanation["hits"]:
        hit["source"] = reachable(hit["source"])
    return explanation


def read_source(source: str, record: str) -> Document:
    """A document as its file has it now.

    Raises:
        NotFoundError: the file, or that record of it, is gone.
    """
    from llmkit.data.drops import Drop
    from llmkit.data.readers.table import read_source as read_again

    for item in read_again(source):
        if not isinstance(item, Drop) and item.record == record:
            return item
    raise NotFoundError("the source is not there any more", where=source, mend="run `llmkit index` again")


def outdated(knowledge: Knowledge, retrieved: Sequence[Mapping[str, Any]], most: int = 3) -> list[str]:
    """What of the nearest sources is not as it was indexed, in words: a refusal may be wrong for that reason."""
    notes = []
    for source in list(dict.fromkeys(place["source"] for place in retrieved))[:most]:
        if not container(source).exists():
            notes.append(f"{reachable(source)} is gone since it was indexed: run llmkit index again")
        elif _digests(source) != knowledge.searcher.view.digests_of(source):
            notes.append(f"{reachable(source)} has changed since it was indexed: run llmkit index again")
    return notes


def container(source: str) -> Path:
    """The file that a source is, or is inside of: `docs.zip` for `docs.zip!/guide.md`."""
    return Path(source.split("!/")[0])


def _digests(source: str) -> set[str]:
    from llmkit.data.drops import Drop
    from llmkit.data.readers.table import read_source as read_again

    return {item.digest for item in read_again(source) if not isinstance(item, Drop)}


def reachable(source: str) -> str:
    """A source as it opens from the current directory: relative where it lies below, else as it is."""
    if not os.path.isabs(source):  # noqa: PTH117  # a URI is no path
        return source
    try:
        return str(Path(source).relative_to(Path.cwd()))
    except ValueError:
        return source

"""Answers as they are shown: quotes at places that open, what was not answered, and why these passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit.reporting.blocks import Block, Line, Quote, Table
from llmkit.stages.result import BATCH

ALSO = 3
"""Other places of a quote that are named."""
HITS, WORDS = 10, 3
"""Hits of an explanation that are shown, and words of each; `--json` has all."""
FATES = {
    "used": "answered from",
    "joined": "joined with its neighbour",
    "copy": "the same text as one above",
    "beyond_k": "behind the first k",
    "too_alike": "too like one above",
    "no_match": "nothing of the question",
}


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The answer with its quotes, each at a place that can be opened."""
    answers = payload.get(BATCH) or [payload]
    return [block for answer in answers for block in _shown(answer)]


def _shown(answer: Mapping[str, Any]) -> Sequence[Block]:
    blocks: list[Block] = [Line("")]
    if not answer.get("typed"):  # who has just typed a question sees it
        blocks.append(Line(answer["question"], "heading"))
    if answer.get("searched"):
        blocks.append(Line(f"understood as: {answer['searched']}", "dim"))
    blocks += _refused(answer) if answer["abstained"] else _said(answer)
    if explanation := answer.get("explanation"):
        blocks += explained(explanation)
    return blocks


def _said(answer: Mapping[str, Any]) -> list[Block]:
    quotes = answer["citations"]
    blocks: list[Block] = []
    if not _only_quotes(answer):
        blocks.append(Quote(answer["answer"]))
    for number, quote in enumerate(quotes, start=1):
        stale = "  (the file has changed since it was indexed)" if quote["stale"] else ""
        also = f"  (also in {_listed([place_of(each) for each in quote['also']])})" if quote["also"] else ""
        span = quote["answer_span"]
        marked = ((span["start"] - quote["start"], span["end"] - quote["start"]),) if span else ()
        title = f"[{number}] {place_of(quote)}{also}{stale}"
        blocks.append(Quote(quote["quote"], title, *_link(quote), marked=marked))
    blocks += [Line(f"not supported by any passage: {claim}", "bad") for claim in answer["unsupported"]]
    return [*blocks, *(Line(note, "dim") for note in answer.get("notes", ()))]


def _only_quotes(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is its quotes and nothing else, so that these say it all."""
    rest = "".join(answer["answer"].split())
    for number, quote in enumerate(answer["citations"], start=1):
        rest = rest.replace("".join(quote["quote"].split()), "", 1).replace(f"[{number}]", "", 1)
    return bool(answer["citations"]) and not rest


def _refused(answer: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [Line(answer["answer"], "bad")]
    if nearest := answer["nearest"]:
        blocks.append(Line("The nearest passages, which do not answer it:", "dim"))
        blocks += [Quote(place["text"], f"  {place_of(place)}", *_link(place), faint=True) for place in nearest]
    return [*blocks, *(Line(note, "bad") for note in answer.get("notes", ()))]


def place_of(place: Mapping[str, Any]) -> str:
    """`guide.md:12`, `manual.pdf, page 3`, `faq.jsonl, record 7`."""
    line = f":{place['line']}" if place.get("line") else ""
    page = f", page {place['page']}" if place.get("page") else ""
    record = f", record {place['record']}" if place.get("record") else ""
    return f"{place['source']}{line}{page}{record}"


def _link(place: Mapping[str, Any]) -> tuple[str, int]:
    """The file that a place is in, as a link, and the line in it (0: none)."""
    path = Path(place["source"])
    try:
        return (path.resolve().as_uri(), place.get("line") or 0) if path.exists() else ("", 0)
    except (OSError, ValueError):  # a name that is too long or no path at all
        return "", 0


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - ALSO} more" if len(places) > ALSO else ""
    return ", ".join(places[:ALSO]) + more


def explained(explanation: Mapping[str, Any]) -> list[Block]:
    """An explanation (`answering.explain`) as tables."""
    fusion, evidence = explanation["fusion"], explanation["evidence"]
    encoder = f", meaning {fusion['meaning']:g} ({fusion['embedder']})" if fusion["embedder"] else ""
    unknown = ""
    if fusion["embedder"] and not fusion["knows_language"]:
        unknown = "; the encoder was not made for the language of the question"
    blocks: list[Block] = [
        Line(""),
        Line(f"Why these passages: words {fusion['words']:g}{encoder}{unknown}", "heading"),
        Table(
            ("word", "chunks that hold it"),
            [(each["word"], f"{each['chunks']:,} of {explanation['chunks']:,}") for each in explanation["words"]],
        ),
    ]
    hits = explanation["hits"][:HITS]
    reread = any(hit["reread"] is not None for hit in hits)
    rows = [
        (
            hit["rank"],
            place_of({**hit, "page": None}),
            f"{hit['score']:.3f}",
            f"{hit['by_words']:.3f}",
            f"{hit['by_meaning']:.3f}",
            "-" if hit["cosine"] is None else f"{hit['cosine']:.2f}",
            *([f"{hit['reread']:.3f}" if hit["reread"] is not None else "-"] if reread else []),
            " ".join(f"{word} {score:.1f}" for word, score in list(hit["words"].items())[:WORDS]),
            FATES[hit["fate"]],
        )
        for hit in hits
    ]
    columns = ["", "passage", "score", "words", "meaning", "cosine", *(["reread"] if reread else []), "BM25 of", ""]
    numeric = frozenset(range(2, len(columns) - 2)) | {0}
    blocks.append(Table(columns, rows, "", numeric))
    if evidence:
        blocks.append(Line(_evidence(evidence), "dim"))
    return blocks


def _evidence(evidence: Mapping[str, Any]) -> str:
    verdict = "answered" if evidence["score"] >= evidence["threshold"] else "not answered"
    words = (
        f"evidence {evidence['score']:.2f} (nearest cosine {evidence['cosine']:.2f}, {evidence['coverage']:.0%} of the"
        f" question's words by weight) against this index's threshold of {evidence['threshold']:.2f}: {verdict}"
    )
    if evidence["reader"] is None:
        return words
    least = evidence["reader_threshold"]
    needed = f" (at least {least:.2f} to answer)" if evidence["reader_decides"] and least is not None else ""
    return f"{words}; the reader's log-odds {evidence['reader']:.2f}{needed}"


def headline(payload: Mapping[str, Any]) -> str:
    """`3 quotes, hashlib.py:206`, or that it said nothing."""
    if BATCH in payload:
        said = sum(not answer["abstained"] for answer in payload[BATCH])
        return f"{said} of {len(payload[BATCH])} answered"
    if payload["abstained"]:
        return "not in these documents"
    quotes = payload["citations"]
    if not quotes:
        return f"{len(payload['answer'])} characters"
    first = quotes[0]
    line = f":{first['line']}" if first["line"] else ""
    return f"{len(quotes)} quote{'s' if len(quotes) > 1 else ''}, {Path(first['source']).name}{line}"

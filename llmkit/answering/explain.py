"""Why these passages: what every hit was ranked by, what the threshold was held against, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmkit.answering.abstain import question_idf
from llmkit.answering.answer import Judged
from llmkit.answering.retrieve import Considered, Retrieval
from llmkit.retrieval.lexical import question_words
from llmkit.retrieval.search import Mode, Searcher
from llmkit.retrieval.store import View

HITS = 20
"""Hits that are explained at most."""


def explain(searcher: Searcher, retrieval: Retrieval, judged: Judged | None, mode: Mode) -> dict[str, Any]:
    """How a question was searched and judged, JSON values.

    `words` are those that were looked up, each with the number of chunks that hold it. `terms` are what the evidence
    counts: the share of their weights that stands in one of the first hits is the coverage. A hit's `score` is the sum
    of `by_words` and `by_meaning` (unless a cross-encoder reread it), its `bm25` that of what each word adds.
    """
    question = retrieval.question
    words = question_words(question)
    view = searcher.view
    hits = retrieval.considered[:HITS]
    added = _added(view, words, [each.hit.chunk.row for each in hits])
    stems = {word: (found[0] if found else word) for word, found in zip(words, view.terms(words), strict=True)}
    held = view.frequencies(set(stems.values()))
    by_words = searcher.fusion.bm25_weight(question) if searcher.embedder else 1.0
    weight = {"hybrid": by_words, "lexical": 1.0, "dense": 0.0}[mode]
    weights = question_idf(view, question)
    total = sum(weights.values()) or 1.0
    return {
        "search": mode,
        "words": [{"word": word, "term": stems[word], "chunks": held[stems[word]]} for word in words],
        "terms": [
            {"term": term, "weight": round(rarity, 4), "share": round(rarity / total, 4)}
            for term, rarity in sorted(weights.items(), key=lambda item: -item[1])
        ],
        "fusion": {
            "words": weight,
            "meaning": round(1 - weight, 4),
            "embedder": searcher.embedder.name if searcher.embedder else None,
            "knows_language": bool(searcher.embedder) and searcher.fusion.knows(question),
        },
        "evidence": vars(judged) if judged else None,
        "chunks": view.counts[1],
        "hits": [_hit(rank, each, added[each.hit.chunk.row]) for rank, each in enumerate(hits, 1)],
    }


def _added(view: View, words: Sequence[str], rows: Sequence[int]) -> dict[int, dict[str, float]]:
    """What each word adds to the BM25 of each row: BM25 is a sum over words."""
    found: dict[int, dict[str, float]] = {row: {} for row in rows}
    only = np.zeros(max(rows, default=0) + 1, dtype=np.bool_)
    only[list(rows)] = True
    for word in words:
        for row, score in view.lexical([word], len(rows), only).items():
            found[row][word] = score
    return found


def _hit(rank: int, each: Considered, added: dict[str, float]) -> dict[str, Any]:
    hit, chunk = each.hit, each.hit.chunk
    first = next((line.strip() for line in chunk.text.splitlines() if line.strip()), "")
    return {
        "rank": rank,
        "source": chunk.source,
        "line": chunk.line,
        "start": chunk.span.start,
        "end": chunk.span.end,
        "heading": chunk.heading,
        "text": first[:100],
        "score": round(each.score, 6),
        "by_words": round(hit.by_words, 6),
        "by_meaning": round(hit.by_meaning, 6),
        "bm25": round(hit.bm25, 4),
        "words": {word: round(score, 4) for word, score in sorted(added.items(), key=lambda item: -item[1])},
        "cosine": None if hit.cosine is None else round(hit.cosine, 4),
        "reread": None if each.reread is None else round(each.reread, 4),
        "fate": each.fate,
    }

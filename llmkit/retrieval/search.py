"""Searching one version of an index: BM25 and cosine, fused, with hits from many sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np

from llmkit.errors import UnavailableError, UsageError
from llmkit.retrieval.bert import one_thread
from llmkit.retrieval.embed import Embedder, Vectors
from llmkit.retrieval.language import Fusion
from llmkit.retrieval.lexical import question_words
from llmkit.retrieval.store import Halves, Rows, Shown, StoredChunk, View
from llmkit.retrieval.where import Where

Mode = Literal["lexical", "dense", "hybrid"]

CANDIDATES = 100
"""Chunks that each of the two searches puts forward."""
EXACT_CHUNKS = 250_000
"""Up to here every vector is compared (see vectors.py for the figures)."""
DISTINCT_SOURCES = 10


class Nearest(Protocol):
    """An approximate index of the vectors: cosines by row of `vectors`."""

    def nearest(self, question: Vectors, most: int) -> dict[int, float]: ...


class Hit(NamedTuple):
    """A chunk found. `score` ranks (0 to 1 in hybrid mode); `bm25` is 0 where no word matched, `cosine` None without
    vectors. `by_words` and `by_meaning` are the two parts that the score is the sum of."""

    chunk: StoredChunk
    score: float
    bm25: float
    cosine: float | None
    by_words: float = 0.0
    by_meaning: float = 0.0


@dataclass(frozen=True)
class Searcher:
    """Search over a view.

    Attributes:
        embedder: None for a lexical index.
        fusion: weights of BM25, measured when the index was built.
        near: opens the approximate index, or gives None where it is not in step; called once, above `exact` chunks.
        where: the chunks to search in; else all of the view.
        notes: what went other than planned, in words; each once.
    """

    view: View
    embedder: Embedder | None
    fusion: Fusion
    near: Callable[[], Nearest | None] = lambda: None
    exact: int = EXACT_CHUNKS
    where: Where | None = None
    notes: list[str] = field(default_factory=list)

    def search(self, question: str, *, most: int = 10, mode: Mode = "hybrid") -> list[Hit]:
        """The best hits, best first: at least `most` where there are as many, and at least ten distinct sources where
        there are as many, so more than `most` if one source has many.

        Raises:
            UsageError: `mode` is dense and the index has no vectors.
        """
        if mode == "dense" and self.embedder is None:
            raise UsageError("this index has no vectors", mend="use --search lexical, or build it with an embedder")
        rows: list[int] = []
        scores: dict[int, _Scores] = {}
        vector = None
        if mode != "lexical" and self.embedder is not None:
            vector = self.embedder.encode([question], role="query")[0]
        for wanted in (CANDIDATES, 8 * CANDIDATES, 64 * CANDIDATES):
            scores = self._scores(question, vector, mode, max(wanted, most))
            order = sorted(scores, key=lambda row: (-scores[row].score, row))
            rows, sources = self._spread(order, most)
            enough = len(rows) >= most and sources >= min(DISTINCT_SOURCES, self._source_count)
            if enough or len(order) < wanted:  # or all there is
                break
        return self._filled(self._hits(rows, scores))

    @cached_property
    def shown(self) -> Shown:
        """The chunks that may be found, by row."""
        return self.view.shown if self.where is None else self.view.chosen(self.where)

    @cached_property
    def count(self) -> int:
        """How many these are."""
        return self.view.counts[1] if self.where is None else int(self.shown.sum())

    @cached_property
    def _source_count(self) -> int:
        return self.view.source_count(self.where)

    @cached_property
    def _first_sources(self) -> list[tuple[str, int]]:
        return self.view.sources(2 * DISTINCT_SOURCES, self.where)

    @cached_property
    def _matrix(self) -> tuple[Rows, Halves]:
        return self.view.halves(self.where)

    @cached_property
    def _near(self) -> Nearest | None:
        return self.near()

    def _scores(self, question: str, vector: Vectors | None, mode: Mode, wanted: int) -> dict[int, _Scores]:
        bm25 = self.view.lexical(question_words(question), wanted, self.shown) if mode != "dense" else {}
        cosines = self._cosines(vector, wanted, list(bm25)) if vector is not None else {}
        if not cosines:
            return {row: _Scores(score, score, None, score) for row, score in bm25.items()}
        weight = self.fusion.bm25_weight(question) if mode == "hybrid" else 0.0
        return _fused(bm25, cosines, weight)

    def _cosines(self, question: Vectors, wanted: int, also: Sequence[int]) -> dict[int, float]:
        """Cosines of the `wanted` nearest chunks, and of those in `also`."""
        if self.count > self.exact and self._near is not None:
            try:
                found = self._nearest(self._near, question, wanted)
            except UnavailableError as error:
                self._note(f"{error.message}: every vector in SQLite was compared instead")
                self.__dict__["_near"] = None  # not asked again
            else:
                rows, vectors = self.view.vectors_of([row for row in also if row not in found])
                found.update(zip(rows.tolist(), (vectors @ question).tolist() if len(rows) else [], strict=True))
                return found
        rows, halves = self._matrix
        if not len(rows):
            return {}
        rough = similarities(halves, question)
        best = np.argpartition(-rough, min(wanted, len(rows) - 1))[:wanted]
        listed = np.union1d(best, np.flatnonzero(np.isin(rows, np.array(also, dtype=np.int64))))
        with one_thread():
            cosines = halves[listed].astype(np.float32) @ question
        return dict(zip(rows[listed].tolist(), cosines.tolist(), strict=True))

    def _nearest(self, near: Nearest, question: Vectors, wanted: int) -> dict[int, float]:
        """As many of the approximate index as make `wanted` chunks of this version and filter, or all it has."""
        total = self.view.counts[1]
        asked = wanted * max(1, total // max(1, self.count))
        while True:
            by_vector = near.nearest(question, asked)
            chunks = self.view.chunks_with(list(by_vector))
            shown = self.shown
            found = {
                row: cosine
                for vector, cosine in by_vector.items()
                for row in chunks.get(vector, ())
                if row < len(shown) and shown[row]
            }
            if len(found) >= min(wanted, self.count) or len(by_vector) < asked:
                return found
            asked *= 4

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _spread(self, order: Sequence[int], most: int) -> tuple[list[int], int]:
        """The first `most` rows, and behind them the first of each further source up to ten; how many sources."""
        sources = self.view.sources_of(order)
        chosen = list(order[:most])
        seen = {sources.get(row) for row in chosen}
        for row in order[most:]:
            if len(seen) >= DISTINCT_SOURCES:
                break
            if sources.get(row) not in seen:
                seen.add(sources.get(row))
                chosen.append(row)
        return chosen, len(seen)

    def _hits(self, rows: Sequence[int], scores: Mapping[int, _Scores]) -> list[Hit]:
        chunks = self.view.chunks(rows)
        return [Hit(chunks[row], *scores[row]) for row in rows if row in chunks]  # its version may have been removed

    def _filled(self, hits: list[Hit]) -> list[Hit]:
        """Sources that matched nothing (or far down), last and with score 0, where fewer than ten came near."""
        seen = {hit.chunk.source for hit in hits}
        if len(seen) >= DISTINCT_SOURCES:
            return hits
        missing = [row for source, row in self._first_sources if source not in seen]
        chunks = self.view.chunks(missing[: DISTINCT_SOURCES - len(seen)])
        return hits + [Hit(chunk, 0.0, 0.0, None) for chunk in chunks.values()]


def similarities(halves: Halves, question: Vectors) -> Vectors:
    """Dot products [n] of stored vectors [n, d] with a question [d], to some 1e-4: half precision throughout.

    Nothing is widened first: a fresh process spares the conversion, every process two thirds of the memory, and a
    question takes no longer (122,000 chunks: 4.6 CPU ms against 5.9 of NumPy's float32 product).
    """
    import simsimd

    products: Vectors = np.asarray(simsimd.cdist(question.astype(np.float16)[None], halves, "dot"), dtype=np.float32)
    return products.reshape(-1)


class _Scores(NamedTuple):
    score: float
    bm25: float
    cosine: float | None
    by_words: float = 0.0
    by_meaning: float = 0.0


def _fused(bm25: Mapping[int, float], cosines: Mapping[int, float], weight: float) -> dict[int, _Scores]:
    """Convex combination of min-max normalised scores (Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for
    Hybrid Retrieval"). No word in common is a BM25 of 0, its true minimum; the cosine's is that of the candidates."""
    top = max(bm25.values(), default=0.0) or 1.0
    low, high = min(cosines.values()), max(cosines.values())
    width = (high - low) or 1.0
    fused = {}
    for row, cosine in cosines.items():
        lexical = bm25.get(row, 0.0)
        by_words, by_meaning = weight * lexical / top, (1 - weight) * (cosine - low) / width
        fused[row] = _Scores(by_words + by_meaning, lexical, cosine, by_words, by_meaning)
    for row, lexical in bm25.items():
        by_words = weight * lexical / top
        fused.setdefault(row, _Scores(by_words, lexical, None, by_words))
    return fused

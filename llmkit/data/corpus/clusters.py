"""Clusters of duplicates among any number of documents, in memory that does not grow with their text.

Documents are known by their position. What is needed of each (its hashes) lies in memory-mapped arrays; a partition of
the hashes is looked at at a time, and texts are read again only where two documents share a band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from llmkit.data.engine import ordered_map
from llmkit.data.steps.dedup import BANDS, compared, similarity
from llmkit.errors import RunError
from llmkit.reporting.reporter import Progress

_PARTITION = 1 << 20
"""Hashes sorted at a time: 16 MB each for the hashes, their documents, and the order."""

_MOST_COMPARISONS = 32
"""Texts that share a band but nothing else (a licence header, say) could be compared with each other without end. Each
is compared with at most this many distinct ones of the same band."""

_BATCH = 256
"""Documents in the buckets that a worker is given at a time."""

_WORTH_WORKERS = 20_000
"""Documents that share a band, below which processes cost more to start than they save."""


class Texts(Protocol):
    """Gives the text of a document by its position; picklable, as workers get a copy."""

    def __call__(self, index: int) -> str: ...


@dataclass(frozen=True)
class Clusters:
    """For each document, in order.

    Attributes:
        original: int64; the first document of its cluster: itself for an original.
        exact: bool; whether it has the very text of an earlier one (case and spacing aside).
        ids: uint64; the smallest exact hash of its cluster, which depends on the texts alone, not on order or paths.
    """

    original: np.ndarray
    exact: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Hashes:
    """The sketches of all documents: `exact` is uint64 of shape (N, 2), `bands` uint64 of shape (BANDS, N)."""

    exact: np.ndarray
    bands: np.ndarray

    def __len__(self) -> int:
        return len(self.exact)


@dataclass(frozen=True)
class Bucket:
    """Documents that share a band, in order, each with the cluster it belongs to as far as that is known."""

    documents: tuple[int, ...]
    roots: tuple[int, ...]


def find_clusters(
    hashes: Hashes, texts: Texts, scratch: Path, *, threshold: float, workers: int, progress: Progress
) -> Clusters:
    """Group documents into clusters of duplicates; the first of each counts as its original.

    The result is the same for any number of workers: what one band joins is decided from what the bands before it
    joined, never from what other workers have found meanwhile.

    Args:
        hashes: of the documents, in order.
        texts: asked only for documents that share a band.
        scratch: a folder for arrays of a few bytes per document.
        threshold: the least Jaccard similarity of near duplicates.
    """
    if not len(hashes):
        none = np.zeros(0, np.int64)
        return Clusters(none, none.astype(bool), none.astype(np.uint64))
    first = _first_of_each(hashes, scratch)
    parents = _Parents(first)
    distinct = first == np.arange(len(first))
    for band in range(BANDS):
        parents.flatten()
        buckets = list(_buckets(hashes.bands[band], distinct, parents.roots))
        for joined in _compared(buckets, texts, threshold, workers):
            for a, b in joined:
                parents.join(a, b)
        progress.advance()
    parents.flatten()
    ids = _array(scratch, "ids", len(first), np.uint64)
    ids[:] = np.iinfo(np.uint64).max
    np.minimum.at(ids, parents.roots, hashes.exact[:, 0])
    return Clusters(parents.roots, ~distinct, ids[parents.roots])


def _first_of_each(hashes: Hashes, scratch: Path) -> np.ndarray:
    """int64: for each document the first one with the same exact hash."""
    first = _array(scratch, "first", len(hashes), np.int64)
    for documents, keys in _partitions(hashes.exact[:, 0]):
        low = hashes.exact[documents, 1]
        order = np.lexsort((documents, low, keys))
        ordered, high, low = documents[order], keys[order], low[order]
        fresh = np.ones(len(ordered), dtype=bool)
        fresh[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        starts = np.maximum.accumulate(np.where(fresh, np.arange(len(ordered)), 0))
        first[ordered] = ordered[starts]
    return first


def _buckets(keys: np.ndarray, distinct: np.ndarray, roots: np.ndarray) -> Iterator[Bucket]:
    """The groups of distinct documents with one key, where not all are known to be one cluster already."""
    for documents, hashes in _partitions(keys, distinct):
        order = np.argsort(hashes, kind="stable")
        ordered, sorted_keys = documents[order], hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))
        of = roots[ordered]
        apart = np.minimum.reduceat(of, starts) != np.maximum.reduceat(of, starts)
        ends = np.append(starts[1:], len(ordered))
        for start, end in zip(starts[apart].tolist(), ends[apart].tolist(), strict=True):
            yield Bucket(tuple(ordered[start:end].tolist()), tuple(of[start:end].tolist()))


def _partitions(keys: np.ndarray, wanted: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`(documents, keys)`, of those wanted, so that equal keys are in one partition and each fits into memory."""
    count = max(1, -(-len(keys) // _PARTITION))
    for part in range(count):
        found: list[np.ndarray] = []
        for start in range(0, len(keys), _PARTITION):
            piece = np.asarray(keys[start : start + _PARTITION])
            chosen = piece % count == part if count > 1 else np.ones(len(piece), dtype=bool)
            if wanted is not None:
                chosen &= wanted[start : start + _PARTITION]
            found.append(np.flatnonzero(chosen) + start)
        documents = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
        if len(documents):
            yield documents, np.asarray(keys[documents])


def _compared(
    buckets: Sequence[Bucket], texts: Texts, threshold: float, workers: int
) -> Iterator[list[tuple[int, int]]]:
    shared = sum(len(bucket.documents) for bucket in buckets)
    work = partial(_near_pairs, texts, threshold)
    yield from ordered_map(
        work, _batches(buckets), workers=workers if shared >= _WORTH_WORKERS else 1, lost=_lost, batch=1
    )


def _batches(buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
    batch: list[Bucket] = []
    size = 0
    for bucket in buckets:
        batch.append(bucket)
        size += len(bucket.documents)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _near_pairs(texts: Texts, threshold: float, buckets: Sequence[Bucket]) -> list[tuple[int, int]]:
    """Pairs `(earlier, later)` that are near enough: each document of a bucket with the distinct ones before it."""
    known: dict[int, np.ndarray] = {}

    def hashes(document: int) -> np.ndarray:
        if document not in known:
            known[document] = compared(texts(document))
        return known[document]

    return [pair for bucket in buckets for pair in _near_in(bucket, hashes, threshold)]


def _near_in(bucket: Bucket, hashes: Callable[[int], np.ndarray], threshold: float) -> Iterator[tuple[int, int]]:
    distinct: list[int] = []
    met: set[int] = set()
    for document, root in zip(bucket.documents, bucket.roots, strict=True):
        if root in met:
            continue
        met.add(root)
        near = next((other for other in distinct if similarity(hashes(other), hashes(document)) >= threshold), None)
        if near is not None:
            yield near, document
        elif len(distinct) < _MOST_COMPARISONS:
            distinct.append(document)


def _lost(batch: Sequence[Bucket], why: str) -> list[tuple[int, int]]:
    raise RunError(f"a process that compared documents ended: {why}", mend="run the same command again: it goes on")


class _Parents:
    """Union-find in which the root of a group is its smallest index; `roots` is true after `flatten`."""

    def __init__(self, parents: np.ndarray) -> None:
        self.roots = parents

    def join(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        self.roots[max(a, b)] = min(a, b)

    def flatten(self) -> None:
        while True:
            above = self.roots[self.roots]
            if np.array_equal(above, self.roots):
                return
            self.roots[:] = above

    def _root(self, index: int) -> int:
        while (above := int(self.roots[index])) != index:
            index = above
        return index


def _array(scratch: Path, name: str, size: int, dtype: type) -> np.ndarray:
    """An array on disk, which the system may take out of memory whenever it needs room."""
    return np.memmap(scratch / f"{name}.array", dtype=dtype, mode="w+", shape=(size,))

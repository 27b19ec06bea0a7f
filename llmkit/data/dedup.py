"""Exact and near duplicates: MinHash with banding finds candidates, their true Jaccard similarity decides.

Near means that the sets of 5-token shingles of two texts have a Jaccard similarity of at least 0.8 (a token is a word,
or a character where the script has no spaces). See Broder 1997, "On the resemblance and containment of documents", and
Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3, for the banding.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from rensa import RMinHash

from llmkit.text.ngrams import shingles

SHINGLE_TOKENS = 5

# Two texts of similarity J agree in one MinHash value with probability J, so in all ROWS values of a band with J^ROWS,
# and in at least one band with 1 - (1 - J^ROWS)^BANDS:
#
#     J       0.5    0.6    0.7    0.8    0.85   0.9    0.95
#     14 x 8  0.053  0.211  0.565  0.924  0.988  0.9996 1.0000
#     8 x 16  0.0001 0.002  0.026  0.204  0.461  0.806  0.989
#
# 14 x 8 misses few true pairs, and what it proposes below the threshold costs one comparison of two sets each.
BANDS = 14
ROWS = 8
_SEED = 1

_COMPARED_CHARS = 1_000_000
"""A longer text is compared by its beginning: that bounds the time and memory that one document can cost."""

_MOST_COMPARISONS = 32
"""Texts that share a band but nothing else (a licence header, say) could be compared with each other without end. Each
is compared with at most this many distinct ones of the same band."""

Dropped = Literal["near", "exact", "none"]


@dataclass(frozen=True)
class Sketch:
    """What is kept of a text to find its duplicates: the hash of its normalised form and one hash per band."""

    exact: bytes
    bands: bytes
    """`BANDS` unsigned 64-bit integers."""


@dataclass(frozen=True)
class Clusters:
    """For each text, in order: the id of its duplicate cluster, and of which earlier text it is a duplicate, if of any.

    A cluster's id is the smallest exact hash in it: it depends on the texts alone, not on their order or their paths.
    """

    ids: Sequence[str]
    original: Sequence[int | None]
    exact: Sequence[bool]
    """Whether a duplicate has the very text of an earlier one (case and spacing aside), or only nearly."""


def sketch(text: str) -> Sketch:
    """The sketch of a text; runs in worker processes, and is the same on every machine."""
    minhash = RMinHash(num_perm=BANDS * ROWS, seed=_SEED)
    minhash.update(list(shingles(text[:_COMPARED_CHARS], SHINGLE_TOKENS)))
    values = array("I", minhash.digest()).tobytes()
    width = len(values) // BANDS
    bands = b"".join(
        hashlib.blake2b(values[band * width : (band + 1) * width], digest_size=8).digest() for band in range(BANDS)
    )
    return Sketch(exact_hash(text), bands)


def exact_hash(text: str) -> bytes:
    """16 bytes that two texts share if they differ in nothing but case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


def find_duplicates(sketches: Sequence[Sketch], text_of: Callable[[int], str], *, threshold: float = 0.8) -> Clusters:
    """Group texts into clusters of duplicates; the first text of each cluster counts as its original.

    Args:
        sketches: one per text, in order.
        text_of: gives a text by its index; asked only for candidates.
        threshold: the least Jaccard similarity of near duplicates.
    """
    first_with: dict[bytes, int] = {}
    first = [first_with.setdefault(each.exact, index) for index, each in enumerate(sketches)]
    distinct = sorted(first_with.values())
    groups = _Groups(len(sketches))
    for index, earlier in enumerate(first):
        groups.join(earlier, index)
    _join_near(sketches, distinct, groups, text_of, threshold)
    roots = [groups.root(index) for index in range(len(sketches))]
    ids: dict[int, str] = {}
    for root, each in zip(roots, sketches, strict=True):
        ids[root] = min(ids.get(root, "z"), each.exact.hex()[:16])
    return Clusters(
        ids=[ids[root] for root in roots],
        original=[None if root == index else root for index, root in enumerate(roots)],
        exact=[earlier != index for index, earlier in enumerate(first)],
    )


def _join_near(
    sketches: Sequence[Sketch],
    distinct: Sequence[int],
    groups: _Groups,
    text_of: Callable[[int], str],
    threshold: float,
) -> None:
    if len(distinct) < 2:
        return

    @lru_cache(maxsize=64)
    def hashes(index: int) -> np.ndarray:
        return _shingle_hashes(text_of(index))

    indices = np.asarray(distinct)
    bands = np.frombuffer(b"".join(sketches[i].bands for i in distinct), dtype="<u8").reshape(len(distinct), BANDS)
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band]
        ends = np.flatnonzero(np.diff(keys, append=keys[-1:] + np.uint64(1)))
        start = 0
        for end in (ends + 1).tolist():
            if end - start > 1:
                _join_bucket(indices[order[start:end]].tolist(), groups, hashes, threshold)
            start = end


def _join_bucket(bucket: Sequence[int], groups: _Groups, hashes: Callable[[int], np.ndarray], threshold: float) -> None:
    """Compare each text of a band's bucket with the distinct ones before it, until one is near enough."""
    distinct: list[int] = []
    for index in bucket:
        root = groups.root(index)
        if any(groups.root(other) == root for other in distinct):
            continue
        near = next((o for o in distinct if _similarity(hashes(o), hashes(index)) >= threshold), None)
        if near is not None:
            groups.join(near, index)
        elif len(distinct) < _MOST_COMPARISONS:
            distinct.append(index)


def _shingle_hashes(text: str) -> np.ndarray:
    grams = list(shingles(text[:_COMPARED_CHARS], SHINGLE_TOKENS))
    return np.unique(np.asarray(RMinHash.hash_token_sets([grams])[0], dtype=np.uint64))


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sets of 64-bit hashes, each sorted and without repeats."""
    if min(len(a), len(b)) < 0.5 * max(len(a), len(b)):
        return min(len(a), len(b)) / max(1, len(a), len(b))  # an upper bound, and too low already
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


class _Groups:
    """Union-find in which the root of a group is its smallest index."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        self._parent[max(a, b)] = min(a, b)

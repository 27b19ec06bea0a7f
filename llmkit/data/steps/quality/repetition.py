"""How much of a text is repetition: duplicate lines, paragraphs and n-grams (Rae et al. 2021, table A1).

https://arxiv.org/abs/2112.11446. The definitions are those of datatrove (`find_duplicates`, `find_top_duplicate`,
`find_all_duplicate` in https://github.com/huggingface/datatrove, gopher_repetition_filter.py), given the same words.

All sizes of n-grams are found in one pass that grows them word by word: an n-gram occurs twice only where the
(n-1)-gram it begins with does, so each size looks only at the places that the size before it left. No hashes: numbers
stand for n-grams one to one, and the result is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmkit.data.steps.quality.words import Words

TOP_SIZES = (2, 3, 4)
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
_BITS = 32
"""Two numbers below 2**32 make a key of 64 bits; a document has fewer tokens than that."""

Ints = NDArray[np.int64]
_ZERO: Ints = np.zeros(1, np.int64)


class Repeated(NamedTuple):
    """Where n-grams of one size occur that occur more than once.

    Attributes:
        places: first token of each occurrence.
        names: which n-gram it is: equal numbers are equal n-grams.
        most: how often the commonest occurs; 1 where all are different, 0 where there is none.
        first: where the commonest begins first; of several, the one that begins earliest.
    """

    places: Ints
    names: Ints
    most: int
    first: int


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts repeat an earlier one, and how many characters these have."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    number = characters = 0
    for part in parts:
        if part in seen:
            number += 1
            characters += len(part)
        else:
            seen.add(part)
    return number, characters


def ngram_characters(words: Words) -> dict[int, int]:
    """Characters in repeated n-grams by size in words, 2 to 10.

    For 2 to 4: the commonest n-gram's occurrences, spaces included, overlaps counted twice; 0 where none occurs twice
    (datatrove takes the first n-gram then, which drops short texts for nothing). For 5 to 10: every occurrence but the
    first of each n-gram, without overlaps, spaces not counted.
    """
    found = dict.fromkeys((*TOP_SIZES, *DUPLICATE_SIZES), 0)
    if len(words.tokens) < 2 * words.stride:
        return found
    lengths = np.fromiter(map(len, words.tokens), np.int64, len(words.tokens))
    ends = np.concatenate((_ZERO, lengths.cumsum()))
    spaces = 1 if words.stride == 1 else 0
    for size, repeated in _growing(_numbered(words), words.stride):
        width = size * words.stride
        if size in TOP_SIZES:
            if repeated.most > 1:
                one = int(ends[repeated.first + width] - ends[repeated.first]) + spaces * (size - 1)
                found[size] = one * repeated.most
        else:
            found[size] = _without_overlaps(repeated, width, ends)
    return found


def _numbered(words: Words) -> Ints:
    """A number for each place's word: of one token, or of the 2 or 4 tokens that begin there."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    ids = np.fromiter(map(numbers.__getitem__, words.tokens), np.int64, len(words.tokens))
    width = 1
    while width < words.stride:
        keys = (ids[:-width] << _BITS) | ids[width:]
        ids = np.unique(keys, return_inverse=True)[1].astype(np.int64)
        width *= 2
    return ids


def _growing(ids: Ints, stride: int) -> Iterator[tuple[int, Repeated]]:
    """The repeated n-grams of 2, 3, ... 10 words, until there are none."""
    places, names = np.arange(len(ids), dtype=np.int64), ids
    for size in range(2, DUPLICATE_SIZES[-1] + 1):
        last = (size - 1) * stride
        if len(places) and places[-1] + last >= len(ids):
            inside = places + last < len(ids)
            places, names = places[inside], names[inside]
        if not len(places):
            return
        repeated = _repeated(places, (names << _BITS) | ids[places + last])
        yield size, repeated
        places, names = repeated.places, repeated.names


def _repeated(places: Ints, keys: Ints) -> Repeated:
    """`places` rising; so are those of the result."""
    order = keys.argsort()
    ordered = keys[order]
    begins = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    bounds = np.concatenate((_ZERO, begins, [len(keys)]))
    counts = bounds[1:] - bounds[:-1]
    most = int(counts.max())
    if most == 1:
        empty = np.empty(0, np.int64)
        return Repeated(empty, empty, 1, int(places[0]))
    groups = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    first = int(places[order[counts[groups] == most]].min())
    names = np.empty(len(keys), np.int64)
    names[order] = groups
    kept = counts[names] > 1
    return Repeated(places[kept], names[kept], most, first)


def _without_overlaps(repeated: Repeated, width: int, ends: Ints) -> int:
    """Characters of n-grams that occurred before, read from left to right: after one, reading goes on behind it."""
    seen: set[int] = set()
    characters = free = 0
    sizes = (ends[repeated.places + width] - ends[repeated.places]).tolist()
    for place, name, size in zip(repeated.places.tolist(), repeated.names.tolist(), sizes, strict=True):
        if place < free:
            continue
        if name in seen:
            characters += size
            free = place + width
        else:
            seen.add(name)
    return characters

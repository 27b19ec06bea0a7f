"""A compact table of an evaluation's n-grams, in which the n-grams of a document are looked up.

After Brown et al. 2020, "Language Models are Few-Shot Learners", https://arxiv.org/abs/2005.14165, appendix C: a
document is contaminated by an item of an evaluation set if they share one 13-gram; for shorter items the grams are
shorter, but never under 8 words, because such are shared by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmkit.data.steps.decontamination.grams import Weights, gram_hashes, most_tokens, weighed_tokens, words_in
from llmkit.text.ngrams import Hashes

FEWEST_WORDS = 8
"""An item with fewer words is not looked for. Brown et al. 2020, appendix C."""

COMMON_ITEMS = 30
COMMON_SHARE = 0.1
"""A gram that more than `COMMON_ITEMS` items and more than this share of a set's items have is an instruction or a
template, and says nothing about contamination. Up to 25 questions of SQuAD share a passage: those grams do count."""

_PIECE = 1 << 20
"""Characters of a document looked up at a time: this bounds the memory that one document can cost."""
_CUT_SEARCH = 4096


@dataclass(frozen=True)
class EvalSet:
    """One evaluation set as it is looked for.

    Attributes:
        name: what reports call it.
        ids: of all its items, in order.
        too_short: how many items have fewer than `FEWEST_WORDS` words, and cannot be looked for.
        common: how many of its distinct grams are ignored, because so many items have them.
    """

    name: str
    ids: tuple[str, ...]
    too_short: int
    common: int


@dataclass(frozen=True, eq=False)
class EvalGrams:
    """The n-grams of evaluation sets: 12 bytes for each gram of each item. Picklable.

    Attributes:
        n: words of a gram.
        sets: the evaluation sets.
        lengths: which lengths of grams occur, in words: `n`, and those of shorter items.
        hashes: of the grams, ascending; a gram of several items is repeated.
        owners: for each hash, its item, counted through all sets.
        beginnings: of the grams, each by the hash of its first few words, ascending: nearly every document is done
            with after it was found to have none of them, and one pass is enough for that.
    """

    n: int
    sets: tuple[EvalSet, ...]
    lengths: tuple[int, ...]
    hashes: Hashes
    owners: NDArray[np.uint32]
    beginnings: Hashes

    @classmethod
    def build(cls, sets: Mapping[str, Iterable[tuple[str, str]]], n: int = 13) -> EvalGrams:
        """The table of the given sets: for each name, the ids and texts of its items.

        An item of fewer than `n` words is looked for by grams of its own length, so as a whole, down to
        `FEWEST_WORDS` (or `n`, if that is less).
        """
        built: list[EvalSet] = []
        lengths: set[int] = set()
        hashes: list[Hashes] = []
        owners: list[NDArray[np.uint32]] = []
        beginnings: list[Hashes] = [np.empty(0, np.uint64)]
        before = 0
        for name, items in sets.items():
            found, of_set = _set_grams(name, items, n, lengths, beginnings)
            hashes.append(of_set[0])
            owners.append(of_set[1] + np.uint32(before))
            built.append(found)
            before += len(found.ids)
        all_hashes = np.concatenate([np.empty(0, np.uint64), *hashes])
        order = np.argsort(all_hashes, kind="stable")
        all_owners = np.concatenate([np.empty(0, np.uint32), *owners])[order]
        begun = np.unique(np.concatenate(beginnings))
        return cls(n, tuple(built), tuple(sorted(lengths)), all_hashes[order], all_owners, begun)

    def __reduce__(self) -> tuple[object, ...]:
        # Without the tables of first bits, which are made again in each process faster than it is sent.
        return (EvalGrams, (self.n, self.sets, self.lengths, self.hashes, self.owners, self.beginnings))

    def found_in(self, text: str) -> dict[str, list[str]]:
        """Which items a document contains: for each set that has any, their ids in the order of the set."""
        owners = [self._owners(grams) for grams in self._grams_of(text)]
        found = np.unique(np.concatenate(owners)) if owners else np.empty(0, np.uint32)
        result: dict[str, list[str]] = {}
        before = 0
        for each in self.sets:
            after = before + len(each.ids)
            first, last = np.searchsorted(found, (before, after))
            if last > first:
                result[each.name] = [each.ids[index - before] for index in found[first:last].tolist()]
            before = after
        return result

    def _grams_of(self, text: str) -> Iterator[Hashes]:
        if not self.lengths:
            return
        overlap = most_tokens(self.lengths[-1]) - 1
        hashes, weights = np.empty(0, np.uint64), np.empty(0, np.int64)
        for piece in _pieces(text):
            more_hashes, more_weights = weighed_tokens(piece)
            hashes = np.concatenate([hashes[-overlap:], more_hashes])
            weights = np.concatenate([weights[-overlap:], more_weights])
            if not self._may_begin(gram_hashes(hashes, weights, min(self.n, FEWEST_WORDS))):
                continue
            for length in self.lengths:
                yield gram_hashes(hashes, weights, length)

    def _may_begin(self, grams: Hashes) -> bool:
        """Whether one of the grams is the beginning of one that is looked for."""
        present, shift = self._begun
        candidates = grams[present[grams >> shift]]
        at = np.searchsorted(self.beginnings, candidates)
        return bool((self.beginnings[np.minimum(at, len(self.beginnings) - 1)] == candidates).any())

    def _owners(self, grams: Hashes) -> NDArray[np.uint32]:
        """The items that have one of the grams, ascending."""
        present, shift = self._present
        candidates = np.unique(grams[present[grams >> shift]])
        if not len(candidates):
            return np.empty(0, np.uint32)
        first = np.searchsorted(self.hashes, candidates, side="left")
        last = np.searchsorted(self.hashes, candidates, side="right")
        times = last - first
        # All ranges first[k]..last[k] at once: a count through all of them, shifted to where each one begins.
        positions = np.arange(times.sum()) + np.repeat(first - np.cumsum(times) + times, times)
        return np.unique(self.owners[positions])

    @cached_property
    def _present(self) -> tuple[NDArray[np.bool_], np.uint64]:
        return _first_bits(self.hashes)

    @cached_property
    def _begun(self) -> tuple[NDArray[np.bool_], np.uint64]:
        return _first_bits(self.beginnings)


def _first_bits(hashes: Hashes) -> tuple[NDArray[np.bool_], np.uint64]:
    """Whether any hash begins with certain bits, and by how many bits to shift: most grams need no search then."""
    bits = min(26, max(10, (16 * len(hashes)).bit_length()))
    shift = np.uint64(64 - bits)
    present = np.zeros(1 << bits, np.bool_)
    present[hashes >> shift] = True
    return present, shift


def _set_grams(
    name: str, items: Iterable[tuple[str, str]], n: int, lengths: set[int], beginnings: list[Hashes]
) -> tuple[EvalSet, tuple[Hashes, NDArray[np.uint32]]]:
    """One set, with the hashes of its grams and the item of each; adds to `lengths` and `beginnings`."""
    ids: list[str] = []
    hashes = [np.empty(0, np.uint64)]
    owners = [np.empty(0, np.uint32)]
    too_short = 0
    for index, (item, text) in enumerate(items):
        ids.append(item)
        tokens, weights = weighed_tokens(text)
        length = _gram_length(weights, n)
        if length is None:
            too_short += 1
            continue
        lengths.add(length)
        grams = gram_hashes(tokens, weights, length)
        beginnings.append(gram_hashes(tokens, weights, min(n, FEWEST_WORDS))[: len(grams)])
        grams = np.unique(grams)
        hashes.append(grams)
        owners.append(np.full(len(grams), index, np.uint32))
    together = np.concatenate(hashes)
    distinct, position, times = np.unique(together, return_inverse=True, return_counts=True)
    common = times > max(COMMON_ITEMS, COMMON_SHARE * len(ids))
    kept = ~common[position] if len(distinct) else np.empty(0, np.bool_)
    found = EvalSet(name, tuple(ids), too_short, int(common.sum()))
    return found, (together[kept], np.concatenate(owners)[kept])


def _gram_length(weights: Weights, n: int) -> int | None:
    """By grams of how many words an item is looked for; None where it is too short."""
    words = words_in(weights)
    return None if words < min(n, FEWEST_WORDS) else min(n, words)


def _pieces(text: str) -> Iterator[str]:
    """Parts of about `_PIECE` characters, cut behind white space if there is any near."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            near = end - _CUT_SEARCH
            end = max(text.rfind(" ", near, end), text.rfind("\n", near, end)) + 1 or end
        yield text[start:end]
        start = end

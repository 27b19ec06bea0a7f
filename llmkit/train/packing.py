"""Several short examples in one row of a fixed length, each seeing nothing but itself."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from llmkit.errors import DataError
from llmkit.train.examples import Rendered
from llmkit.train.isolation import Isolation
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample, permutation

USUAL_LENGTH = 1024
"""Tokens of a row where nothing else is said: TRL's default (SFTConfig.max_length)."""


class Packed:
    """Causal examples for the loop, packed: a sample is a row, and an epoch reads every example once.

    All rows have one length, so a compiled model has one shape to compile, and they are filled once, so an epoch is a
    pass over the rows in a new order. What is learned of an example is what would be learned of it alone: its labels
    end with it, its positions begin at 0, and no other example reaches it by the means that were tried on the model.

    Args:
        length: of a row, in tokens; no example may be longer.
        isolation: as `isolation_for` found it for the model.
        filler: id at padded positions; any that exists.

    Raises:
        DataError: no examples, or one that is longer than a row.
    """

    def __init__(
        self, examples: Sequence[Rendered], *, length: int, isolation: Isolation, seed: int, filler: int = 0
    ) -> None:
        self._examples, self.length, self._isolation = examples, length, isolation
        self._seed, self._filler = seed, filler
        # What is read of an example is all but its last token.
        self.rows = packed([len(example) - 1 for example in examples], length, seed=seed)
        self._order = lru_cache(maxsize=2)(self._make_order)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def filled(self) -> float:
        """Share of the positions that hold tokens of examples."""
        return sum(len(example) - 1 for example in self._examples) / (len(self.rows) * self.length)

    def order(self, epoch: int) -> IntArray:
        """The rows of that epoch."""
        return self._order(epoch)

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        ids = np.full((rows, self.length), self._filler, dtype=np.int64)
        labels = np.full((rows, self.length), IGNORE, dtype=np.int64)
        document = np.zeros((rows, self.length), dtype=np.int64)
        for row, sample in enumerate(samples):
            at = 0
            for place, number in enumerate(self.rows[sample.number]):
                example = self._examples[number]
                end = at + len(example) - 1
                ids[row, at:end] = example.ids[:-1]
                labels[row, at:end] = np.where(example.trained[1:], example.ids[1:], IGNORE)
                document[row, at:end] = place
                at = end
            document[row, at:] = len(self.rows[sample.number])  # padding is seen by nobody
        handed = [self._isolation.handed(numbers) for numbers in document]
        inputs = {name: torch.from_numpy(np.stack([each[name] for each in handed])) for name in handed[0]}
        return Batch({"input_ids": torch.from_numpy(ids), **inputs}, torch.from_numpy(labels))

    def _make_order(self, epoch: int) -> IntArray:
        return permutation(len(self.rows), self._seed, "order", epoch)


def row_length(wanted: int, limit: int, longest: int) -> int:
    """Tokens of a packed row: what is wanted, else the usual number, if examples and model allow for it.

    Args:
        limit: of what the model reads.
        longest: of the examples.
    """
    return wanted or min(limit, max(USUAL_LENGTH, longest))


def packed(lengths: Sequence[int], capacity: int, *, seed: int) -> list[list[int]]:
    """Items of these lengths in as few bins as best-fit decreasing finds: at most 11/9 of the least number, plus 4.

    Best fit has the bound of first fit (Johnson 1974, https://doi.org/10.1137/0203025) and finds its bin by bisection,
    so that a million items take seconds. Among items of one length the seed decides.

    Returns:
        The numbers of the items in each bin.

    Raises:
        DataError: no items, or one that is longer than a bin.
    """
    if not len(lengths):
        raise DataError("there are no examples to train on", mend="check the data and its splits")
    if max(lengths) > capacity:
        raise DataError(
            f"an example of {max(lengths)} tokens is longer than a packed row of {capacity}",
            mend="raise --sequence-length, or leave --packing out",
        )
    shuffled = permutation(len(lengths), seed, "packing")
    sizes = np.asarray(lengths, dtype=np.int64)[shuffled]
    bins: list[list[int]] = []
    room: dict[int, list[int]] = {}
    spaces: list[int] = []  # the keys of `room`, sorted
    for item in shuffled[np.argsort(-sizes, kind="stable")].tolist():
        size = int(lengths[item])
        at = bisect_left(spaces, size)
        if at == len(spaces):
            space, number = capacity, len(bins)
            bins.append([])
        else:
            space = spaces[at]
            number = room[space].pop()
            if not room[space]:
                del room[space], spaces[at]
        bins[number].append(item)
        left = space - size
        if left not in room:
            room[left] = []
            insort(spaces, left)
        room[left].append(number)
    return bins

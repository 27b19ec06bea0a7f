"""Examples of different lengths as batches of few fixed shapes: sorted into similar lengths, padded to a bucket."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from llmkit.errors import DataError
from llmkit.train.examples import Rendered
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample, permutation

_GROUP = 32
"""Steps whose samples are sorted by length together: enough for little padding, few enough to stay shuffled."""
SMALLEST = 32
"""The least width that rows are padded to."""


class ByLength:
    """Numbered samples of known lengths: steps of similar lengths, and the few widths that their rows are padded to.

    Args:
        lengths: of each sample, in tokens.
        batch_size: samples of an optimizer step; lengths are grouped so that a step's samples are similar.
        shuffle: False goes from the longest to the shortest, for validation.
        smallest: the least width.

    Raises:
        DataError: no samples.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, seed: int, shuffle: bool = True, smallest: int = SMALLEST
    ) -> None:
        if not len(lengths):
            raise DataError("there are no examples to train on", mend="check the data and its splits")
        self._lengths = np.array(lengths, dtype=np.int64)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._buckets = buckets(int(self._lengths.max()), smallest)
        self._order = lru_cache(maxsize=2)(self._make_order)

    def __len__(self) -> int:
        return len(self._lengths)

    def order(self, epoch: int) -> IntArray:
        """The samples of that epoch, the longest batch first in the first one."""
        return self._order(epoch)

    def length(self, number: int) -> int:
        """Tokens of a sample."""
        return int(self._lengths[number])

    def width(self, samples: Sequence[Sample]) -> int:
        """Tokens to which the rows of these samples are padded."""
        longest = max((int(self._lengths[sample.number]) for sample in samples), default=1)
        return self._buckets[bisect_left(self._buckets, longest)]

    def _make_order(self, epoch: int) -> IntArray:
        count = len(self._lengths)
        if not self._shuffle:
            return np.argsort(-self._lengths, kind="stable").astype(np.int64)
        shuffled = permutation(count, self._seed, "order", epoch)
        steps: list[IntArray] = []
        for start in range(0, count, _GROUP * self._batch_size):
            group = shuffled[start : start + _GROUP * self._batch_size]
            group = group[np.argsort(-self._lengths[group], kind="stable")]
            steps += [group[at : at + self._batch_size] for at in range(0, len(group), self._batch_size)]
        # A short step stays last: anywhere else it would shift the groups against the steps.
        whole = [step for step in steps if len(step) == self._batch_size]
        rest = [step for step in steps if len(step) < self._batch_size]
        turns = permutation(len(whole), self._seed, "steps", epoch).tolist()
        if epoch == 0 and whole:  # the longest batch first: what does not fit into memory fails at once
            longest = max(range(len(whole)), key=lambda turn: int(self._lengths[whole[turn]].max()))
            turns.remove(longest)
            turns.insert(0, longest)
        return np.concatenate([*(whole[turn] for turn in turns), *rest])


class Padded(ByLength):
    """Causal examples for the loop, padded on the right.

    Each row is one example, so no example can see another; and as attention is causal, what is right of it cannot
    reach it either. No attention mask is needed, which keeps the fast kernels in use, and padding is known by its
    position only: the pad token's id plays no part, and may be that of eos.

    Args:
        filler: id at padded positions; any that exists.

    Raises:
        DataError: no examples.
    """

    def __init__(
        self, examples: Sequence[Rendered], *, batch_size: int, seed: int, filler: int = 0, shuffle: bool = True
    ) -> None:
        # What is read of an example is all but its last token.
        lengths = [len(example) - 1 for example in examples]
        super().__init__(lengths, batch_size=batch_size, seed=seed, shuffle=shuffle)
        self._examples, self._filler = examples, filler

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        width = self.width(samples)
        ids = np.full((rows, width), self._filler, dtype=np.int64)
        labels = np.full((rows, width), IGNORE, dtype=np.int64)
        for row, sample in enumerate(samples):
            example = self._examples[sample.number]
            ids[row, : len(example) - 1] = example.ids[:-1]
            labels[row, : len(example) - 1] = np.where(example.trained[1:], example.ids[1:], IGNORE)
        return Batch({"input_ids": torch.from_numpy(ids)}, torch.from_numpy(labels))


def buckets(longest: int, smallest: int = SMALLEST) -> list[int]:
    """Lengths to pad to: four to each doubling, from `smallest`, so that less than a quarter of a row is padding."""
    lengths = [smallest]
    while lengths[-1] < longest:
        doubling = 1 << (lengths[-1].bit_length() - 1)
        lengths.append(lengths[-1] + doubling // 4)
    return [*lengths[:-1], longest] if lengths[-1] > longest > smallest else lengths

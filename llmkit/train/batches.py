"""Pretraining data: windows over one long run of tokens, which may be a memory map larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.train.objectives import Objective, Row
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample, permutation, random_source


class Windows:
    """Fixed-length windows over the tokens of a split: `Samples` for pretraining and for its validation.

    Shuffled, each epoch reads the windows in a new order and from a new offset, so that repeated data is not cut at the
    same places again. In order, the windows cover the tokens once, with a padded last one: what validation wants.

    Args:
        tokens: one-dimensional, of any integer type; documents follow each other, separated as the tokenizer does it.
        objective: what a row is made of.
        seed: of order, offsets and masks.
        shuffle: False reads in order, always the same.

    Raises:
        DataError: fewer tokens than one window needs.
    """

    def __init__(self, tokens: NDArray[np.integer], objective: Objective, *, seed: int, shuffle: bool = True) -> None:
        self._tokens = tokens
        self._objective = objective
        self._seed = seed
        self._shuffle = shuffle
        needed = objective.reads if shuffle else objective.least
        if len(tokens) < needed:
            raise DataError(
                f"{len(tokens):,} tokens are too few: one sample needs {needed:,}",
                mend="use more text, or a shorter sequence length",
            )
        whole = (len(tokens) - objective.reads) // objective.advance + 1
        if shuffle:
            # One window less leaves room for the offset; data of a single window has none.
            self._count = max(1, whole - 1)
            slack = len(tokens) - objective.reads - (self._count - 1) * objective.advance
            self._offsets = min(slack + 1, objective.advance)
        else:
            overlap = objective.reads - objective.advance
            rest = (len(tokens) - overlap) % objective.advance
            self._count = (len(tokens) - overlap) // objective.advance + (0 < objective.least - overlap <= rest)
            self._offsets = 1
        self._order = lru_cache(maxsize=2)(self._make_order)
        self._offset = lru_cache(maxsize=2)(self._draw_offset)

    def __len__(self) -> int:
        return self._count

    def order(self, epoch: int) -> IntArray:
        return self._order(epoch)

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        made = [self._row(sample) for sample in samples]
        blank = made[0] if made else self._row(Sample(0, 0))
        made += [Row(blank.inputs, np.full_like(blank.labels, IGNORE))] * (rows - len(made))
        inputs = {name: torch.from_numpy(np.stack([row.inputs[name] for row in made])) for name in blank.inputs}
        return Batch(inputs, torch.from_numpy(np.stack([row.labels for row in made])))

    def _make_order(self, epoch: int) -> IntArray:
        if not self._shuffle:
            return np.arange(self._count, dtype=np.int64)
        return permutation(self._count, self._seed, "order", epoch)

    def _draw_offset(self, epoch: int) -> int:
        return int(random_source(self._seed, "offset", epoch).random() * self._offsets)

    def _row(self, sample: Sample) -> Row:
        epoch = sample.epoch if self._shuffle else 0
        start = self._offset(epoch) + sample.number * self._objective.advance
        tokens = np.asarray(self._tokens[start : start + self._objective.reads], dtype=np.int64)
        return self._objective.row(tokens, random_source(self._seed, "row", epoch, sample.number))

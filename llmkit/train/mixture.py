"""Several sources of samples as one, in fixed proportions.

As everywhere here, which sample comes when is a pure function: nothing counts what each source has given, so a run
resumes in the middle of a mixture at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from llmkit.errors import ConfigError
from llmkit.train.samples import Batch, IntArray, Sample, Samples, permutation


@dataclass(frozen=True)
class Share:
    """What one source gives to each epoch of a mixture."""

    weight: float
    """Of the mixture's samples, in (0, 1]; all add up to 1."""
    samples: int
    """In an epoch of the mixture."""
    epochs: float
    """Passes over the source in an epoch of the mixture; below 1, each epoch reads another part of it."""


class Mixture:
    """`Samples` drawn from several sources by weight.

    An epoch of the mixture has as many samples as all sources together. Each source gives its share of them, from where
    the epoch before stopped: a source of much weight is read several times, one of little weight in part.

    Args:
        sources: whose rows must have the same keys and lengths.
        weights: one for each, positive, of any sum; None: by size, so that an epoch reads each source once.
        seed: of the order in which the sources' samples are mixed.

    Raises:
        ConfigError: not one positive weight for each source.
    """

    def __init__(self, sources: Sequence[Samples], weights: Sequence[float] | None = None, *, seed: int) -> None:
        if weights is not None and (len(weights) != len(sources) or min(weights) <= 0):
            raise ConfigError(
                f"{len(weights)} weights for {len(sources)} datasets", mend="give one positive weight for each dataset"
            )
        self._sources = list(sources)
        self._seed = seed
        lengths = [len(source) for source in sources]
        wanted = np.asarray(weights if weights is not None else lengths, dtype=np.float64)
        self._weights = wanted / wanted.sum()
        self._counts = _apportioned(self._weights, sum(lengths))
        self._slots = lru_cache(maxsize=2)(self._make_slots)

    @property
    def shares(self) -> list[Share]:
        """What each source gives, in their order."""
        return [
            Share(float(weight), int(count), int(count) / len(source))
            for weight, count, source in zip(self._weights, self._counts, self._sources, strict=True)
        ]

    def __len__(self) -> int:
        return int(self._counts.sum())

    def order(self, epoch: int) -> IntArray:
        return self._slots(epoch)

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        """Rows of one batch may come from any of the sources; in the order of the samples."""
        import torch

        if not samples:
            return self._sources[0].batch([], rows)
        parts = [self._sources[source].batch([sample], 1) for source, sample in map(self._source, samples)]
        blank = self._sources[0].batch([], 1)
        parts += [blank] * (rows - len(parts))
        inputs = {name: torch.cat([part.inputs[name] for part in parts]) for name in blank.inputs}
        return Batch(inputs, torch.cat([part.labels for part in parts]))

    def _make_slots(self, epoch: int) -> IntArray:
        return permutation(len(self), self._seed, "mixture", epoch)

    def _source(self, sample: Sample) -> tuple[int, Sample]:
        """Which source a sample of the mixture is of, and which of its samples."""
        ends = np.cumsum(self._counts)
        source = int(np.searchsorted(ends, sample.number, side="right"))
        within = sample.number - int(ends[source] - self._counts[source])
        epoch, at = divmod(sample.epoch * int(self._counts[source]) + within, len(self._sources[source]))
        return source, Sample(epoch, int(self._sources[source].order(epoch)[at]))


def _apportioned(weights: np.ndarray, total: int) -> IntArray:
    """`total` split by weight into whole numbers of at least 1, by largest remainders."""
    exact = weights * total
    counts: IntArray = np.maximum(1, np.floor(exact)).astype(np.int64)
    short = total - int(counts.sum())
    for source in np.argsort(-(exact - np.floor(exact)), kind="stable")[: max(0, short)]:
        counts[source] += 1
    return counts

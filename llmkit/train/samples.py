"""What the loop reads: numbered samples, collated on demand, in an order that is a pure function of seed and epoch.

Nothing here remembers how far it has come. The samples of a step follow from the step's number alone, so a run that
resumes starts reading where it stopped at no cost, and any number of processes agree on the one global order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

IGNORE = -100
"""Label of a position that is not trained; the value torch's cross-entropy ignores by default."""


class Sample(NamedTuple):
    """One sample of one epoch; what is random about it (its mask, say) depends on both numbers."""

    epoch: int
    number: int


@dataclass(frozen=True)
class Batch:
    """Rows of equal length, ready for a model.

    Attributes:
        inputs: the model's keyword arguments, integer tensors of shape (rows, length).
        labels: shape (rows, length of the output): the id that each position must predict, or IGNORE. Already shifted:
            `labels[i, j]` belongs to the model's output at `[i, j]`. A loss of its own may want another shape.
        read: positions that are read, where the labels' shape does not say; 0 where it does.
    """

    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor
    read: int = 0

    @property
    def positions(self) -> int:
        """Positions that cost computing: what speed is measured in."""
        return self.read or self.labels.numel()

    @cached_property
    def places(self) -> torch.Tensor | None:
        """Where labels are not IGNORE, as indices into the flattened labels; None where that is everywhere."""
        trained = self.labels.flatten() != IGNORE
        return None if bool(trained.all()) else trained.nonzero().flatten()

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        pinned = device.type == "cuda"  # else the copy would wait for what the GPU is still doing
        moved = {name: _sent(tensor, device, pinned) for name, tensor in self.inputs.items()}
        batch = Batch(moved, _sent(self.labels, device, pinned), self.read)
        # Found here, where it costs nothing: on the device it would have to be waited for.
        batch.__dict__["places"] = None if self.places is None else _sent(self.places, device, pinned)
        return batch


def _sent(tensor: torch.Tensor, device: torch.device, pinned: bool) -> torch.Tensor:
    return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=True)


class Samples(Protocol):
    """A finite, numbered set of samples."""

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def order(self, epoch: int) -> IntArray:
        """The indices 0..len-1 in the order of that epoch."""
        ...

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        """These samples as one batch of `rows` rows; rows beyond the samples have only IGNORE labels."""
        ...


def random_source(*key: int | str) -> np.random.Generator:
    """A generator that depends on the key only: on no global state, process or earlier draw.

    Use its `random` (built directly on Philox's raw output, whose stream NumPy guarantees) where a result must stay the
    same across NumPy versions.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def permutation(count: int, *key: int | str) -> IntArray:
    """A permutation of 0..count-1 that depends on the key only."""
    return np.argsort(random_source(*key).random(count), kind="stable").astype(np.int64)


def samples_of_step(source: Samples, step: int, batch_size: int, limit: int | None = None) -> list[Sample]:
    """The samples of the optimizer step number `step` (from 0), over all processes.

    Epochs follow each other without a gap: a step may take the end of one and the beginning of the next. `limit` is
    the number of samples after which the data ends; the last step may then be short.
    """
    per_epoch = len(source)
    first = step * batch_size
    last = first + batch_size if limit is None else min(first + batch_size, limit)
    chosen: list[Sample] = []
    while first < last:
        epoch, at = divmod(first, per_epoch)
        taken = source.order(epoch)[at : at + last - first]
        chosen += [Sample(epoch, int(number)) for number in taken]
        first += len(taken)
    return chosen


def shares(chosen: Sequence[Sample], micro_batch: int, rank: int, world: int) -> list[Sequence[Sample]]:
    """One process's micro-batches of a step; all processes get equally many, the last ones perhaps empty."""
    rounds = -(-len(chosen) // (micro_batch * world))
    starts = ((turn * world + rank) * micro_batch for turn in range(rounds))
    return [chosen[start : start + micro_batch] for start in starts]

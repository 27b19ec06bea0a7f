"""A run that is interrupted must end as the uninterrupted one: the same losses and weights, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from llmkit.train.records import StepRecord


def losses_of(records: Iterator[StepRecord], until: int | None = None) -> dict[int, float]:
    """The loss of each step, up to a step at which the run is left."""
    found = {}
    for record in records:
        if record.loss is not None:
            found[record.step] = record.loss
        if record.step == until:
            break
    return found


def check_resumes(
    make: Callable[[], nn.Module],
    records: Callable[[nn.Module, Path | None], Iterator[StepRecord]],
    directory: Path,
    until: int = 3,
) -> None:
    """Run once without a stop, and once stopped after a step and resumed from its checkpoint; compare.

    Args:
        make: a model with the same weights every time.
        records: the run of a model with checkpoints in a directory.
    """
    whole, first, second = (make() for _ in range(3))
    expected = losses_of(records(whole, None))
    losses = losses_of(records(first, directory), until)
    torch.rand(7)  # what a caller draws in between must not matter
    losses |= losses_of(records(second, directory))
    assert losses == expected
    for name, weight in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name

"""Which weights of a training run are published: those of the lowest held-out loss, or the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.sections import TrainOptions
from llmkit.errors import StorageError
from llmkit.stages.jobs import Job
from llmkit.stages.training import Summary

if TYPE_CHECKING:
    from llmkit.models.load import LoadedModel

CHECKPOINTS = "checkpoints"
LAST = "last"
"""Folder in an artifact with the last weights, where others are published."""


def settle(
    cfg: TrainOptions, summary: Summary, model: Any, work: Path, keep_last: Callable[[Path], None] | None
) -> int:
    """Put the weights to publish into the model, and say of which step they are.

    Args:
        work: holds the checkpoints of the run.
        keep_last: saves the model as it is into a folder, before other weights replace it; None in a process that
            takes no part in it.

    Raises:
        StorageError: the checkpoint with the best weights is gone or damaged.
    """
    from llmkit.train import checkpoint

    best = summary.best
    # Before the first step there is no checkpoint: a model that only got worse is published as it is, and told of.
    if cfg.publish == "last" or not best or best == summary.steps:
        return summary.steps
    found = checkpoint.of_step(work / CHECKPOINTS, best)
    if found is None:
        raise StorageError(
            f"the checkpoint of step {best}, which has the lowest held-out loss, is gone or damaged",
            where=str(work / CHECKPOINTS),
            mend="run the same command with --publish last, or with --restart",
        )
    if keep_last is not None:
        keep_last(work / LAST)
    found.restore_weights(model)
    return best


def saver(job: Job[Any], loaded: LoadedModel) -> Callable[[Path], None]:
    """What saves a model into a folder. Every process must call it: a model in shards is gathered from all of them."""
    from llmkit.train.parallel import whole_state

    def save(folder: Path) -> None:
        state = whole_state(loaded.model)
        if job.is_main:
            loaded.save(folder, state)

    return save


def add_last(work: Path, out: Path) -> None:
    """Move the last weights, where others are published, into the artifact."""
    if (work / LAST).exists():
        (work / LAST).rename(out / LAST)

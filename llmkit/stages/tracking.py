"""`--track`: which trackers follow a training run, and under which name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.base import Config, leaves, option
from llmkit.reporting.reporter import Reporter
from llmkit.train.trackers import Run, Tracker, Trackers, place, require

if TYPE_CHECKING:
    from llmkit.stages.base import Context
    from llmkit.stages.jobs import Job

FOLDER = "runs"
"""Below the registry's home: what trackers write. It belongs to no artifact, and nothing here reads it."""

_FILE = "tracking.json"


class TrackOptions(Config):
    """Who else is told how a run goes."""

    panel = "Training"

    track: tuple[Tracker, ...] = option(
        (), "Also log to tensorboard, wandb or mlflow (several: a,b).", commas=True, keyed=False
    )


def announce(cfg: TrackOptions, name: str, ctx: Context) -> None:
    """Before anything is done: check that the trackers are installed, name the run, and say where it can be seen.

    Raises:
        UnavailableError: a tracker is not installed.
    """
    if not cfg.track:
        return
    require(cfg.track)
    file, folder = ctx.work / _FILE, (ctx.registry.layout.home / FOLDER).absolute()
    if not file.exists():  # a resumed run goes on under its own name
        run = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        file.write_text(json.dumps({"project": name, "run": run, "folder": str(folder)}), encoding="utf-8")
    for tracker in cfg.track:
        ctx.reporter.info(f"tracked: {place(tracker, folder)}", style="dim")


@contextmanager
def tracked(
    cfg: TrackOptions, job: Job[Any], reporter: Reporter
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """What takes the figures of a step, until the block ends; it does nothing in other processes than the main one.

    The trackers open when they are first told of a step, the one the run begins with: its Accelerator must be there
    before them, and it should not have trained before a tracker says that it cannot.

    Raises:
        UnavailableError: a tracker cannot begin.
    """
    if not cfg.track or not job.is_main:
        yield lambda step, figures: None
        return
    named = json.loads((job.work / _FILE).read_text(encoding="utf-8"))
    open_: list[Trackers] = []
    told: set[str] = set()

    def log(step: int, figures: Mapping[str, float]) -> None:
        if not open_:
            run = Run(named["project"], named["run"], Path(named["folder"]), flat(cfg), step)
            open_.append(Trackers(cfg.track, run))
        open_[0].log(step, figures)
        for name in open_[0].failed.keys() - told:
            told.add(name)
            reporter.warn(f"{name} takes no more figures: {open_[0].failed[name]}")

    try:
        yield log
    finally:
        for trackers in open_:
            trackers.close()


def flat(cfg: Config) -> dict[str, Any]:
    """Every option by its dotted key, as trackers take them: words, numbers, truth values."""
    values = {leaf.key: leaf.value(cfg) for leaf in leaves(type(cfg))}
    return {
        key: value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)
        for key, value in values.items()
    }

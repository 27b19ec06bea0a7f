"""Experiment trackers, through accelerate's: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from llmkit.errors import UnavailableError

Tracker = Literal["tensorboard", "wandb", "mlflow"]

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_INTERVAL: Mapping[str, float] = {"mlflow": 1.0}
"""Seconds between two entries. MLflow's own database took 15 ms for each, the others 0.2 ms; what is said of a held-out
part is never left out."""
_UNSAFE = re.compile(r"[^\w./ -]")
"""What MLflow refuses in the name of a metric."""


@dataclass(frozen=True)
class Run:
    """One run as trackers know it.

    Attributes:
        project: what runs are grouped by; the name of what is made.
        name: this run's own name, unique; a resumed run keeps it.
        folder: where trackers that write files do so, each in a folder of its own.
        config: every option, flat.
        resumed_from: the step after which the figures follow; 0 for a new run.
    """

    project: str
    name: str
    folder: Path
    config: Mapping[str, object]
    resumed_from: int = 0


def require(names: Iterable[str]) -> None:
    """Find out, without importing anything, whether the trackers are installed.

    Raises:
        UnavailableError: one of them is not; its message names the extra.
    """
    for name in names:
        # MLflow comes in parts too; its own database needs one more.
        wanted = (name, "sqlalchemy") if name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI") else (name,)
        # A folder of the same name in the working directory, which wandb itself makes, has no origin.
        if any((found := find_spec(module)) is None or found.origin is None for module in wanted):
            raise UnavailableError(f"{name} is not installed", where="--track", mend=f"pip install 'llmkit[{name}]'")


def place(name: Tracker, folder: Path) -> str:
    """Where a tracker's figures are, in words that can be copied."""
    if name == "tensorboard":
        return f"tensorboard --logdir {folder / 'tensorboard'}"
    if name == "mlflow":
        return f"mlflow ui --backend-store-uri {_mlflow_uri(folder)}"
    if _wandb_offline():
        return f"wandb sync {folder / 'wandb'}/offline-run-* (offline: nothing was sent)"
    return "wandb.ai, in the project of the model's name"


class Trackers:
    """Open trackers of one run. A tracker that fails in the middle is left out from there, and training goes on.

    Made in the main process only, after the run's Accelerator: accelerate's trackers ask its state who they are.

    Raises:
        UnavailableError: a tracker cannot begin, such as one that wants to be logged in to.
    """

    def __init__(self, names: Sequence[Tracker], run: Run) -> None:
        self.failed: dict[str, str] = {}
        self._open: dict[str, Any] = {}
        self._spoke: dict[str, float] = {}
        for name in names:
            try:
                self._open[name] = _started(name, run)
            except Exception as error:  # each has errors of its own
                self.close()
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                mend = "`wandb login`, or WANDB_MODE=offline" if name == "wandb" else f"train without --track {name}"
                raise UnavailableError(f"{name} cannot begin: {reason}", where="--track", mend=mend) from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Hand the figures of a step to every tracker that still works."""
        now = time.monotonic()
        measured = any(key.startswith("held_out") for key in figures)
        for name, tracker in list(self._open.items()):
            if not figures or (not measured and now - self._spoke.get(name, -math.inf) < _INTERVAL.get(name, 0.0)):
                continue
            self._spoke[name] = now
            try:
                tracker.log({_UNSAFE.sub("_", key): float(value) for key, value in figures.items()}, step=step)
            except Exception as error:  # a full disk or a lost connection must not end a run of days
                self.failed[name] = f"{type(error).__name__}: {error}"
                del self._open[name]

    def close(self) -> None:
        """Write out what is waiting."""
        for name, tracker in list(self._open.items()):
            try:
                tracker.finish()
            except Exception as error:
                self.failed[name] = f"{type(error).__name__}: {error}"
        self._open.clear()


def _started(name: Tracker, run: Run) -> Any:
    from accelerate import tracking

    run.folder.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        # What an interrupted run had logged after its last checkpoint is done again: readers pass the old points over.
        purge = run.resumed_from + 1 if run.resumed_from else None
        tracker = tracking.TensorBoardTracker(run.name, run.folder / "tensorboard", purge_step=purge)
        tracker.start()
        # Its hyperparameters would be a run of their own, named by the time, beside this one.
        table = "\n".join(["| option | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in run.config.items())])
        tracker.log({"config": table}, step=0)
        return tracker
    if name == "wandb":
        tracker = _wandb(run)
    else:
        tracker = _mlflow(run)
    tracker.start()
    known = run.folder / "mlflow" / f"{run.name}.id"
    if name == "mlflow" and known.exists():
        return tracker  # its options stay as they were first said; it refuses to have them changed
    if name == "mlflow":
        known.write_text(tracker.tracker.info.run_id, encoding="utf-8")
    tracker.store_init_configuration(dict(run.config))
    return tracker


def _wandb(run: Run) -> Any:
    import wandb
    from accelerate.tracking import WandBTracker

    # The console is ours: wandb would put itself between us and the terminal.
    settings = wandb.Settings(console="off", silent=True)
    mode = "offline" if _wandb_offline() else None
    return WandBTracker(
        run.project, name=run.name, id=run.name, resume="allow", dir=str(run.folder), mode=mode, settings=settings
    )


def _wandb_offline() -> bool:
    """Whether nothing may be sent: by wandb's own variable, else as for everything else here."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode == "offline"
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE)


def _mlflow(run: Run) -> Any:
    import mlflow
    from accelerate.tracking import MLflowTracker

    for part in ("mlflow", "alembic"):  # they tell of every table they make
        logging.getLogger(part).setLevel(logging.WARNING)
    folder = run.folder / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(_mlflow_uri(run.folder))
    known = folder / f"{run.name}.id"
    run_id = known.read_text(encoding="utf-8") if known.exists() else None
    return MLflowTracker(run.project, run_name=run.name, run_id=run_id)


def _mlflow_uri(folder: Path) -> str:
    """Where MLflow keeps its runs: as its own variable says, else in a database here; its newer versions refuse to
    keep them in files."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow' / 'mlflow.db').absolute()}"

"""Work that may take several processes: described by a file, done here or by workers, its result read from a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from llmkit.config.base import Config
from llmkit.errors import RunError
from llmkit.reporting.reporter import Reporter

C = TypeVar("C", bound=Config)

JOB, RESULT = "job.json", "job-result.json"
WORKER = "llmkit.cli.worker"
"""The module that a worker process runs: the command line's layer, as it talks to the user."""


@dataclass(frozen=True)
class Job(Generic[C]):
    """A stage's `work` function with all that it needs, in a form that survives the way to another process."""

    command: str
    config: C
    paths: Mapping[str, Path]
    work: Path

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that reports and writes."""
        from llmkit.train.launch import World

        return World.current().is_main

    def write(self, *, quiet: bool) -> Path:
        """Describe the job in its work directory."""
        body = {
            "command": self.command,
            "config": self.config.model_dump(mode="json"),
            "paths": {name: str(path) for name, path in self.paths.items()},
            "quiet": quiet,
        }
        file = self.work / JOB
        file.write_text(json.dumps(body), encoding="utf-8")
        return file


def read_job(file: Path) -> tuple[Job[Any], bool]:
    """The job that a file describes, and whether it is to be quiet."""
    from llmkit.stages.table import load

    body = json.loads(file.read_text(encoding="utf-8"))
    config = load(body["command"]).config.model_validate(body["config"])
    paths = {name: Path(path) for name, path in body["paths"].items()}
    return Job(body["command"], config, paths, file.parent), body["quiet"]


def do(job: Job[Any], reporter: Reporter) -> dict[str, Any]:
    """Do the job in this process: the `work` function of its stage's module."""
    module = import_module(f"llmkit.stages.{job.command.replace('-', '_')}")
    result: dict[str, Any] = module.work(job, reporter)
    return result


def run_job(job: Job[Any], reporter: Reporter, *, processes: int) -> dict[str, Any]:
    """Do the job here, in worker processes, or together with those that a launcher started beside this one.

    Args:
        processes: how many were asked for; 0: as many as a launcher started, else one.

    Raises:
        UsageError: a launcher started another number of processes.
        RunError: a process failed, which has said why, or cannot take part.
    """
    from llmkit.train.launch import join, launch

    world = join(processes or None)
    if world.size > 1:
        return _together(job, reporter)
    if processes <= 1:
        return do(job, reporter)
    result = job.work / RESULT
    result.unlink(missing_ok=True)
    code = launch(["-m", WORKER, str(job.write(quiet=reporter.quiet))], processes)
    if code != 0:
        raise RunError(f"a worker process ended with exit code {code}", mend="its own message is above")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def _together(job: Job[Any], reporter: Reporter) -> dict[str, Any]:
    from llmkit.train.channel import channel

    channel().call(job.write(quiet=True))
    try:
        return do(job, reporter)
    except RuntimeError as error:
        # What gloo and NCCL raise when another process of a group has gone.
        if not any(sign in str(error) for sign in ("Connection closed", "Connection reset", "ncclRemoteError")):
            raise
        raise RunError("another process of this run has ended", mend="its own message says why") from error


def serve(job: Job[Any], reporter: Reporter) -> None:
    """A worker's life: join the others, do the job; the main one leaves the result."""
    from llmkit.train.launch import join

    world = join(None)
    found = do(job, reporter)
    if world.is_main:
        partial = job.work / f"{RESULT}.{os.getpid()}"
        partial.write_text(json.dumps(found), encoding="utf-8")
        partial.replace(job.work / RESULT)


def take_part(reporter: Reporter) -> None:
    """The life of a process that a launcher started beside the main one: every job of the command, until its end.

    Raises:
        SystemExit: with the command's exit code.
        RunError: this process does not see the files of a job.
    """
    from llmkit.train.channel import channel
    from llmkit.train.launch import join

    join(None)
    for file in channel().jobs(_unseen):
        job, _ = read_job(file)
        do(job, reporter)


def _unseen(file: Path) -> str | None:
    if not file.exists():
        return f"{file.parent}, the main process's work directory"
    job, _ = read_job(file)
    return next((str(path) for path in job.paths.values() if not path.exists()), None)

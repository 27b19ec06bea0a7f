"""Several processes of one command on this machine, by torch's elastic launcher (what `torchrun` runs).

`accelerate launch` starts a single process on CPUs without MPI; this starts as many as were asked for.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.errors import ConfigError, Interrupted, RunError, Terminated, UsageError
from llmkit.train.precision import threads_for

_LAUNCHED_BY_US = "LLMKIT_LAUNCHER"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class World:
    """The processes this one belongs to: itself alone, or what a launcher's environment variables say."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """The one process that reports and writes."""
        return self.rank == 0

    @property
    def launched(self) -> bool:
        return "WORLD_SIZE" in os.environ

    @classmethod
    def current(cls) -> World:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        try:
            rank, size, local_rank = (
                int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True)
            )
        except ValueError as error:
            raise ConfigError(
                "RANK, WORLD_SIZE or LOCAL_RANK is not a number", mend="unset them, or use a launcher that sets them"
            ) from error
        return cls(rank, size, local_rank)


def join(processes: int | None) -> World:
    """The world of this process, checked against the number of processes that was asked for (None: any).

    A process that `launch` or torchrun started is killed by the kernel when its launcher dies, however that happens
    (on Linux).

    Raises:
        UsageError: a launcher started another number of processes.
    """
    world = World.current()
    if processes is not None and world.launched and world.size != processes:
        raise UsageError(
            f"--processes {processes} was asked for, and the launcher started {world.size}",
            mend=f"start {processes} with the launcher, or leave --processes out",
        )
    parent = os.environ.get(_LAUNCHED_BY_US)
    if (parent or "TORCHELASTIC_RUN_ID" in os.environ) and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent and os.getppid() != int(parent):  # it died before we could ask
            os.kill(os.getpid(), signal.SIGKILL)
    return world


def launch(command: Sequence[str], processes: int) -> int:
    """Run `python *command` in several processes and wait; the exit code of the one that failed first, or 0.

    SIGTERM and Ctrl-C are passed on to the workers, which have 30 seconds to write a checkpoint.

    Raises:
        Interrupted, Terminated: after the workers have ended, if such a signal came.
        RunError: the workers could not be started.
    """
    # torch.distributed.elastic takes a second to import, and most commands start one process.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its log repeats what the workers say for themselves.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    before = dict(os.environ)
    os.environ[_LAUNCHED_BY_US] = str(os.getpid())
    os.environ["OMP_NUM_THREADS"] = str(threads_for(processes))
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    try:
        with tempfile.TemporaryDirectory(prefix="llmkit-launch-") as logs:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=logs),
            )
            elastic_launch(config, sys.executable)(*command)
        return 0
    except ChildFailedError as error:
        return _exit_code(error)
    except SignalException as error:
        kind = Interrupted if error.sigval == signal.SIGINT else Terminated
        raise kind(
            f"stopped by {signal.Signals(error.sigval).name}", mend="run the same command again to go on"
        ) from error
    except OSError as error:
        raise RunError(f"{processes} processes could not be started: {error}") from error
    finally:
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit_code(error: Any) -> int:
    """Of the worker that failed first; a worker killed by signal N counts as 128 + N, as in a shell."""
    first = min(error.failures.values(), key=lambda failure: failure.timestamp)
    return int(first.exitcode) if first.exitcode > 0 else 128 - int(first.exitcode)

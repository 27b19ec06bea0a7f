"""What the main process of a launched command tells the others: a job to take part in, or that the command is over.

Words travel through the key-value store that every launcher provides for `torch.distributed` (at MASTER_ADDR and
MASTER_PORT), so they need no process group: which kind of one a job takes depends on its device.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from llmkit.errors import ConfigError, RunError
from llmkit.train.launch import World

_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 180.0
"""Until when every process must have said whether it can take part; they wait for nothing else then."""
_VISIBLE_SECONDS = 30.0
"""How long a file may take to appear on another machine: network file systems cache directories for seconds."""
_FAREWELL_SECONDS = 3.0


class Channel:
    """One process's end. Words are numbered, so that both sides agree which one is meant."""

    def __init__(self, world: World, store: Any) -> None:
        self._world, self._store = world, store
        self._number = 0

    def call(self, job: Path) -> None:
        """Main process: have the others take part in the job that a file describes.

        Raises:
            RunError: one of them cannot, or is not there.
        """
        self._say({"job": str(job)})
        answers = self._answers(_ANSWER_SECONDS)
        silent = [rank for rank, answer in answers.items() if answer is None]
        if silent:
            raise RunError(
                f"of {self._world.size} processes, {_listed(silent)} did not answer",
                mend="look at what they printed; every machine must run the same command",
            )
        refused = {rank: answer for rank, answer in answers.items() if answer}
        if refused:
            raise RunError(
                f"of {self._world.size} processes, {_listed(sorted(refused))} cannot take part: "
                f"{next(iter(refused.values()))}",
                mend="put LLMKIT_HOME and your data on a file system that all machines share, under one path",
            )

    def end(self, code: int) -> None:
        """Main process: the command is over; the others leave with its exit code. Never raises."""
        try:
            self._say({"end": code})
            self._answers(_FAREWELL_SECONDS)  # whoever holds the store must not go before they have heard
        except Exception:  # noqa: S110  # the command is over, whatever became of the others
            pass

    def jobs(self, missing: Callable[[Path], str | None]) -> Iterator[Path]:
        """Another process: each job file that the main one names, until it ends the command.

        Args:
            missing: says what of a job this process does not see, or None.

        Raises:
            SystemExit: with the exit code of the command, when it is over.
            RunError: a job cannot be done here, or the main process is gone.
        """
        while True:
            word = self._next()
            if "end" in word:
                self._answer("")
                raise SystemExit(word["end"])
            job = Path(word["job"])
            problem = self._seen(job, missing)
            self._answer(problem or "")
            if problem:
                raise RunError(problem, mend="the main process says what to do")
            yield job

    def _seen(self, job: Path, missing: Callable[[Path], str | None]) -> str | None:
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while (problem := missing(job)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return f"{os.uname().nodename} does not see {problem}" if problem else None

    def _say(self, word: dict[str, Any]) -> None:
        self._number += 1
        self._store.set(f"word/{self._number}", json.dumps(word))

    def _next(self) -> dict[str, Any]:
        self._number += 1
        key = f"word/{self._number}"
        try:
            while not self._store.check([key]):  # waiting inside the store would be deaf to signals
                time.sleep(_POLL_SECONDS)
            word: dict[str, Any] = json.loads(self._store.get(key))
        except RuntimeError as error:
            raise RunError("the main process is gone", mend="its own message says why") from error
        return word

    def _answer(self, text: str) -> None:
        self._store.set(f"answer/{self._number}/{self._world.rank}", text or "-")

    def _answers(self, seconds: float) -> dict[int, str | None]:
        """Of each other process: what it cannot do, "" if nothing, None if it does not answer."""
        deadline = time.monotonic() + seconds
        found: dict[int, str | None] = dict.fromkeys(range(1, self._world.size))
        while None in found.values() and time.monotonic() < deadline:
            for rank in [rank for rank, answer in found.items() if answer is None]:
                key = f"answer/{self._number}/{rank}"
                if self._store.check([key]):
                    found[rank] = self._store.get(key).decode().removeprefix("-")
            time.sleep(_POLL_SECONDS / 10)
        return found


@cache
def channel() -> Channel:
    """The channel of this process, which a launcher started.

    Raises:
        ConfigError: the launcher's environment does not say where the processes meet.
        RunError: nobody is there.
    """
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch does not say that it exports it
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=_ANSWER_SECONDS)))
    except ValueError as error:
        raise ConfigError(
            f"WORLD_SIZE is set, but the launcher's other variables are not: {error}",
            mend="start several processes by torchrun, accelerate launch or --processes, or unset WORLD_SIZE",
        ) from error
    except RuntimeError as error:
        raise RunError(
            f"no process answers at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
            mend="start the same command on every machine, with one address that all of them reach",
        ) from error
    return Channel(World.current(), PrefixStore("llmkit", store))


def _listed(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:5])) + (", ..." if len(ranks) > 5 else "")
    return f"number{'s' if len(ranks) > 1 else ''} {shown}"

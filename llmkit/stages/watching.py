"""Files that are looked at, so that work is done again when they change."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmkit.errors import RunError, UsageError

QUIET_MS = 300
"""An editor that saves, or a pull of many files, is one change: it is over when nothing has moved for so long."""
LONGEST_MS = 5_000
"""And when it never stops moving, it is taken as it is after so long."""
_POLL_SECONDS = 0.2
"""How soon a signal is noticed."""
_MATTER = frozenset({".gitignore"})
"""Hidden names that decide which files are taken."""


@dataclass
class FileChanges:
    """Changes below some folders, collected by a thread of its own; see `stages.changes.Changes`."""

    of: str
    _moved: threading.Event = field(default_factory=threading.Event)
    _failed: list[Exception] = field(default_factory=list)

    def moved(self) -> None:
        """Something changed."""
        self._moved.set()

    def failed(self, error: Exception) -> None:
        """Nothing more will be heard of."""
        self._failed.append(error)

    def wait(self, most: float | None = None) -> None:
        end = None if most is None else time.monotonic() + most
        # In short turns: a signal must be able to end it.
        while not self._moved.wait(_POLL_SECONDS) and (end is None or time.monotonic() < end):
            if self._failed:
                raise RunError(
                    f"the files cannot be watched any more ({self._failed[0]})",
                    mend="start it again; where the system cannot tell of changes, set WATCHFILES_FORCE_POLLING=true",
                ) from self._failed[0]
        self._moved.clear()


@contextmanager
def watched(names: Sequence[str], homes: Sequence[Path]) -> Iterator[FileChanges]:
    """Changes of the files that inputs name, until the block ends.

    Args:
        names: inputs: files, folders, globs, `python:` names.
        homes: folders of our own, below which nothing counts.

    Raises:
        UsageError: an input cannot be watched: it is no file of this machine.
    """
    places = {_place(name) for name in names}
    changes, stop = FileChanges(names[0] if len(names) == 1 else f"{len(names)} inputs"), threading.Event()
    outside = [home.resolve() for home in homes]
    threads = []
    for deep in (True, False):
        if roots := sorted(root for root, whole in places if whole == deep):
            what = (changes, _Place(roots, deep, outside), stop)
            threads.append(threading.Thread(target=_follow, args=what, daemon=True, name="watch"))
    for thread in threads:
        thread.start()
    try:
        yield changes
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=2)


@dataclass(frozen=True)
class _Place:
    """Folders to watch, with what is below them or without, and the folders that do not count."""

    roots: Sequence[Path]
    deep: bool
    outside: Sequence[Path]

    def counts(self, path: str) -> bool:
        where = Path(path)
        root = next((each for each in self.roots if where.is_relative_to(each)), where.parent)
        hidden = any(part.startswith(".") and part not in _MATTER for part in where.relative_to(root).parts)
        return not hidden and not any(where.is_relative_to(home) for home in self.outside)


def _place(name: str) -> tuple[Path, bool]:
    """The folder that an input's files are in, and whether those below it count too.

    A file's folder is watched in its place: editors put a new file where the old one was, and that one is gone.
    """
    from llmkit.data.sources.collect import kind_of_input
    from llmkit.data.sources.globs import is_glob
    from llmkit.data.sources.python_sources import PREFIX, find_python_source

    kind = kind_of_input(name)
    if kind not in ("path", "python"):
        raise UsageError(
            f"'{name}' cannot be watched: it is no file or folder of this machine",
            where="--watch",
            mend="watch folders and files, and run the command again for the others",
        )
    path = find_python_source(name.removeprefix(PREFIX)) if kind == "python" else Path(name).expanduser()
    fixed = path
    while is_glob(str(fixed)) and not fixed.exists():
        fixed = fixed.parent
    fixed = fixed.resolve()
    return (fixed, True) if fixed.is_dir() else (fixed.parent, False)


def _follow(changes: FileChanges, place: _Place, stop: threading.Event) -> None:
    from watchfiles import watch

    polling = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() in ("1", "true", "yes")
    for by_polling in (True,) if polling else (False, True):
        try:
            for _ in watch(
                *place.roots,
                watch_filter=lambda _, path: place.counts(path),
                debounce=LONGEST_MS,
                step=QUIET_MS,
                stop_event=stop,
                raise_interrupt=False,
                force_polling=by_polling,
                recursive=place.deep,
                ignore_permission_denied=True,
            ):
                changes.moved()
        except OSError as error:  # the system gives no more watches: then look from time to time
            if by_polling:
                changes.failed(error)
        except Exception as error:  # whatever it is, a thread's error would be lost
            changes.failed(error)
            return
        if stop.is_set():
            return

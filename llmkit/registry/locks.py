"""One holder at a time, between processes: advisory locks that a dead process cannot keep."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from llmkit.errors import BusyError
from llmkit.registry.disk import writing

LONGEST_COMMAND = 80
"""Characters of the holder's command line that the next one is shown."""


@contextmanager
def held(path: Path, *, what: str, wait: bool) -> Iterator[None]:
    """Holds the lock file at `path` until the block ends; the kernel frees it if the process dies, however it dies.

    Children made by `fork` share the lock: it is free when the last of them is gone.

    Args:
        path: the lock file; made when absent, removed at the end.
        what: what the lock protects, in words, for the error.
        wait: whether to wait for another holder. Only short sections may be waited for.

    Raises:
        BusyError: another process (or thread) holds it, and `wait` is false.
        StorageError: the lock file cannot be made.
    """
    with writing(path.parent):
        descriptor = _acquire(path, what, wait=wait)
    try:
        yield
    finally:
        # Whoever opened this file before it went finds another inode (or none) at the path, and starts over.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, what: str, *, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_there(path, descriptor):
                _sign(descriptor)
                return descriptor
        except BlockingIOError:
            busy = _busy(what, os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise busy from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:LONGEST_COMMAND],
    }
    # On a full disk the lock still locks; only its holder's name is missing.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _busy(what: str, signature: bytes) -> BusyError:
    try:
        holder = json.loads(signature)
        who = f"process {holder['pid']} on {holder['host']}, since {holder['since']} ({holder['command']})"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return BusyError(f"{what} is in use by {who}", mend="wait until it has ended, or stop it, then run again")

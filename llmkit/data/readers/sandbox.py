"""Parsing in a process of its own, with limits of time and memory: a file that hangs or crashes it costs itself only.

A plain child process rather than one of multiprocessing, as the workers that use it are daemons of that, which may have
no children of their own. It guards against accidents and bombs; it is no jail for code that takes the parser over.
"""

from __future__ import annotations

import atexit
import os
import pickle
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from llmkit.data.readers.base import Item, Reader, ReadOptions, UnreadableError
from llmkit.data.readers.child import END, ITEM, LENGTH, OUT_OF_MEMORY, REFUSED, send
from llmkit.errors import RunError

_READ_BYTES = 1 << 20
_START_SECONDS = 120.0
"""Starting Python and importing the readers takes 0.3 s, and much longer on a machine that is busy with a cold disk."""

# Threads of numeric libraries would each take address space, and a worker has one core.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class _Gone(Exception):  # noqa: N818  # a state of the child, told to `_Pool`
    """The child is no more; `reason` and `detail` say why, for a drop."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Child:
    """One process: it works on one file at a time, and `used` counts those it finished."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "llmkit.data.readers.child", str(os.getpid())]
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            raise RunError(f"no process for parsing could be started: {error}", mend="close other programs") from error
        self.used = 0
        self._in = cast("BinaryIO", self._process.stdin)
        self._out = cast("BinaryIO", self._process.stdout).fileno()
        os.set_blocking(self._out, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._pending = bytearray()
        try:
            self._receive(_START_SECONDS)
        except _Gone as error:
            self.stop()
            mend = "check that llmkit and its readers can be imported"
            raise RunError(f"no process for parsing could be started: {error.detail}", mend=mend) from error

    def read(self, reader: Reader, path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
        """What the reader yields there. Raises _Gone if the process ends over it, UnreadableError as the reader."""
        try:
            send(self._in, (reader, path, media, options))
        except OSError as error:
            raise self._crashed() from error
        while True:
            kind, content = self._receive(options.limits.seconds)
            if kind == ITEM:
                yield content
            elif kind == END:
                break
            elif kind == REFUSED:
                self.used += 1
                raise UnreadableError(*content)
            elif kind == OUT_OF_MEMORY:
                limit = options.limits.memory_bytes
                raise _Gone("out_of_memory", f"parsing it takes more than {limit / (1 << 30):g} GiB")
        self.used += 1

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Close this side of the pipes only: what a copy of this process does with a child that is not its own."""
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # a request that was never read

    def _receive(self, seconds: float) -> tuple[str, Any]:
        until = time.monotonic() + seconds
        length: int | None = None
        while True:
            if length is None and len(self._pending) >= LENGTH.size:
                length = LENGTH.unpack_from(self._pending)[0]
            if length is not None and len(self._pending) >= LENGTH.size + length:
                data = bytes(memoryview(self._pending)[LENGTH.size : LENGTH.size + length])
                del self._pending[: LENGTH.size + length]
                message: tuple[str, Any] = pickle.loads(data)  # noqa: S301  # from our own process
                return message
            left = until - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise _Gone("parser_timeout", f"parsing it takes more than {seconds:g} seconds")
            chunk = os.read(self._out, _READ_BYTES)
            if not chunk:
                raise self._crashed()
            self._pending += chunk

    def _crashed(self) -> _Gone:
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        if code is not None and code < 0:
            return _Gone("parser_crashed", f"its parser was ended by {_signal_name(-code)}")
        return _Gone("parser_crashed", f"its parser ended with exit code {code}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Pool:
    """The children of this process that have nothing to do; as many are started as are needed at one time."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def take(self) -> _Child:
        with self._lock:
            if self._owner != os.getpid():  # we are a fork: they work for the process we were copied from
                for child in self._idle:
                    child.close()
                self._idle, self._owner = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        return _Child()

    def give_back(self, child: _Child) -> None:
        with self._lock:
            self._idle.append(child)

    def stop(self) -> None:
        with self._lock:
            if self._owner == os.getpid():
                while self._idle:
                    self._idle.pop().stop()


_POOL = _Pool()
atexit.register(_POOL.stop)


def read_sandboxed(reader: Reader, path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    """What `reader` yields for the file, read in another process that is kept for the next file.

    Where a process that had parsed other files fails at the start of this one, a fresh one tries again: what becomes of
    a file must not depend on those before it.

    Raises:
        UnreadableError: as the reader does, or for `parser_timeout`, `parser_crashed` and `out_of_memory`. Documents
            that came before it stand.
        RunError: if no process can be started.
    """
    while True:
        child = _POOL.take()
        started = False
        finished = False
        try:
            for item in child.read(reader, path, media, options):
                started = True
                yield item
            finished = True
            return
        except UnreadableError:
            finished = True
            raise
        except _Gone as error:
            if started or not child.used or error.reason == "parser_timeout":
                raise UnreadableError(error.reason, error.detail) from error
        finally:
            if finished:
                _POOL.give_back(child)
            else:  # it failed, or nobody wants the rest of what it is sending
                child.stop()

"""An ordered map over many items in worker processes, in which a crash costs one item and memory stays bounded."""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from llmkit.errors import RunError

T = TypeVar("T")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
_BATCHES_AHEAD = 4
"""Batches per worker that may be under way or waiting for an earlier one: what bounds the memory."""


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, lost: Callable[[T, str], R], batch: int = 8
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, whatever the number of workers.

    With one worker or none, everything runs in this process. Otherwise workers are spawned (not forked: this process
    may have threads), and die with this process, on Linux even if it is killed. An item that kills its worker costs
    that item: `lost(item, why)` takes the place of its result.

    Args:
        function: a module-level function; items and results must be picklable.
        items: read as needed, never all at once.
        batch: items sent to a worker at a time.

    Raises:
        RunError: if workers cannot be started.
        Exception: what `function` raised, with the worker's own trace as a note.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    team = _Team(function, workers, lost)
    try:
        yield from team.run(_batches(items, batch))
    finally:
        team.stop()


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


@dataclass(frozen=True)
class _Failure:
    error: Exception


class _Worker(Generic[T, R]):
    """One process and the pipe to it; `task` is the number of the batch it works on and the batch."""

    def __init__(self, function: Callable[[T], R]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.task: tuple[int, list[T]] | None = None
        self._process = context.Process(target=_serve, args=(far_end, function, os.getpid()), daemon=True)
        self._process.start()
        far_end.close()

    def await_start(self) -> None:
        try:
            self.pipe.recv()
        except EOFError:
            raise RunError(
                f"a worker process could not start: {self.why_dead()}", mend="try again with one worker"
            ) from None

    def send(self, number: int, batch: list[T]) -> None:
        self.task = (number, batch)
        self.pipe.send(batch)

    def receive(self) -> list[R]:
        """The results of the batch. Raises EOFError if the process died over it, or what the function raised."""
        self.task = None
        reply: list[R] | _Failure = self.pipe.recv()
        if isinstance(reply, _Failure):
            raise reply.error
        return reply

    def why_dead(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"

    def stop(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


class _Team(Generic[T, R]):
    def __init__(self, function: Callable[[T], R], size: int, lost: Callable[[T, str], R]) -> None:
        self._function = function
        self._lost = lost
        self._workers: list[_Worker[T, R]] = []
        self._size = size

    def run(self, batches: Iterator[list[T]]) -> Iterator[R]:
        self._workers = [_Worker(self._function) for _ in range(self._size)]
        for worker in self._workers:
            worker.await_start()
        numbered = enumerate(batches)
        done: dict[int, list[R]] = {}
        sent, yielded, more = 0, 0, True
        while more or yielded < sent:
            for worker in self._workers:
                if more and worker.task is None and sent - yielded < _BATCHES_AHEAD * self._size:
                    task = next(numbered, None)
                    if task is None:
                        more = False
                        break
                    self._dispatch(worker, *task, done)
                    sent += 1
            busy = [(worker, worker.task) for worker in self._workers if worker.task]
            ready = wait([worker.pipe for worker, _ in busy]) if busy else []
            for worker, task in busy:
                if worker.pipe in ready:
                    self._collect(worker, *task, done)
            while yielded in done:
                yield from done.pop(yielded)
                yielded += 1

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def _dispatch(self, worker: _Worker[T, R], number: int, batch: list[T], done: dict[int, list[R]]) -> None:
        try:
            worker.send(number, batch)
        except BrokenPipeError:  # it was killed while it waited for work
            done[number] = self._one_by_one(worker, batch)

    def _collect(self, worker: _Worker[T, R], number: int, batch: list[T], done: dict[int, list[R]]) -> None:
        try:
            done[number] = worker.receive()
        except (EOFError, ConnectionResetError):
            done[number] = self._one_by_one(worker, batch)

    def _one_by_one(self, dead: _Worker[T, R], batch: Sequence[T]) -> list[R]:
        """Work through a batch that killed its worker, each item alone, to find out which one did."""
        results: list[R] = []
        worker = self._replace(dead)
        for item in batch:
            try:
                worker.send(-1, [item])
                results += worker.receive()
            except (EOFError, ConnectionResetError, BrokenPipeError):
                results.append(self._lost(item, worker.why_dead()))
                worker = self._replace(worker)
        return results

    def _replace(self, dead: _Worker[T, R]) -> _Worker[T, R]:
        position = self._workers.index(dead)
        dead.stop()
        self._workers[position] = _Worker(self._function)
        self._workers[position].await_start()
        return self._workers[position]


def _serve(pipe: Connection, function: Callable[[T], R], parent: int) -> None:
    """The life of a worker: take a batch, work, send the results, until the pipe closes."""
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    pipe.send("ready")
    while True:
        try:
            batch: list[T] = pipe.recv()
        except EOFError:
            return
        try:
            reply: list[R] | _Failure = [function(item) for item in batch]
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            reply = _Failure(error)
        pipe.send(reply)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends; elsewhere, the closed pipe ends it after its batch."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

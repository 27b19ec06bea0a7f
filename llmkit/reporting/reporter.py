"""The reporter: the one way in which running work speaks to whoever started it.

It is passed in, never global. The CLI has three implementations (a rich terminal, plain lines for pipes and CI, and
silence for `--quiet`); `Silent` here is for tests and for code that has nobody to talk to. All of it goes to stderr:
stdout belongs to the result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from llmkit.reporting.blocks import Block, Style


@dataclass(frozen=True)
class Trend:
    """A fact with its past: the last of the values is what it is now, and the others are how it came there."""

    values: Sequence[float]


class Progress(Protocol):
    """An open bar. `advance` counts units done; keyword facts (loss, rate) replace those shown beside it.

    A `Trend` among the facts is drawn as a small curve where there is room for one.
    """

    def advance(self, n: float = 1, **facts: object) -> None: ...


class Reporter(Protocol):
    """What a stage may say. Nothing here blocks, raises, or needs a terminal."""

    @property
    def warnings(self) -> Sequence[str]:
        """All warnings so far, in order, without repeats; they end up in the recorded result."""
        ...

    @property
    def quiet(self) -> bool:
        """Whether it says nothing; a child process is then to be silent too."""
        ...

    def info(self, message: str, *, style: Style = "plain") -> None: ...

    def warn(self, message: str) -> None: ...

    def show(self, block: Block) -> None:
        """Something on the way to the result: a table, a sample of generated text."""
        ...

    def result(self, part: Mapping[str, Any]) -> None:
        """A part of the result, as soon as it is there (an answer of many): whoever asked may print it at once."""
        ...

    def progress(
        self, label: str, total: float | None = None, *, unit: str = "", done: float = 0
    ) -> AbstractContextManager[Progress]:
        """A bar over `total` units, of which `done` were done by an earlier run; rate and ETA count only this one."""
        ...

    def writing(self) -> AbstractContextManager[Callable[[str], None]]:
        """Takes the pieces of a text as they are made, for whoever watches; the whole is shown as a result."""
        ...

    @property
    def interactive(self) -> bool:
        """Whether somebody types what `line` reads."""
        ...

    def line(self, prompt: str) -> str | None:
        """The next line of standard input; None at its end. Whoever types sees the prompt."""
        ...


def _unheard(piece: str) -> None:
    pass


class _NoProgress:
    def advance(self, n: float = 1, **facts: object) -> None:
        pass


class Silent:
    """Says nothing, remembers warnings."""

    quiet = True

    def __init__(self) -> None:
        self._warnings: list[str] = []
        self.parts: Callable[[Mapping[str, Any]], None] | None = None
        """Takes the parts of a result as they come."""

    @property
    def warnings(self) -> Sequence[str]:
        return tuple(self._warnings)

    def info(self, message: str, *, style: Style = "plain") -> None:
        pass

    def warn(self, message: str) -> None:
        if message not in self._warnings:
            self._warnings.append(message)

    def show(self, block: Block) -> None:
        pass

    def result(self, part: Mapping[str, Any]) -> None:
        if self.parts is not None:
            self.parts(part)

    @contextmanager
    def progress(
        self, label: str, total: float | None = None, *, unit: str = "", done: float = 0
    ) -> Iterator[Progress]:
        yield _NoProgress()

    @contextmanager
    def writing(self) -> Iterator[Callable[[str], None]]:
        yield _unheard

    @property
    def interactive(self) -> bool:
        return False

    def line(self, prompt: str) -> str | None:
        return sys.stdin.readline() or None

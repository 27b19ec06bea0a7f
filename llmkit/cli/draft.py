"""A text that is being written, on a terminal: its last lines while they come, and nothing of it when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from llmkit.cli.render import inert

FREE_LINES = 2
"""Of the screen, below a text that is longer than it: what is taller than the screen cannot be taken back."""
PER_SECOND = 12


class _Tail:
    """The end of a text, as much of it as the screen has room for."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, piece: str) -> None:
        self.text += piece

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = max(1, console.height - FREE_LINES)
        # No row holds more letters than it has columns, so the end of the text is enough.
        end = inert(self.text[-rows * options.max_width :])
        yield Text("\n").join(Text(end).wrap(console, options.max_width)[-rows:])


@contextmanager
def draft(console: Console) -> Iterator[Callable[[str], None]]:
    """Takes the pieces of a text and shows them, inert, until the block ends."""
    tail = _Tail()
    with Live(tail, console=console, transient=True, refresh_per_second=PER_SECOND, vertical_overflow="visible"):
        yield tail.add

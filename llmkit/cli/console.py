"""The reporters: rich progress on a terminal, one plain line every few seconds in a pipe, silence when asked.

All of them write to stderr; stdout is the result's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from llmkit.cli.render import STYLES, draw, duration, inert, number
from llmkit.reporting.blocks import Block, Diff, Heading, Line, Quote, Style
from llmkit.reporting.reporter import Progress as Bar
from llmkit.reporting.reporter import Reporter, Silent

PLAIN_INTERVAL = 5.0
"""Seconds between two progress lines in a log: often enough to see life, rare enough to read."""


def make_reporter(*, quiet: bool, terminal: bool | None = None) -> Reporter:
    """The reporter for this process: silent, rich, or plain."""
    if quiet:
        return Silent()
    console = Console(stderr=True, highlight=False)
    if console.is_terminal if terminal is None else terminal:
        return RichReporter(console)
    return PlainReporter(Console(stderr=True, highlight=False, no_color=True, width=120))


class _Speaker(Silent):
    """What the rich and the plain reporter share: everything but progress."""

    quiet = False

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def info(self, message: str, *, style: Style = "plain") -> None:
        self.console.print(Text(inert(message), style=STYLES[style]), soft_wrap=True)

    def warn(self, message: str) -> None:
        if message not in self._warnings:
            self.console.print(Text("warning: ", style="yellow").append(inert(message)), soft_wrap=True)
        super().warn(message)

    def show(self, block: Block) -> None:
        self.console.print(draw(block), soft_wrap=isinstance(block, Line | Heading | Quote | Diff))


class RichReporter(_Speaker):
    """For a terminal: a bar with rate, facts and ETA while it runs, one line that stays when it is done."""

    @contextmanager
    def progress(self, label: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Bar]:
        columns = [
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TextColumn("[dim]{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
        ]
        with Progress(*columns, console=self.console, transient=True) as live:
            task = live.add_task(inert(label), total=total, completed=int(done), facts="")
            bar = _RichBar(live, task, _Meter(label, unit, done))
            yield bar
        self.console.print(Text("✓ ", style="green").append(bar.meter.summary()), soft_wrap=True)


class PlainReporter(_Speaker):
    """For a pipe or CI: a line when work begins to take long, one every few seconds, one at the end."""

    @contextmanager
    def progress(self, label: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Bar]:
        bar = _PlainBar(self.console, total, _Meter(label, unit, done))
        yield bar
        self.console.print(Text(bar.meter.summary()), soft_wrap=True)


class _Meter:
    """Counts units, rate and facts of one bar."""

    def __init__(self, label: str, unit: str, done: float) -> None:
        self.label = label
        self.unit = unit
        self.done = done
        self.before = done
        self.facts: dict[str, object] = {}
        self.started = time.monotonic()

    def advance(self, n: float, facts: dict[str, object]) -> None:
        self.done += n
        self.facts.update(facts)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def describe(self) -> str:
        """`1,204 doc/s · loss 3.21`."""
        parts = [f"{name} {number(value)}" for name, value in self.facts.items()]
        new = self.done - self.before
        if self.unit and new and self.seconds > 0.2:
            parts.insert(0, f"{number(float(f'{new / self.seconds:.3g}'))} {self.unit}/s")
        return " · ".join(parts)

    def summary(self) -> str:
        count = f" {number(round(self.done))} {self.unit}" if self.unit else ""
        facts = self.describe()
        return f"{self.label}:{count} in {duration(self.seconds)}{' · ' + facts if facts else ''}"


class _RichBar:
    def __init__(self, live: Progress, task: TaskID, meter: _Meter) -> None:
        self.live = live
        self.task = task
        self.meter = meter

    def advance(self, n: float = 1, **facts: object) -> None:
        self.meter.advance(n, facts)
        self.live.update(self.task, advance=n, facts=self.meter.describe())


class _PlainBar:
    def __init__(self, console: Console, total: float | None, meter: _Meter) -> None:
        self.console = console
        self.total = total
        self.meter = meter
        self.spoke = time.monotonic()

    def advance(self, n: float = 1, **facts: object) -> None:
        self.meter.advance(n, facts)
        now = time.monotonic()
        if now - self.spoke >= PLAIN_INTERVAL:
            self.spoke = now
            self.console.print(Text(self._line()), soft_wrap=True)

    def _line(self) -> str:
        meter = self.meter
        parts = [f"{meter.label}: {number(round(meter.done))}"]
        if self.total:
            parts[0] += f" of {number(round(self.total))} {meter.unit}".rstrip()
            new = meter.done - meter.before
            if new > 0:
                parts.append(f"{duration(meter.seconds / new * max(0.0, self.total - meter.done))} left")
        facts = meter.describe()
        return " · ".join([*parts, facts] if facts else parts)


def stdout_console() -> Console:
    """For results: as wide as the terminal, or wide enough not to break lines in a file."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, no_color=True, width=120)

"""The reporters: rich progress on a terminal, one plain line every few seconds in a pipe, silence when asked.

All of them write to stderr; stdout is the result's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn
from rich.table import Table
from rich.text import Text

from llmkit.cli.render import STYLES, draw, duration, inert, number
from llmkit.reporting.blocks import Block, Diff, Heading, Line, Quote, Style
from llmkit.reporting.curves import sparkline
from llmkit.reporting.figures import BYTES, share, size
from llmkit.reporting.reporter import Progress as Bar
from llmkit.reporting.reporter import Silent, Trend

_MIN_BAR, _MAX_BAR = 8, 28
SPARK = 12
"""Columns of a fact's curve."""
PLAIN_INTERVAL = 5.0
"""Seconds between two progress lines in a log: often enough to see life, rare enough to read."""


def make_reporter(*, quiet: bool, terminal: bool | None = None) -> Silent:
    """The reporter for this process: silent, rich, or plain; all of them are made of the silent one."""
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

    @contextmanager
    def writing(self) -> Iterator[Callable[[str], None]]:
        # The text is the result's, so it is shown where the result will be; a pipe gets it once, when it is whole.
        if not sys.stdout.isatty():
            with super().writing() as unheard:
                yield unheard
            return
        from llmkit.cli.draft import draft

        with draft(stdout_console()) as heard:
            yield heard

    @property
    def interactive(self) -> bool:
        return sys.stdin.isatty()

    def line(self, prompt: str) -> str | None:
        if not self.interactive:
            return super().line(prompt)
        with suppress(ImportError):
            import readline  # noqa: F401  # `input` then edits the line, and has a history
        if not sys.stdout.isatty():
            self.console.print(prompt, end="", markup=False)
            prompt = ""
        try:
            return input(prompt)
        except EOFError:
            self.console.print()
            return None


class RichReporter(_Speaker):
    """For a terminal: a bar with count, rate and time left, the facts beside or below it, one line that stays."""

    @contextmanager
    def progress(self, label: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Bar]:
        meter = _Meter(inert(label), total, unit, done)
        with _Live(meter, self.console) as live:
            yield _RichBar(live, meter)
        said = _fitting(meter.summary(curves=True), self.console.width - 2)
        self.console.print(Text("✓ ", style="green").append(said), soft_wrap=True)


class PlainReporter(_Speaker):
    """For a pipe or CI: a line when work begins to take long, one every few seconds, one at the end."""

    @contextmanager
    def progress(self, label: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Bar]:
        bar = _PlainBar(self.console, _Meter(label, total, unit, done))
        yield bar
        self.console.print(Text(bar.meter.summary()), soft_wrap=True)


class _Meter:
    """Counts units, rate and facts of one bar."""

    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self.label = label
        self.total = total
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

    def count(self) -> str:
        """`45 of 300 steps`, `1.2 of 4.9 MB`, `45%` of what has no unit."""
        if not self.unit:
            return share(min(self.done, self.total), self.total) if self.total else number(round(self.done))
        if self.total:
            done = self._amount(self.done) if self.unit == BYTES else number(round(self.done))
            return f"{done} of {self._amount(self.total)}"
        return self._amount(self.done)

    def left(self) -> str:
        """The time left at the speed so far; nothing where it is not known."""
        new = self.done - self.before
        if not self.total or new <= 0:
            return ""
        return f"{duration(self.seconds / new * max(0.0, self.total - self.done))} left"

    def rate(self) -> str:
        """`1.99 steps/s`."""
        new = self.done - self.before
        if not self.unit or not new or self.seconds <= 0.2:
            return ""
        each = float(f"{new / self.seconds:.3g}")
        return f"{size(each) if self.unit == BYTES else f'{number(each)} {self.unit}'}/s"

    def describe(self, *, curves: bool = False) -> str:
        """`loss 3.21 · held-out 3.30`; with the curve behind each fact that has one."""
        return _joined(f"{name} {_fact(value, curves=curves)}" for name, value in self.facts.items())

    def summary(self, *, curves: bool = False) -> str:
        count = f" {self._amount(self.done)}" if self.unit else ""
        rate = "" if any(name.endswith("/s") for name in self.facts) else self.rate()
        return _joined([f"{self.label}:{count} in {duration(self.seconds)}", rate, self.describe(curves=curves)])

    def _amount(self, count: float) -> str:
        return size(count) if self.unit == BYTES else f"{number(round(count))} {self.unit}"


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)


def _fact(value: object, *, curves: bool) -> str:
    if not isinstance(value, Trend):
        return number(value)
    if not value.values:
        return number(None)
    now = f"{value.values[-1]:.3f}"
    return f"{now} {sparkline(value.values, SPARK)}" if curves else now


class _RichBar:
    def __init__(self, live: Progress, meter: _Meter) -> None:
        self.live = live
        self.meter = meter
        self.task = live.add_task(meter.label, total=meter.total, completed=int(meter.done))

    def advance(self, n: float = 1, **facts: object) -> None:
        self.meter.advance(n, facts)
        self.live.update(self.task, advance=n)


class _Live(Progress):
    """A bar drawn from its meter, as wide as the terminal leaves room for."""

    def __init__(self, meter: _Meter, console: Console) -> None:
        self.meter = meter
        self._below = False
        self._spinner, self._bar = SpinnerColumn(), BarColumn()
        super().__init__(self._spinner, self._bar, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        if not self.tasks:
            return
        width, meter = self.console.width, self.meter
        said = _joined([meter.count(), meter.rate(), meter.left()])
        said = _fitting(said, width - cell_len(meter.label) - _MIN_BAR - 6)
        facts = meter.describe(curves=True)
        room = width - cell_len(meter.label) - cell_len(said) - 6
        # Once below, always below: a line that comes and goes would make everything above it jump.
        self._below = self._below or (bool(facts) and cell_len(facts) + 3 + _MIN_BAR > room)
        if facts and not self._below:
            said, facts = f"{said} · {facts}", ""
            room = width - cell_len(meter.label) - cell_len(said) - 6
        self._bar.bar_width = max(_MIN_BAR, min(_MAX_BAR, room))
        task = self.tasks[0]
        line = Table.grid(padding=(0, 1))
        line.add_row(
            self._spinner(task), Text(meter.label, no_wrap=True), self._bar(task), Text(said, style="dim", no_wrap=True)
        )
        yield line
        if facts:
            yield Text(f"  {_fitting(facts, width - 3)}", no_wrap=True, overflow="ellipsis")


def _fitting(facts: str, width: int) -> str:
    """As many of the facts as the line has room for, whole ones only."""
    while cell_len(facts) > width and " · " in facts:
        facts = facts.rpartition(" · ")[0]
    return facts


class _PlainBar:
    def __init__(self, console: Console, meter: _Meter) -> None:
        self.console = console
        self.meter = meter
        self.spoke = time.monotonic()

    def advance(self, n: float = 1, **facts: object) -> None:
        self.meter.advance(n, facts)
        now = time.monotonic()
        done = self.meter.total is not None and self.meter.done >= self.meter.total  # the summary follows at once
        if now - self.spoke >= PLAIN_INTERVAL and not done:
            self.spoke = now
            meter = self.meter
            said = _joined([f"{meter.label}: {meter.count()}", meter.left(), meter.rate(), meter.describe()])
            self.console.print(Text(said), soft_wrap=True)


def stdout_console() -> Console:
    """For results: as wide as the terminal, or wide enough not to break lines in a file."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, no_color=True, width=120)

"""The reporters: what a pipe gets, what a terminal gets, and that warnings are kept."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from llmkit.cli import console as module
from llmkit.cli.console import PlainReporter, RichReporter, make_reporter
from llmkit.reporting.blocks import Quote
from llmkit.reporting.reporter import Silent


def plain() -> tuple[PlainReporter, io.StringIO]:
    out = io.StringIO()
    return PlainReporter(Console(file=out, width=120, no_color=True, highlight=False)), out


def test_a_log_gets_one_line_at_the_end_of_short_work() -> None:
    reporter, out = plain()
    with reporter.progress("Reading", 3, unit="files") as bar:
        for _ in range(3):
            bar.advance(1, kept=2)
    assert out.getvalue().startswith("Reading: 3 files in 0.0 s")
    assert out.getvalue().count("\n") == 1


def test_long_work_says_how_far_it_is_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reporter, out = plain()
    with reporter.progress("Training", 100, unit="steps", done=50) as bar:
        for step in range(20):
            now[0] += 1.0
            bar.advance(1, loss=5 - step / 10)
    lines = out.getvalue().splitlines()
    assert lines[0] == "Training: 55 of 100 steps · 45 s left · 1 steps/s · loss 4.6"
    assert len(lines) == 5


def test_a_warning_is_said_once_and_kept() -> None:
    reporter, out = plain()
    reporter.warn("little data")
    reporter.warn("little data")
    assert out.getvalue() == "warning: little data\n"
    assert reporter.warnings == ("little data",)


def test_a_terminal_keeps_one_line_of_a_finished_bar() -> None:
    out = io.StringIO()
    reporter = RichReporter(Console(file=out, width=100, force_terminal=True, color_system=None))
    with reporter.progress("Embedding [x]", 10, unit="chunks") as bar:
        bar.advance(10)
    assert "✓ Embedding [x]: 10 chunks" in out.getvalue()


def test_samples_are_inert() -> None:
    reporter, out = plain()
    reporter.show(Quote("\x1b[2J[red]", "sample"))
    assert "\x1b" not in out.getvalue()
    assert "[red]" in out.getvalue()


def test_quiet_says_nothing_and_remembers_warnings() -> None:
    reporter = make_reporter(quiet=True)
    reporter.info("x")
    reporter.warn("y")
    assert isinstance(reporter, Silent)
    assert reporter.warnings == ("y",)

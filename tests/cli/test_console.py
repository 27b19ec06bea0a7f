"""The reporters: what a pipe gets, what a terminal gets, and that warnings are kept."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment

from llmkit.cli import console as module
from llmkit.cli.console import PlainReporter, RichReporter, make_reporter
from llmkit.reporting.blocks import Quote
from llmkit.reporting.reporter import Silent, Trend


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


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_a_bar_is_never_wider_than_the_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    meter = module._Meter("training", 100_000, "steps", 0)
    with module._Live(meter, console) as live:
        bar = module._RichBar(live, meter)
        meter.started -= 3600
        bar.advance(12_345, loss=Trend([4.0, 3.0, 2.0]), **{"held-out": "2.100", "tokens/s": 123_456, "MFU": "41%"})
        shown = [text(line).rstrip() for line in console.render_lines(live.get_renderable(), pad=False)]
    assert all(cell_len(line) <= width for line in shown)
    if width >= 80:
        assert any("12,345 of 100,000 steps" in line for line in shown)
        assert any("loss 2.000 █▅▁" in line for line in shown)


def text(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def test_facts_that_have_no_room_go_below_and_the_last_ones_go_first() -> None:
    assert module._fitting("loss 2 · held-out 3 · lr 0.1", 20) == "loss 2 · held-out 3"
    assert module._fitting("loss 2", 3) == "loss 2"


def test_a_curve_is_drawn_on_a_terminal_and_is_a_number_in_a_log() -> None:
    meter = module._Meter("training", 2, "steps", 0)
    meter.advance(1, {"loss": Trend([3.0, 1.0])})
    assert meter.describe() == "loss 1.000"
    assert meter.describe(curves=True) == "loss 1.000 █▁"


@pytest.mark.parametrize(
    ("total", "unit", "done", "said"),
    [
        (300, "steps", 45, "45 of 300 steps"),
        (None, "documents", 1204, "1,204 documents"),
        (1.0, "", 0.25, "25.0%"),
        (5e6, "B", 1.2e6, "1.2 MB of 5 MB"),
    ],
)  # fmt: skip
def test_a_count_is_said_in_its_unit(total: float | None, unit: str, done: float, said: str) -> None:
    assert module._Meter("x", total, unit, done).count() == said


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

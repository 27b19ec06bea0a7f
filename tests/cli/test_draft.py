"""A text that is being written: seen while it comes, taken back when it is whole, inert, no taller than the screen."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from llmkit.cli.console import PlainReporter, RichReporter
from llmkit.cli.draft import _Tail, draft


def terminal(width: int = 40, height: int = 10) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=width, height=height, highlight=False), screen


def test_what_is_written_is_seen_and_taken_back() -> None:
    console, screen = terminal()
    with draft(console) as heard:
        heard("Hello ")
        heard("東大寺")
    assert "Hello 東大寺" in screen.getvalue()
    assert screen.getvalue().rstrip("\n").endswith("\x1b[2K"), "the line is erased at the end"


def test_of_a_long_text_the_end_is_seen() -> None:
    console, screen = terminal(height=6)
    tail = _Tail()
    tail.add("\n".join(f"line {n} " + "語" * 30 for n in range(200)))
    console.print(tail)
    rows = screen.getvalue().rstrip("\n").split("\n")
    assert len(rows) == 4 and "line 199" in screen.getvalue() and "line 190" not in screen.getvalue()


def test_what_a_model_writes_cannot_drive_the_terminal() -> None:
    console, screen = terminal()
    with draft(console) as heard:
        heard("a\x1b[31mred\x1b]8;;http://evil.example/\x1b")
        heard("\\click\x07 [bold]x[/bold]")
    said = screen.getvalue()
    assert "\x1b]8" not in said and "\x1b[31m" not in said and "\x07" not in said
    assert "[bold]x[/bold]" in re.sub(r"\s", "", said).replace("click\ufffd", "")


@pytest.mark.parametrize("reporter", [RichReporter, PlainReporter])
def test_a_pipe_hears_nothing_of_it(reporter: type, capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    with reporter(Console(file=screen, force_terminal=True)).writing() as heard:
        heard("words")
    assert screen.getvalue() == "" and capsys.readouterr().out == ""

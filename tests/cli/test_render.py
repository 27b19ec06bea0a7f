"""How results look, and that nobody else's text can do anything to a terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from llmkit.cli.render import duration, inert, number, print_blocks
from llmkit.reporting.blocks import Bars, Block, Diff, Figures, Fold, Heading, Line, Marked, Quote, Table, Tree


def drawn(*blocks: Block) -> str:
    out = io.StringIO()
    print_blocks(Console(file=out, width=100, force_terminal=True, color_system=None), blocks)
    return out.getvalue()


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in inert(text))


def test_quotes_are_shown_as_they_are_with_markup_and_escapes_inert() -> None:
    assert "[bold]x[/bold] \ufffd[31mred" in drawn(Quote("[bold]x[/bold] \x1b[31mred", "a.py:3"))


def test_bidi_overrides_cannot_reorder_what_is_shown() -> None:
    assert inert("a\u202eb") == "a\ufffdb"


def test_a_table_shows_figures_as_people_read_them() -> None:
    text = drawn(Table(("what", "value"), [("rows", 12345), ("loss", 3.14159265), ("none", None)], "Figures"))
    assert "12,345" in text
    assert "3.142" in text
    assert "Figures" in text


def test_a_tree_hangs_what_is_below_under_its_label() -> None:
    text = drawn(Tree("bot@1", [Tree("base@1", [Tree("docs/")]), Tree("pairs@1")]))
    assert [line.strip("│├└─ ") for line in text.splitlines()] == ["bot@1", "base@1", "docs/", "pairs@1"]


def test_a_long_line_is_not_broken() -> None:
    assert drawn(Line("word " * 60)).count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (184, "3 min 04 s"), (7500, "2 h 05 min")]
)
def test_durations_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "True"), (1234567, "1,234,567"), (12345.6, "12,346"), (0.000123, "0.000123"), ("x", "x")],
)
def test_numbers_keep_four_digits(value: object, shown: str) -> None:
    assert number(value) == shown


def bars(width: int, *, encoding: str = "utf-8") -> list[str]:
    block = Bars(
        ["read", "日本語", "x" * 80], [100, 50, 1], "Documents", "", ["", "−50%", ""], [0, 50, 0], ("kept", "gone")
    )
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_blocks(Console(file=out, width=width), [block])
    out.seek(0)
    return out.read().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_bars_fit_the_width_they_are_given(width: int) -> None:
    assert all(cell_len(line) <= width for line in bars(width))


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    lines = bars(100)
    assert lines[1].split() == ["█", "kept", "░", "gone"]
    whole, half = lines[2], lines[3]
    assert whole.count("█") == 2 * half.count("█")
    assert half.count("░") == half.count("█")
    assert lines[4][-1] in "▏▎▍▌▋▊▉█"


def test_bars_are_plain_ascii_where_nothing_else_can_be_shown() -> None:
    block = Bars(["a", "b"], [2, 1], rest=[0, 1])
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_blocks(Console(file=out, width=60), [block])
    out.seek(0)
    assert [line.split()[-1].strip("#.") for line in out.read().splitlines()] == ["", ""]


def test_every_block_is_inert_on_a_terminal() -> None:
    bad = "x\x1b[31m\u202e\x07[bold]"
    shown = drawn(
        Heading(bad),
        Figures([(bad, bad, bad)]),
        Bars([bad], [1], bad, "", [bad], [1], (bad, bad)),
        Diff(bad, bad + "y", bad),
        Fold(bad, [Line(bad)]),
        Table((bad,), [(bad,)], bad),
    )
    assert "\u202e" not in shown
    assert "\x07" not in shown
    assert "\x1b[31m" not in shown
    assert "[bold]" in shown


def test_a_diff_shows_what_went_what_came_and_what_cannot_be_seen() -> None:
    lines = drawn(Diff("one\u00a0two\nsame\n", "one two\nsame\n", "normalise")).splitlines()
    assert [line.rstrip() for line in lines][:4] == ["normalise", "  - one‹U+00A0›two", "  + one·two", "    same"]


def test_a_fold_stands_open_on_a_terminal() -> None:
    assert [line.rstrip() for line in drawn(Fold("samples", [Line("one")])).splitlines()] == ["samples", "  one"]


def marked(**console: object) -> str:
    out = io.StringIO()
    pieces = Marked([("a\nb ", "read"), ("[c]", "learned"), ("9 tokens", "cut")], "x")
    print_blocks(Console(file=out, width=100, **console), [pieces])  # type: ignore[arg-type]
    return out.getvalue()


def test_what_is_learned_stands_between_signs_where_there_are_no_colours() -> None:
    assert marked(force_terminal=False) == "x\n  a\n  b ⟦[c]⟧⟨cut: 9 tokens⟩\n"


def test_what_is_learned_is_coloured_on_a_terminal() -> None:
    shown = marked(force_terminal=True, color_system="standard")
    assert "⟦" not in shown
    assert "\x1b[1;32m[c]\x1b[0m" in shown

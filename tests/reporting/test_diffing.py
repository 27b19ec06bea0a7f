"""A diff tells what changed, all of it, and no more than that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmkit.reporting.diffing import DiffLine, diff_lines, visible

_LINES = st.lists(st.sampled_from(["a", "b", "猫が好き", "שלום", "x  y", ""]), max_size=12).map("\n".join)


@given(_LINES, _LINES)
def test_with_all_its_context_a_diff_holds_both_texts(before: str, after: str) -> None:
    lines = diff_lines(before, after, context=100)
    if before == after:
        assert lines == []
        return
    for mark, text in (("-", before), ("+", after)):
        shown = [line.text.removesuffix("\n") for line in lines if line.mark in (" ", mark)]
        assert "\n".join(shown).rstrip("\n") == text.rstrip("\n")


def test_the_words_that_changed_within_a_line_are_marked() -> None:
    gone, came = diff_lines("The quick brown fox\n", "The quick red fox\n")
    assert gone == DiffLine("-", (("The quick ", False), ("brown", True), (" fox", False)))
    assert came == DiffLine("+", (("The quick ", False), ("red", True), (" fox", False)))


def test_in_japanese_single_characters_are_marked() -> None:
    gone, came = diff_lines("東京都へ行きました。", "東京都に行きました。")
    assert [piece for piece, changed in gone.pieces if changed] == ["へ"]
    assert [piece for piece, changed in came.pieces if changed] == ["に"]


def test_lines_with_little_in_common_are_not_marked_piece_by_piece() -> None:
    assert all(not changed for line in diff_lines("abc def", "猫が好き") for _, changed in line.pieces)


def test_what_is_far_from_a_change_is_counted_and_not_shown() -> None:
    text = [f"line {n}" for n in range(100)]
    lines = diff_lines("\n".join(text), "\n".join([*text[:50], "new", *text[50:]]), context=1)
    assert [(line.mark, line.text) for line in lines] == [
        ("@", "49 unchanged lines"),
        (" ", "line 49"),
        ("+", "new"),
        (" ", "line 50"),
    ]


def test_a_text_of_very_many_lines_ends_with_a_note_of_what_was_not_compared() -> None:
    lines = diff_lines("\n".join(f"a{n}" for n in range(6000)), "\n".join(f"b{n}" for n in range(6000)))
    assert (lines[-1].mark, lines[-1].text) == ("@", "1,000 more lines are not compared")


def test_changes_that_nobody_would_see_are_made_visible() -> None:
    assert visible("a\u00a0b\u200b \t\r") == "a‹U+00A0›b‹U+200B›·→‹U+000D›"
    assert visible("が\u3099") == "が‹U+3099›"
    assert visible("日本語 עברית") == "日本語·עברית"


def test_in_a_text_that_changed_throughout_only_the_first_lines_are_marked() -> None:
    before = [f"the same words as ever in line {n}" for n in range(800)]
    lines = diff_lines("\n".join(before), "\n".join(line.replace("ever", "never") for line in before))
    assert (len(lines), sum(len(line.pieces) > 1 for line in lines)) == (1600, 1000)

"""Sentences: where they end in English, Japanese and code, and that nothing is lost between them."""

from __future__ import annotations

import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans, trimmed


def sentences(text: str) -> list[str]:
    return [text[slice(*span)] for span in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met J. Doe, e.g. on Monday. He left.", ["Dr. Smith met J. Doe, e.g. on Monday.", "He left."]),
        ("It costs 3.14 dollars. Really.", ["It costs 3.14 dollars.", "Really."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Wrapped lines\ngo on. New.", ["Wrapped lines\ngo on.", "New."]),
        ("A heading\n\nA paragraph", ["A heading", "A paragraph"]),
        ("Items:\n- one\n- two", ["Items:", "- one", "- two"]),
        ("Use it:\n>>> f(1)\n2", ["Use it:", ">>> f(1)\n2"]),
        ("Args.\n    :param x: the x\n    :returns: y", ["Args.", ":param x: the x", ":returns: y"]),
        ("今日は晴れ。明日は雨！本当？はい", ["今日は晴れ。", "明日は雨！", "本当？", "はい"]),
        ("「行こう。」と彼は言った。終わり。", ["「行こう。」と彼は言った。", "終わり。"]),
        ("彼は（小声で。）話した。「はい。」次。", ["彼は（小声で。）", "話した。", "「はい。」", "次。"]),
        ("see json.dumps for more", ["see json.dumps for more"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet=st.sampled_from("aA .!?。！」「\n\t#-1…\"'あ漢\r\x0c\x85\u2028")))
@example("a.\r\nB")
def test_spans_are_ordered_apart_trimmed_and_hold_every_visible_character(text: str) -> None:
    spans = sentence_spans(text)
    covered = set()
    for before, after in pairwise(spans):
        assert before.end <= after.start
    for start, end in spans:
        assert start < end and text[start:end] == text[start:end].strip()
        covered.update(range(start, end))
    assert all(character.isspace() or n in covered for n, character in enumerate(text))


@given(st.text(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_trimming_gives_exactly_what_strip_gives(text: str, a: int, b: int) -> None:
    start, end = sorted((min(a, len(text)), min(b, len(text))))
    span = trimmed(text, start, end)
    stripped = text[start:end].strip()
    assert (span is None and not stripped) or (span and text[slice(*span)] == stripped)


@pytest.mark.parametrize("text", ["." * 1_000_000, "\n " * 500_000, "。" * 1_000_000, "'" * 1_000_000, "a. " * 300_000])
def test_a_million_stops_take_linear_time(text: str) -> None:
    # A quadratic pattern would not come back within the test run.
    assert isinstance(sentence_spans(text)[-1:], list)


def test_the_first_sentences_of_real_docstrings_are_found() -> None:
    source = Path(sysconfig.get_path("stdlib"), "hashlib.py").read_text(encoding="utf-8")
    start = source.index("Hash the contents")
    first = sentence_spans(source[start : start + 400])[0]
    assert source[start : start + 400][slice(*first)] == "Hash the contents of a file-like object."
    assert isinstance(first, Span)

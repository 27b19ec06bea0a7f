from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.text.words import cut_at, joined, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann lives, here.", ["Ann", "lives", ",", "here", "."]),
        ("Müller's 3rd", ["Müller", "'", "s", "3rd"]),
        ("東京へ行く ok", ["東", "京", "へ", "行", "く", "ok"]),
        ("東京2024年", ["東", "京", "2024", "年"]),
        ("한국 사람", ["한국", "사람"]),
        ("  ", []),
    ],
)
def test_words_are_runs_of_letters_and_single_signs(text, words):
    assert [text[start:end] for start, end in words_of(text)] == words


def test_words_are_cut_where_a_span_begins_or_ends_inside():
    assert cut_at([(0, 5), (6, 9)], {0, 2, 5, 7, 8}) == [(0, 2), (2, 5), (6, 7), (7, 8), (8, 9)]


@pytest.mark.parametrize(
    ("words", "text"), [(["a", "b"], "a b"), (["東", "京"], "東京"), (["東京", "is"], "東京 is"), ([], "")]
)
def test_words_are_joined_by_spaces_where_their_script_has_them(words, text):
    assert joined(words)[0] == text


@given(st.lists(st.text(st.characters(exclude_categories=["Zs", "Cc", "Cs"]), min_size=1), max_size=8))
def test_joined_words_are_where_it_says(words):
    text, spans = joined(words)
    assert [text[start:end] for start, end in spans] == words


@given(st.text())
def test_words_are_in_order_and_hold_every_character_but_white_space(text):
    spans = words_of(text)
    inside = "".join(text[start:end] for start, end in spans)
    assert inside == "".join(text.split())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))

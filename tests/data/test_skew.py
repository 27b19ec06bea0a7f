"""Words for people are counted as whole words, in English and in Japanese, and nothing else is."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.skew import ENGLISH, JAPANESE, count_terms, groups_in, summary, term_groups


def test_every_term_is_in_one_group_and_both_languages_have_the_same_groups() -> None:
    terms = [
        term
        for table in (ENGLISH, JAPANESE)
        for groups in table.values()
        for words in groups.values()
        for term in words.split()
    ]
    assert len(terms) == len(set(terms)) == len(term_groups())
    assert {axis: set(groups) for axis, groups in ENGLISH.items()} == {
        axis: set(groups) for axis, groups in JAPANESE.items()
    }


def test_english_terms_are_lower_case_ascii_letters() -> None:
    words = [word for groups in ENGLISH.values() for words in groups.values() for word in words.split()]
    assert not [word for word in words if not re.fullmatch("[a-z]+", word)]


def test_words_count_whole_in_any_case_and_beside_any_punctuation() -> None:
    text = "She said: “She’s here”—HER sister's, not the shepherd's; he?he…“Him”　her、彼女"
    assert count_terms(text) == {"she": 2, "her": 2, "sister": 1, "he": 2, "him": 1, "彼女": 1}


@pytest.mark.parametrize("text", ["mené", "Ühe", "theres", "womenfolk", "hé", "shéhé"])
def test_part_of_a_longer_word_is_not_the_word(text: str) -> None:
    assert count_terms(text) == {}


def test_in_japanese_the_longest_word_counts() -> None:
    assert count_terms("彼女は彼を待っていた。韓国人の女性とイスラム教徒の男性。") == {
        "彼女": 1,
        "彼": 1,
        "韓国人": 1,
        "女性": 1,
        "イスラム教徒": 1,
        "男性": 1,
    }


@pytest.mark.parametrize(
    "text", ["彼岸花", "中国地方の天気", "マインドマップ", "モスクワへ", "ブラインド", "姉妹都市", "インドネシア語"]
)
def test_japanese_words_that_only_look_like_a_term_do_not_count(text: str) -> None:
    assert set(count_terms(text)) <= {"インドネシア"}
    assert "インド" not in count_terms(text)


def test_text_in_other_scripts_and_broken_text_count_nothing() -> None:
    assert count_terms("هي امرأة וגבר женщина 여자 \ud800") == {}
    assert count_terms("") == {}


_WORDS = st.lists(st.sampled_from(["she", "he", "They", "child", "Islam", "stone", "the"]), max_size=30)


@given(_WORDS, _WORDS)
def test_counts_of_two_texts_add_up_to_those_of_both(a: list[str], b: list[str]) -> None:
    first, second = " ".join(a), " ".join(b)
    assert Counter(count_terms(first)) + Counter(count_terms(second)) == Counter(count_terms(f"{first}. {second}"))


@given(_WORDS)
def test_english_counts_are_those_of_a_search_for_each_word(words: list[str]) -> None:
    text = ", ".join(words)
    expected = {term: len(re.findall(rf"\b{term}\b", text, re.IGNORECASE)) for term in term_groups() if term.isascii()}
    assert count_terms(text) == {term: count for term, count in expected.items() if count}


def test_a_summary_gives_shares_of_an_axis_and_the_most_frequent_first() -> None:
    documents = ["She and her sister met him.", "He left. 彼女は残った。"]
    counts: Counter[str] = Counter()
    mentions: Counter[str] = Counter()
    for text in documents:
        found = count_terms(text)
        counts.update(found)
        mentions.update(groups_in(found))
    made = summary(counts, mentions, len(documents))
    axes = made["axes"]
    assert isinstance(axes, dict)
    assert made["documents"] == 2
    assert list(axes) == ["gender"]
    assert axes["gender"]["total"] == 6
    assert list(axes["gender"]["groups"]) == ["female", "male", "neutral or other"]
    female = axes["gender"]["groups"]["female"]
    assert (female["count"], female["documents"]) == (4, 2)
    assert female["share"] == pytest.approx(4 / 6)
    assert female["terms"] == {"her": 1, "she": 1, "sister": 1, "彼女": 1}
    assert axes["gender"]["groups"]["neutral or other"]["count"] == 0


def test_a_set_without_any_such_word_has_no_axes() -> None:
    assert summary({})["axes"] == {}

from hypothesis import given
from hypothesis import strategies as st

from llmkit.text.ngrams import jaccard, shingles, word_tokens


def test_words_are_folded_and_punctuation_does_not_count() -> None:
    assert word_tokens("Hello, WORLD -- snake_case x2!") == ["hello", "world", "snake_case", "x2"]


def test_a_character_of_an_unspaced_script_is_a_token() -> None:
    assert word_tokens("2011年はABC社の") == ["2011", "年", "は", "abc", "社", "の"]


def test_shingles_slide_by_one_token() -> None:
    assert shingles("a b c d", 3) == {"a b c", "b c d"}


def test_short_and_wordless_texts_still_have_a_shingle() -> None:
    assert shingles("one two", 5) == {"one two"}
    assert shingles("!!! ???", 5) == {"!!!", "???"}
    assert shingles("", 5) == set()


@given(st.text(), st.integers(1, 6))
def test_a_text_is_wholly_like_itself(text: str, n: int) -> None:
    assert jaccard(shingles(text, n), shingles(text, n)) == 1.0


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_jaccard_is_symmetric_and_bounded(a: set[int], b: set[int]) -> None:
    assert jaccard(a, b) == jaccard(b, a)
    assert 0.0 <= jaccard(a, b) <= 1.0

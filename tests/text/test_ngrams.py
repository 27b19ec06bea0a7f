import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmkit.text.ngrams import jaccard, shingle_hashes, token_hashes, word_tokens


def test_words_are_folded_and_punctuation_does_not_count() -> None:
    assert word_tokens("Hello, WORLD -- snake_case x2!") == ("hello", "world", "snake_case", "x2")


def test_a_character_of_an_unspaced_script_is_a_token() -> None:
    assert word_tokens("2011年はABC社の") == ("2011", "年", "は", "abc", "社", "の")


def test_the_width_of_characters_does_not_count() -> None:
    assert word_tokens("ＡＢＣ２０１１ ｶﾅ") == word_tokens("abc2011 カナ")


def test_shingles_slide_by_one_token() -> None:
    assert len(shingle_hashes("a b c d", 3)) == 2
    assert set(shingle_hashes("b c d", 3)) < set(shingle_hashes("a b c d", 3))
    assert set(shingle_hashes("d c b", 3)).isdisjoint(shingle_hashes("a b c d", 3))


def test_short_and_wordless_texts_still_have_a_shingle() -> None:
    assert len(shingle_hashes("one two", 5)) == 1
    assert len(shingle_hashes("!!! ???", 5)) == 2
    assert len(shingle_hashes("", 5)) == 0


def test_what_is_kept_of_the_last_text_cannot_be_changed() -> None:
    assert not token_hashes("some words").flags.writeable


@given(st.text(alphabet="ab 猫ｂ\n", max_size=60), st.integers(1, 6))
def test_there_are_as_many_hashes_as_distinct_runs_of_tokens(text: str, n: int) -> None:
    """Oracle: tuples of tokens in a set."""
    tokens = word_tokens(text)
    if tokens:
        width = min(n, len(tokens))
        runs = {tokens[i : i + width] for i in range(len(tokens) - width + 1)}
        assert len(shingle_hashes(text, n)) == len(runs)


@given(st.text(), st.integers(1, 6))
def test_a_text_is_wholly_like_itself(text: str, n: int) -> None:
    assert jaccard(shingle_hashes(text, n), shingle_hashes(text, n)) == 1.0


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_jaccard_is_that_of_sets(a: set[int], b: set[int]) -> None:
    """Oracle: Python's sets."""
    ours = jaccard(np.asarray(sorted(a), np.uint64), np.asarray(sorted(b), np.uint64))
    assert ours == (len(a & b) / len(a | b) if a | b else 1.0)

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.steps.quality.measures import measure
from llmkit.data.steps.quality.repetition import DUPLICATE_SIZES, TOP_SIZES, duplicates, ngram_characters
from llmkit.data.steps.quality.words import Variant, words_of

REFRAIN = "row row row your boat\ngently down the stream\nmerrily merrily merrily merrily\nlife is but a dream"
NAMES = (
    *("dup_line_frac", "dup_line_char_frac", "dup_para_frac", "dup_para_char_frac"),
    *(f"top_{n}_gram_frac" for n in TOP_SIZES),
    *(f"dup_{n}_gram_frac" for n in DUPLICATE_SIZES),
)
# By datatrove 0.10.1: find_duplicates on the lines and paragraphs; on str.split()'s words, find_top_duplicate of
# get_n_grams and find_all_duplicate, each over len(text). Values above 1 stand as 1 here, and the last text's
# find_top_duplicate, 0.159, 0.238 and 0.381 for an n-gram that occurs once, as 0.
GOLDEN = [
    (
        f"{REFRAIN}\n\n{REFRAIN}",
        [
            *(0.5, 0.479381, 0.5, 0.494845, 0.463918, 0.474227, 0.164948),
            *(0.360825, 0.407216, 0.350515, 0.376289, 0.407216, 0.221649),
        ],
    ),
    (
        "the cat sat on the mat and the dog sat on the mat and the cow sat on the mat and the hen sat on the fence",
        [0, 0, 0, 0, 0.228571, 0.380952, 0.4, 0.266667, 0.32381, 0, 0, 0, 0],
    ),
    (
        "a b a b a b a b a b a b c a b a b a b a b a b d e f g h",
        [0, 0, 0, 0, 0.6, 0.818182, 1, 0.363636, 0.218182, 0.254545, 0.290909, 0.327273, 0.363636],
    ),
    (
        "I will not waste chalk on the board again today. " * 3 + "Then the bell rang and everybody went home.",
        [0, 0, 0, 0, 0.094737, 0.157895, 0.252632, 0.410526, 0.352632, 0.273684, 0.310526, 0.352632, 0.410526],
    ),
    ("Every word here differs, so nothing can possibly repeat itself.", [0] * 13),
]


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_measures_are_those_of_datatrove(text: str, expected: list[float]) -> None:
    values = measure(text, "en").values
    assert {name: values[name] for name in NAMES} == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-6)


def by_definition(words: list[str], n: int) -> int:
    """Oracle: read from left to right; an n-gram that was met before counts, and reading goes on behind it."""
    met: set[tuple[str, ...]] = set()
    characters = place = 0
    while place + n <= len(words):
        gram = tuple(words[place : place + n])
        if gram in met:
            characters += sum(map(len, gram))
            place += n
        else:
            met.add(gram)
            place += 1
    return characters


def top_by_definition(words: list[str], n: int) -> int:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    most = max(map(grams.count, grams), default=0)
    if most < 2:
        return 0
    first = next(gram for gram in grams if grams.count(gram) == most)
    return len(" ".join(first)) * most


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "d", "é"]), max_size=60))
def test_repeated_ngrams_are_found_as_by_definition(words: list[str]) -> None:
    found = ngram_characters(words_of(" ".join(words), Variant.SPACED))
    assert {n: found[n] for n in DUPLICATE_SIZES} == {n: by_definition(words, n) for n in DUPLICATE_SIZES}
    assert {n: found[n] for n in TOP_SIZES} == {n: top_by_definition(words, n) for n in TOP_SIZES}


@given(st.text(alphabet="あいう漢", max_size=80))
def test_in_japanese_an_ngram_of_words_is_one_of_twice_as_many_characters(text: str) -> None:
    found = ngram_characters(words_of(text, Variant.CJK))
    assert {n: found[n] for n in DUPLICATE_SIZES} == {n: by_definition(list(text), 2 * n) for n in DUPLICATE_SIZES}


@given(st.text(alphabet="กขค", max_size=120))
def test_in_thai_it_is_one_of_four_times_as_many(text: str) -> None:
    found = ngram_characters(words_of(text, Variant.UNSPACED))
    assert {n: found[n] for n in DUPLICATE_SIZES} == {n: by_definition(list(text), 4 * n) for n in DUPLICATE_SIZES}


@given(st.lists(st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=2), max_size=20))
def test_every_part_but_the_first_of_its_kind_is_a_duplicate(parts: list[str]) -> None:
    number, characters = duplicates(parts)
    assert number == len(parts) - len(set(parts))
    assert characters == sum(map(len, parts)) - sum(map(len, set(parts)))


def test_a_text_of_one_word_a_thousand_times_is_all_repetition() -> None:
    values = measure("buy " * 1000, "en").values
    assert values["top_2_gram_frac"] == 1
    assert values["dup_10_gram_frac"] > 0.7

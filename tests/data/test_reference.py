"""The difference between two sets is that of the published formulas, and survives being measured in parts."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.reference import Profile, compare, divergence, profile, profile_tokens
from llmkit.errors import DataError

ENGLISH = ["The cat sat on the mat.", "A dog chased the cat across the garden.", "Rain fell on the garden all night."]
JAPANESE = ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。"]

_TEXTS = st.lists(st.text(alphabet="ab cdé猫がいאב ", max_size=30), max_size=8)


def test_tokens_are_words_and_where_no_spaces_are_written_pairs_of_one_script() -> None:
    assert profile_tokens("Hello, WORLD!") == ["hello", "world"]
    assert profile_tokens("東京都の猫") == ["東京", "京都", "の", "猫"]
    assert profile_tokens("2011年のPython入門ガイド") == ["2011", "年", "の", "python", "入門", "ガイ", "イド"]
    assert profile_tokens("שלום עולם") == ["שלום", "עולם"]


@given(_TEXTS)
def test_a_text_alone_has_the_tokens_it_has_beside_another_script(texts: list[str]) -> None:
    for text in texts:
        assert profile_tokens(text + "。猫") == [*profile_tokens(text), "猫"]


@given(_TEXTS, _TEXTS)
def test_merged_profiles_of_parts_are_the_profile_of_the_whole(a: list[str], b: list[str]) -> None:
    merged = profile(a)
    merged.merge(profile(b))
    assert merged == profile([*a, *b])


@given(_TEXTS)
def test_a_profile_survives_json(texts: list[str]) -> None:
    made = profile(texts)
    made.languages["ja"] += 1
    assert Profile.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False))) == made


@pytest.mark.parametrize("value", [{}, {"capacity": "many"}, {**Profile().to_json(), "tokens": [1]}])
def test_what_is_no_profile_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(DataError, match="no profile"):
        Profile.from_json(value)


@settings(deadline=None)  # the first call imports scipy
@given(_TEXTS, _TEXTS)
def test_the_divergence_is_that_of_the_definition(a: list[str], b: list[str]) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    ours, theirs = profile(a), profile(b)
    if not ours.total or not theirs.total:
        assert divergence(ours, theirs) is None
        return
    tokens = sorted(ours.tokens.keys() | theirs.tokens.keys())
    p = [ours.tokens[token] / ours.total for token in tokens]
    q = [theirs.tokens[token] / theirs.total for token in tokens]
    assert divergence(ours, theirs) == pytest.approx(distance.jensenshannon(p, q, base=2) ** 2, abs=1e-9)


def test_a_set_does_not_differ_from_itself_and_wholly_from_one_in_another_language() -> None:
    assert divergence(profile(ENGLISH), profile(ENGLISH)) == 0
    assert divergence(profile(ENGLISH), profile(JAPANESE)) == pytest.approx(1)


def test_the_floor_is_about_what_two_samples_of_one_source_differ_by() -> None:
    rng = random.Random(7)
    words = [f"w{n}" for n in range(300)]
    weights = [1 / (n + 5) for n in range(300)]
    found = []
    for _ in range(10):
        a, b = (profile([" ".join(rng.choices(words, weights, k=k))]) for k in (8_000, 20_000))
        made = compare(a, b)
        found.append(made["divergence"] / made["floor"])
    assert sum(found) / len(found) == pytest.approx(1, abs=0.1)


def test_tokens_are_ranked_by_the_z_score_of_the_published_formula() -> None:
    ours, theirs = profile(["cat " * 90 + "the " * 210]), profile(["dog " * 60 + "the " * 140])
    n, m, prior = 300, 200, 0.1 * 200
    made = compare(ours, theirs)
    alpha = prior * 90 / (n + m)
    y, x = 90 + alpha, 0 + alpha
    ratio = math.log(y / (n + prior - y)) - math.log(x / (m + prior - x))
    assert [row["token"] for row in made["over"]] == ["cat"]
    assert made["over"][0]["z"] == pytest.approx(ratio / math.sqrt(1 / y + 1 / x))
    assert made["over"][0]["set"] == pytest.approx(3e5)
    assert [row["token"] for row in made["under"]] == ["dog"]


def test_what_one_set_has_more_of_the_other_has_less_of() -> None:
    a, b = profile(ENGLISH * 20), profile(["The stock market fell on rain.", *ENGLISH] * 20)
    one, other = compare(a, b), compare(b, a)
    assert one["divergence"] == pytest.approx(other["divergence"])
    assert [(row["token"], round(row["z"], 6)) for row in one["under"]] == [
        (row["token"], round(-row["z"], 6)) for row in other["over"]
    ]
    assert one["under"]


def test_memory_is_bounded_and_what_is_forgotten_is_accounted_for() -> None:
    rng = random.Random(3)
    words = [f"w{n}" for n in range(5_000)]
    weights = [1 / (n + 1) for n in range(5_000)]
    texts = [" ".join(rng.choices(words, weights, k=200)) for _ in range(200)]
    exact = Counter(word for text in texts for word in text.split())
    small = profile(texts, capacity=300)
    assert len(small.tokens) <= 600
    assert small.total == exact.total()
    assert small.short > 0
    assert all(0 <= exact[token] - small.tokens[token] <= small.short for token in exact)
    assert small.tokens.most_common(20) == exact.most_common(20)
    assert divergence(small, small) == 0


def test_lengths_are_within_five_percent_of_the_true_quantiles() -> None:
    lengths = [10, 100, 1000, 10_000, 100_000]
    made = compare(profile("x" * n for n in lengths), profile(["x"]))["lengths"]["set"]
    assert made == {
        name: pytest.approx(true, rel=0.05)
        for name, true in zip(("p5", "p25", "p50", "p75", "p95"), lengths, strict=True)
    }


def test_languages_and_scripts_are_compared_by_their_shares() -> None:
    a, b = Profile(), Profile()
    for text in JAPANESE:
        a.add(text, "ja")
    a.add("cat", "en")
    b.add("dog", "en")
    made = compare(a, b)
    assert made["languages"] == {
        "ja": {"set": pytest.approx(2 / 3), "reference": 0},
        "en": {"set": pytest.approx(1 / 3), "reference": 1},
    }
    assert next(iter(made["scripts"])) == "Hiragana"
    assert made["documents"] == {"set": 3, "reference": 1}


def test_an_empty_set_is_compared_without_a_figure_that_it_cannot_have() -> None:
    made = compare(Profile(), profile(ENGLISH))
    assert (made["divergence"], made["floor"], made["over"], made["lengths"]["set"]) == (None, None, [], {})
    json.dumps(made, allow_nan=False)

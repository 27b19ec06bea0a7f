import math
import random
import re
import string
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from llmkit.evaluation.metrics.likelihood import rolling_loglikelihoods, rolling_windows, word_count
from llmkit.evaluation.metrics.ranking import ndcg_at_k, recall_at_k, reciprocal_rank
from llmkit.evaluation.metrics.table import METRICS, metric, score_name
from llmkit.evaluation.metrics.text import exact_match, normalise_answer, token_f1

# --- rolling windows ---


def test_the_windows_are_those_of_the_field_notes():
    assert list(rolling_windows([0, 1, 2, 3, 4, 5, 6, 7], prefix=99, length=3)) == [
        ([99], [0, 1, 2]),
        ([2], [3, 4, 5]),
        ([4, 5], [6, 7]),
    ]


def test_the_last_short_window_keeps_a_long_context():
    *_, (context, continuation) = rolling_windows(list(range(11)), prefix=99, length=10)
    assert continuation == [10]
    assert context == list(range(0, 10))


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 20))
def test_every_token_is_predicted_once_from_its_true_left_context(ids, length):
    windows = list(rolling_windows(ids, prefix=-1, length=length))
    assert [token for _, continuation in windows for token in continuation] == ids
    whole = [-1, *ids]
    done = 0
    for context, continuation in windows:
        assert len(context) >= 1 and len(context) + len(continuation) <= length + 1
        done += len(continuation)
        end = done + 1
        assert [*context, *continuation] == whole[end - len(context) - len(continuation) : end]


def test_a_windowed_likelihood_is_the_sum_over_windows_in_one_call():
    calls = []

    def loglikelihood(pairs):
        calls.append(pairs)
        return [-float(len(continuation)) for _, continuation in pairs]

    assert rolling_loglikelihoods([[1] * 7, [], [2] * 3], loglikelihood, prefix=0, length=4) == [-7.0, 0, -3.0]
    assert len(calls) == 1


def test_a_window_holds_at_least_one_token():
    with pytest.raises(ValueError, match="at least one token"):
        list(rolling_windows([1], prefix=0, length=0))


@given(st.text())
def test_words_are_counted_as_in_the_harness(text):
    assert word_count(text) == len(re.split(r"\s+", text))


# --- ranking ---


@given(st.integers(2, 30), st.integers(1, 12), st.randoms(use_true_random=False))
def test_ndcg_agrees_with_scikit_learn(n, k, rng):
    grades = [rng.choice([0, 0, 1, 2, 3]) for _ in range(n)]
    if not any(grades):
        grades[rng.randrange(n)] = 1
    ranked = list(range(n))
    rng.shuffle(ranked)
    scores = np.zeros(n)
    for rank, key in enumerate(ranked):
        scores[key] = n - rank
    expected = ndcg_score([grades], [scores], k=k)
    assert ndcg_at_k(ranked, {key: float(grade) for key, grade in enumerate(grades)}, k) == pytest.approx(expected)


def test_recall_and_reciprocal_rank_agree_with_brute_force():
    rng = random.Random(0)
    for _ in range(300):
        ranked = rng.sample(range(20), 12)
        relevant = set(rng.sample(range(20), rng.randint(1, 5)))
        k = rng.randint(1, 12)
        assert recall_at_k(ranked, relevant, k) == sum(key in relevant for key in ranked[:k]) / len(relevant)
        ranks = [rank for rank, key in enumerate(ranked, start=1) if key in relevant]
        assert reciprocal_rank(ranked, relevant) == (1 / ranks[0] if ranks else 0)


# --- answers ---


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("an apple, a day", "apple day"),
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("東京タワー", "東京タワー"),
    ],
)
def test_answers_are_normalised_as_squad_does(text, same):
    assert normalise_answer(text) == same


def test_the_published_examples_of_exact_match_and_f1_hold():
    assert exact_match("The Denver Broncos.", ["Denver Broncos", "Carolina Panthers"]) == 1.0
    assert token_f1("Broncos of Denver", ["Denver Broncos"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert token_f1("the the the", ["a"]) == 1.0
    assert token_f1("", ["Denver"]) == 0.0 and token_f1("", [""]) == 1.0


def _f1_by_hand(answer: str, gold: str) -> float:
    """F1 from its definition, by crossing out one gold word for each word of the answer that has an equal."""

    def words(text):
        kept = "".join(ch for ch in text.lower() if ch not in string.punctuation)
        return list(re.sub(r"\b(a|an|the)\b", " ", kept).split())

    left, given_words, gold_words = words(gold), words(answer), words(gold)
    if not given_words or not gold_words:
        return float(given_words == gold_words)
    hits = 0
    for word in given_words:
        if word in left:
            left.remove(word)
            hits += 1
    return 2 * hits / (len(given_words) + len(gold_words))


@given(st.lists(st.sampled_from(["the", "cat", "sat,", "on", "a", "Mat!", "and", "an", "hat"]), max_size=8), st.data())
def test_token_f1_agrees_with_its_definition(words, data):
    gold = data.draw(st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat.", "A", "hat"]), min_size=1, max_size=8))
    answer, wanted = " ".join(words), " ".join(gold)
    assert token_f1(answer, [wanted]) == pytest.approx(_f1_by_hand(answer, wanted))


# --- the table ---


def test_a_cut_off_names_the_same_row():
    assert metric("recall@5") is METRICS["recall@"] and metric("recall@50") is METRICS["recall@"]
    assert score_name("perplexity") == "nll_per_token" and score_name("ndcg@10") == "ndcg@10"
    with pytest.raises(KeyError):
        metric("recall")


def test_perplexity_of_something_huge_is_infinite_and_no_error():
    assert METRICS["word_perplexity"].scale.apply(5000.0) == math.inf
    assert METRICS["word_perplexity"].scale.apply(700.0) < sys.float_info.max


def _squad_by_its_script(said: str, answers: list[str]) -> tuple[float, float]:
    """(exact match, F1) by the steps of SQuAD 2.0's evaluate-v2.0.py, one after another."""

    def normal(text: str) -> str:
        text = "".join(character for character in text.lower() if character not in set(string.punctuation))
        return " ".join(re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", text).split())

    golds = [answer for answer in answers if normal(answer)] or [""]
    exact, f1 = 0.0, 0.0
    for gold in golds:
        exact = max(exact, float(normal(gold) == normal(said)))
        wanted, given_ = (normal(text).split() if text else [] for text in (gold, said))
        same = sum((Counter(wanted) & Counter(given_)).values())
        if not wanted or not given_:
            f1 = max(f1, float(wanted == given_))
        elif same:
            precision, recall = same / len(given_), same / len(wanted)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


_PIECES = ["the", "A", "an", "red", "Red,", "fox", "1,990", "—", "東京", "theory"]
_ANSWER = st.lists(st.sampled_from(_PIECES), max_size=5)


@given(_ANSWER.map(" ".join), st.lists(_ANSWER.map(" ".join), max_size=3))
def test_exact_match_and_f1_are_those_of_the_squad_script(said, answers):
    golds = [answer for answer in answers if normalise_answer(answer)] or [""]
    assert (exact_match(said, golds), token_f1(said, golds)) == pytest.approx(_squad_by_its_script(said, answers))

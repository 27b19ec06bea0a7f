"""Abstention: evidence that separates, and a threshold that the index sets for itself."""

from __future__ import annotations

import pytest

from llmkit.answering.abstain import (
    Calibration,
    _threshold,
    calibrate,
    evidence,
    pseudo_questions,
    question_idf,
)
from llmkit.answering.offtopic import OFF_TOPIC
from llmkit.retrieval.lexical import has_unspaced
from llmkit.retrieval.search import Searcher

INSIDE = (
    "How do I compute the SHA-256 digest of a file?",
    "How can I insert into a list and keep it sorted?",
    "How do I wrap text to a given width?",
    "How do I quote a string for the shell?",
    "How do I find files that match a pattern?",
    "How do I convert a colour from RGB to HSV?",
    "How do I get the n largest items of an iterable?",
    "Is a word a Python keyword?",
    "東大寺の大仏の高さは？",
    "正倉院には何が収められていますか？",
)
OUTSIDE = (
    "What is the capital of Mongolia?",
    "Who won the 2010 football world cup?",
    "How do I train a neural network with PyTorch?",
    "How do I center a div with CSS?",
    "What are the side effects of ibuprofen?",
    "How do I file my income tax return?",
    "富士山の高さは？",
    "カレーに入れる野菜は？",
)


def test_questions_that_the_corpus_answers_pass_and_others_do_not(library) -> None:
    passed = [
        question
        for question in (*INSIDE, *OUTSIDE)
        if evidence(library.searcher, question, library.searcher.search(question)).score
        >= library.calibration.threshold
    ]
    assert set(INSIDE) <= set(passed)
    assert len(passed) <= len(INSIDE) + 1


def test_the_threshold_is_measured_and_survives_storage(library) -> None:
    measured = library.calibration
    assert 0.2 < measured.threshold < 0.7
    assert measured.answered >= 0.9 and measured.refused >= 0.9 and measured.auroc >= 0.97
    assert min(measured.questions) >= 20
    assert Calibration.from_json(measured.to_json()) == measured


def test_another_seed_gives_nearly_the_same_threshold(library) -> None:
    assert abs(calibrate(library.searcher, seed=1).threshold - library.calibration.threshold) < 0.15


def test_a_lexical_index_calibrates_on_words_alone(lexical: Searcher) -> None:
    measured = calibrate(lexical, seed=0)
    assert measured.auroc >= 0.95
    found = evidence(lexical, INSIDE[0], lexical.search(INSIDE[0]))
    assert found.cosine == 0 and found.score == found.coverage > 0


def test_coverage_is_the_idf_weighted_share_of_the_questions_terms(library) -> None:
    searcher = library.searcher
    question = "shell escaped zeppelin"
    idf = question_idf(searcher.view, question)
    assert list(idf) == ["shell", "escap", "zeppelin"] and idf["zeppelin"] == max(idf.values())
    covered = evidence(searcher, question, searcher.search(question)).coverage
    assert covered == pytest.approx((idf["shell"] + idf["escap"]) / sum(idf.values()))


def test_pseudo_questions_are_of_the_index_and_repeatable(library) -> None:
    made = pseudo_questions(library.searcher.view, 0)
    assert made == pseudo_questions(library.searcher.view, 0) != pseudo_questions(library.searcher.view, 1)
    assert all(3 <= len(each.text.split()) <= 14 for each in made)
    for each in made:
        sentence = each.chunk.text[slice(*each.sentence)].lower()
        assert sum(word in sentence for word in each.text.split()) >= 3


def test_the_built_in_questions_are_distinct_and_in_two_kinds_of_script() -> None:
    assert len(set(OFF_TOPIC)) == len(OFF_TOPIC)
    assert 25 <= sum(map(has_unspaced, OFF_TOPIC)) <= len(OFF_TOPIC) - 50


def test_the_threshold_is_the_middle_of_the_gap_or_the_best_cut() -> None:
    assert _threshold([0.6, 0.8], [0.1, 0.2]) == pytest.approx(0.4)
    assert 0.3 < _threshold([0.35, 0.5, 0.6, 0.7], [0.1, 0.2, 0.3, 0.55]) <= 0.35
    assert _threshold([], []) == 0.0

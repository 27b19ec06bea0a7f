"""Summaries without a model: held against linear algebra, and against texts whose centre anybody can see."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.generation import lexrank
from llmkit.generation.lexrank import DAMPING, centrality, cosines, summary_spans

ENGLISH = """# Notes

The committee met on Tuesday in the old town hall. The harbour bridge will be closed in May for repairs of the harbour \
bridge deck. Coffee was served at ten. Repairs of the harbour bridge cost two million euros. A dog barked outside the \
window for some time. During repairs in May buses will use the northern tunnel and not the harbour bridge. The mayor \
wore a green hat that day. After the repairs the harbour bridge will carry trams in May next year."""
JAPANESE = """会議は火曜日に行われた。五月に港の橋は修理のため閉鎖される。お茶が十時に出された。\
港の橋の修理には二百万ユーロがかかる。犬が外で吠えていた。修理の間、バスは港の橋ではなく北のトンネルを通る。市長は緑の帽子をかぶっていた。修理の後、港の橋には路面電車が走る。"""


def words(texts):
    return [text.lower().replace(".", " ").split() for text in texts]


def bigrams(texts):
    """Without those of hiragana alone, which carry the grammar."""
    pairs = [[text[n : n + 2] for n in range(len(text) - 1)] for text in texts]
    return [[pair for pair in found if not re.fullmatch("[ぁ-ん。、]+", pair)] for found in pairs]


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_centrality_is_the_stationary_distribution(n, seed):
    random = np.random.default_rng(seed)
    similarity = random.random((n, n))
    similarity = (similarity + similarity.T) / 2
    np.fill_diagonal(similarity, 0)
    similarity[0] = similarity[:, 0] = 0  # one that is like no other
    sums = similarity.sum(axis=1, keepdims=True)
    steps = np.array([row / total if total else np.full(n, 1 / n) for row, total in zip(similarity, sums, strict=True)])
    walk = (1 - DAMPING) / n + DAMPING * steps
    values, vectors = np.linalg.eig(walk.T)
    expected = np.real(vectors[:, np.argmax(np.real(values))])
    assert np.allclose(centrality(similarity), expected / expected.sum(), atol=1e-8)


def test_cosines_are_those_of_tf_idf():
    found = cosines([["a", "b"], ["a", "a", "c"], ["d"], []])
    idf = {"a": np.log(1 + 4 / 2), "b": np.log(5), "c": np.log(5)}
    first, second = np.array([idf["a"], idf["b"], 0]), np.array([2 * idf["a"], 0, idf["c"]])
    assert np.isclose(found[0, 1], first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    assert np.allclose(np.diag(found), 0) and found[2, 0] == found[3, 1] == 0


@pytest.mark.parametrize(
    ("text", "terms", "about"), [(ENGLISH, words, "harbour bridge"), (JAPANESE, bigrams, "港の橋")]
)
def test_what_most_sentences_are_about_is_taken_word_for_word_and_in_order(text, terms, about):
    spans = summary_spans(text, terms)
    said = [text[slice(*span)] for span in spans]
    assert len(said) == 3 and all(about in each for each in said)
    assert spans == sorted(spans) and len(set(spans)) == 3


def test_a_sentence_is_not_said_twice():
    text = " ".join(
        ["The harbour bridge will be closed in May."] * 6 + ["Trams will cross the harbour bridge in June."]
    )
    said = {text[slice(*span)] for span in summary_spans(text, words, most=2)}
    assert len(said) == 2


def test_headings_tables_and_figures_are_no_sentences():
    assert summary_spans("# Title\n\n| 1 | 2 |\n\n1,000 2,000 3,000 4,000 5,000.", words) == []
    assert summary_spans("", words) == []


def test_a_long_text_is_ranked_in_parts(monkeypatch):
    monkeypatch.setattr(lexrank, "MOST_AT_ONCE", 10)
    text = " ".join(f"Item{n} word{n} part{n} thing{n} names{n % 7} bridges{n % 3}." for n in range(95))
    spans = summary_spans(text, words)
    assert len(spans) == 8 and spans == sorted(spans)


@given(st.text(max_size=300), st.integers(1, 5))
def test_whatever_the_text_the_summary_stands_in_it(text, most):
    spans = summary_spans(text, bigrams, most=most)
    assert len(spans) <= most
    assert all(text[slice(*span)].strip() for span in spans)

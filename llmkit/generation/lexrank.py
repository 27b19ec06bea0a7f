"""A summary without a language model: the sentences of a text that most of its others are like, word for word.

LexRank (Erkan and Radev 2004, "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization"): sentences
are vectors of TF-IDF, with IDF over the text itself; the weighted graph of their cosines is walked at random, and the
most visited sentences are taken. This is its continuous form, which needs no threshold, without the paper's steps from
a sentence to itself: by them one that is like no other is visited as often as the average of those that are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmkit.generation.extract import Terms
from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans

DAMPING = 0.85
"""Share of steps along the graph; the paper jumps with .15."""
TOO_ALIKE = 0.7
"""Cosine from which a sentence says what one that was taken says."""
MOST_AT_ONCE = 800
"""Sentences of one graph (it has a cell for every two); a longer text is ranked in parts, and then their best."""
FEW, MANY = 3, 8
"""A summary has a tenth of the sentences, within these."""
SHORTEST, LONGEST = 12, 350
"""Code points of a sentence that may be taken. Without the upper one, novels are summed up in their longest periods:
a cosine grows with what two sentences may share."""

Floats = NDArray[np.float64]


def summary_spans(text: str, terms: Terms, *, most: int | None = None) -> list[Span]:
    """The spans of the sentences that make up a summary, in the order of the text.

    Args:
        terms: texts to the terms of each.
        most: sentences; a tenth of the text's, 3 to 8, where it is not said.
    """
    spans = [span for span in sentence_spans(text) if _is_sentence(text[slice(*span)])]
    wanted = most or min(MANY, max(FEW, round(len(spans) / 10)))
    while len(spans) > MOST_AT_ONCE:
        parts = [spans[at : at + MOST_AT_ONCE] for at in range(0, len(spans), MOST_AT_ONCE)]
        each = max(wanted, MOST_AT_ONCE // (2 * len(parts)))
        fewer = [span for part in parts for span in _best(text, part, terms, each)]
        if len(fewer) == len(spans):
            break
        spans = fewer
    return _best(text, spans, terms, wanted)


def centrality(similarity: Floats, *, damping: float = DAMPING) -> Floats:
    """How often a random walk is at each node, shape (n,), sums to 1.

    Args:
        similarity: not negative, shape (n, n). From a row of zeros the walk goes anywhere.
    """
    n = len(similarity)
    sums = similarity.sum(axis=1, keepdims=True)
    steps = np.where(sums > 0, similarity / np.where(sums > 0, sums, 1), 1 / n)
    visits = np.full(n, 1 / n)
    for _ in range(200):
        new = (1 - damping) / n + damping * visits @ steps
        if np.abs(new - visits).sum() < 1e-10:
            return np.asarray(new)
        visits = new
    return visits


def cosines(found: Sequence[Sequence[str]]) -> Floats:
    """Cosines of TF-IDF vectors of texts that are given as their terms, shape (n, n); 0 on the diagonal."""
    frequency = Counter(term for terms in found for term in set(terms))
    number = {term: at for at, term in enumerate(frequency)}
    vectors = np.zeros((len(found), max(1, len(number))))
    for row, terms in enumerate(found):
        for term, count in Counter(terms).items():
            vectors[row, number[term]] = count * math.log(1 + len(found) / frequency[term])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1)
    similarity = np.asarray(vectors @ vectors.T)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def _best(text: str, spans: Sequence[Span], terms: Terms, most: int) -> list[Span]:
    if len(spans) <= most:
        return list(spans)
    similarity = cosines(terms([text[slice(*span)] for span in spans]))
    taken: list[int] = []
    for place in np.argsort(-centrality(similarity), kind="stable"):
        if all(similarity[place, other] < TOO_ALIKE for other in taken):
            taken.append(int(place))
        if len(taken) == most:
            break
    return [spans[place] for place in sorted(taken)]


def _is_sentence(text: str) -> bool:
    letters = sum(map(str.isalpha, text))
    return SHORTEST <= len(text) <= LONGEST and letters * 2 > len(text)

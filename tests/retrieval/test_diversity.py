"""Maximal marginal relevance against its definition, written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmkit.retrieval.diversity import maximal_marginal_relevance


def by_definition(relevance: list[float], alike: np.ndarray, diversity: float, most: int) -> list[int]:
    """Carbonell and Goldstein 1998, formula 1, with lambda = 1 - diversity."""
    chosen: list[int] = []
    while len(chosen) < min(most, len(relevance)):
        best, value = -1, -np.inf
        for n, score in enumerate(relevance):
            if n in chosen:
                continue
            likeness = max((float(alike[n][other]) for other in chosen), default=0.0)
            marginal = score if not chosen else (1 - diversity) * score - diversity * likeness
            if marginal > value:
                best, value = n, marginal
        chosen.append(best)
    return chosen


@given(
    st.lists(st.integers(0, 64), min_size=1, max_size=9),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    st.integers(1, 10),
)
def test_it_chooses_as_defined(scores: list[int], seed: int, diversity: float, most: int) -> None:
    relevance = [score / 64 for score in scores]  # exact in binary: ties are ties in both
    alike = np.random.default_rng(seed).integers(0, 64, (len(scores), len(scores))).astype(np.float32) / 64
    alike = np.maximum(alike, alike.T)
    found = maximal_marginal_relevance(relevance, alike, diversity=diversity, most=most)
    assert found == by_definition(relevance, alike, diversity, most)
    assert len(set(found)) == len(found) == min(most, len(scores))


def test_without_diversity_it_is_the_order_of_relevance() -> None:
    relevance = [0.1, 0.9, 0.5, 0.7]
    ones = np.ones((4, 4), np.float32)
    assert maximal_marginal_relevance(relevance, ones, diversity=0, most=4) == [1, 3, 2, 0]
    assert maximal_marginal_relevance([], np.zeros((0, 0), np.float32), diversity=0.5, most=3) == []

"""Choosing hits that differ from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def maximal_marginal_relevance(
    relevance: Sequence[float], similarity: NDArray[np.float32], *, diversity: float, most: int
) -> list[int]:
    """The items chosen one after the other, each by its relevance less its likeness to those before it.

    With lambda = 1 - `diversity`, each is the one with the greatest
    `lambda * relevance - (1 - lambda) * max(similarity to the chosen)` (Carbonell and Goldstein 1998, "The Use of MMR,
    Diversity-Based Reranking"). Nothing is chosen before the first, which is therefore the most relevant whatever the
    diversity. Of equal ones the earlier is chosen.

    Args:
        relevance: of each item to the question, on the scale of the similarities.
        similarity: shape (items, items).
        diversity: 0 (relevance alone) to 1 (likeness alone).
        most: items to choose.
    """
    if not len(relevance):
        return []
    worth = np.asarray(relevance, dtype=np.float64)
    chosen = [int(worth.argmax())]
    left = np.ones(len(worth), dtype=bool)
    left[chosen[0]] = False
    nearest = similarity[chosen[0]].astype(np.float64)
    while len(chosen) < most and left.any():
        marginal = np.where(left, (1 - diversity) * worth - diversity * nearest, -np.inf)
        best = int(marginal.argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, similarity[best])
    return chosen

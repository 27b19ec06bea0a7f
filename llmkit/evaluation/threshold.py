"""When to leave a question unanswered: the threshold that does best on questions with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 20
"""Of each kind, from which on an AUROC says anything: with 20 and 20 its standard error is still .08 (Hanley and McNeil
1982, for an area of .7)."""


def auroc(above: Sequence[float], below: Sequence[float]) -> float:
    """Probability that one of `above` is greater than one of `below`, ties counted half (Mann and Whitney 1947).

    .5 where there is none of either.
    """
    if not len(above) or not len(below):
        return 0.5
    order = np.sort(np.asarray(below, dtype=np.float64))
    less = np.searchsorted(order, above, "left")
    up_to = np.searchsorted(order, above, "right")
    return float((less + up_to).sum() / (2 * len(above) * len(below)))


def best_threshold(no_answer: Sequence[float], answered: Sequence[float], unanswered: Sequence[float]) -> float:
    """The t at which answering where `no_answer <= t`, and not elsewhere, scores most: SQuAD 2.0's `best_f1_thresh`.

    Among equals it is the one nearest to 0, and between two questions the middle, so that it is not one question's
    own score.

    Args:
        no_answer: of each question, how much the reader would rather not answer; infinite where it cannot.
        answered: each question's score if it is answered.
        unanswered: if it is not.
    """
    values = np.asarray(no_answer, dtype=np.float64)
    gains = np.asarray(answered, dtype=np.float64) - np.asarray(unanswered, dtype=np.float64)
    finite = np.isfinite(values)
    values, gains = values[finite], gains[finite]
    if not len(values):
        return 0.0
    distinct, at = np.unique(values, return_inverse=True)
    # What is gained by answering the first 0, 1, 2, ... of them; rounded, so that equals are equal.
    sums = np.round(np.concatenate([[0.0], np.cumsum(np.bincount(at, weights=gains))]), 9)
    between = np.concatenate([[distinct[0] - 1.0], (distinct[1:] + distinct[:-1]) / 2, [distinct[-1] + 1.0]])
    best = np.flatnonzero(sums == sums.max())
    return float(between[best[np.argmin(np.abs(between[best]))]])

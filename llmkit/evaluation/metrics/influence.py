"""Metrics of a whole corpus as means over items: each item's influence on the metric, by leaving it out.

BLEU, macro F1 or MCC are no means of items' scores. Their jackknife pseudo-values are made so that the mean over the
items is the metric itself, and the standard error of that mean is the jackknife's (Efron and Stein, 1981). All that
is computed of items' scores, intervals, paired differences, tests, then holds for these metrics too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def influences(
    counts: Counts, metric: Callable[[Counts], float], kinds: Sequence[Hashable] | None = None
) -> list[float]:
    """Values, one for each item, whose mean is `metric(counts.sum(0))`.

    Args:
        counts: shape (items, statistics): what the metric is made of, additive over items.
        kinds: items of the same kind have the same counts, and are computed once.
    """
    total = counts.sum(axis=0)
    whole, n = metric(total), len(counts)
    if n == 1:
        return [whole]
    known: dict[Hashable, float] = {}
    without = []
    for number, row in enumerate(counts):
        kind = kinds[number] if kinds is not None else row.tobytes()
        if kind not in known:
            known[kind] = metric(total - row)
        without.append(known[kind])
    mean = sum(without) / n
    return [whole + (n - 1) * (mean - each) for each in without]

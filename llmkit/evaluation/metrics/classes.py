"""Metrics of a confusion matrix: rows are the right classes, columns what was said."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from llmkit.evaluation.metrics.influence import Counts, influences


def macro_f1(confusion: Counts) -> float:
    """The plain mean of the classes' F1; a class that is nowhere, neither right nor said, does not count."""
    matrix = confusion.reshape(_side(confusion), -1)
    right, said, hits = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    there = (right + said) > 0
    return float(np.mean(2 * hits[there] / (right + said)[there])) if there.any() else 0.0


def mcc(confusion: Counts) -> float:
    """Matthews' correlation for any number of classes (Gorodkin, 2004); 0 where it has no value."""
    matrix = confusion.reshape(_side(confusion), -1)
    right, said, n = matrix.sum(1), matrix.sum(0), matrix.sum()
    above = n * np.trace(matrix) - right @ said
    below = (n * n - said @ said) * (n * n - right @ right)
    return float(above / math.sqrt(below)) if below > 0 else 0.0


def class_influences(gold: Sequence[int], said: Sequence[int], classes: int) -> dict[str, list[float]]:
    """Per item, `macro_f1` and `mcc` as `influences`."""
    counts = np.zeros((len(gold), classes * classes))
    counts[np.arange(len(gold)), np.array(gold) * classes + np.array(said)] = 1
    kinds = list(zip(gold, said, strict=True))
    return {"macro_f1": influences(counts, macro_f1, kinds), "mcc": influences(counts, mcc, kinds)}


def _side(confusion: Counts) -> int:
    return math.isqrt(confusion.size)

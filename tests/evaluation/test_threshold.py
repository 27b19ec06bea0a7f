from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.threshold import auroc, best_threshold

ROWS = st.lists(
    st.tuples(st.floats(-20, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30
)


def scored(rows, threshold):
    return sum(answered if value <= threshold else unanswered for value, answered, unanswered in rows)


def official(rows):
    """SQuAD 2.0's find_best_thresh: the best sum over thresholds at the questions' own scores, and over none."""
    current = best = sum(unanswered for _, _, unanswered in rows)
    for _, answered, unanswered in sorted(rows, key=lambda row: row[0]):
        current += answered - unanswered
        best = max(best, current)
    return best


@given(ROWS)
def test_no_threshold_scores_more(rows):
    distinct = {value: (value, answered, float(unanswered)) for value, answered, unanswered in rows}
    rows = list(distinct.values())
    found = best_threshold(*zip(*rows, strict=True))
    assert math.isfinite(found)
    # Two scores may be so near to each other that nothing is between them.
    gaps = sorted(distinct)
    if all(right - left > 1e-6 for left, right in itertools.pairwise(gaps)):
        assert scored(rows, found) == pytest.approx(official(rows))


def test_it_lies_between_two_questions_and_nearest_to_nothing():
    assert best_threshold([-3.0, 1.0], [1.0, 0.0], [0.0, 1.0]) == -1.0
    assert best_threshold([-3.0, 5.0], [1.0, 1.0], [1.0, 1.0]) == 1.0


def test_a_question_that_cannot_be_answered_has_no_say():
    assert best_threshold([math.inf, -1.0], [0.0, 1.0], [1.0, 0.0]) == 0.0
    assert best_threshold([math.inf], [0.0], [1.0]) == 0.0


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_auroc_is_the_share_of_pairs_in_order(above: list[int], below: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    assert auroc(above, below) == pytest.approx(sum(pairs) / len(pairs) if pairs else 0.5)

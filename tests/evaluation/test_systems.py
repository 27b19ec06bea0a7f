"""Several systems side by side: Holm's correction against closed testing, and what a thousand questions cost."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import task_result
from llmkit.evaluation.result import ItemRecord, Score
from llmkit.evaluation.stats import holm
from llmkit.evaluation.systems import cost_of_compute, cost_of_tokens, pairwise, seconds_per_question


def qa(scores, *, digest="d", latency=0.5):
    records = [
        ItemRecord(
            id=str(number),
            cluster=str(number),
            scores={"exact_match": Score(value=value), "latency": Score(value=latency)},
        )
        for number, value in enumerate(scores)
    ]
    return task_result("qa", "qa", ("exact_match", "latency_p50"), records, digest=digest)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_is_closed_testing_with_bonferroni(p_values):
    indices = range(len(p_values))
    families = list(chain.from_iterable(combinations(indices, size) for size in range(1, len(p_values) + 1)))
    expected = [
        max(min(1.0, len(family) * min(p_values[i] for i in family)) for family in families if each in family)
        for each in indices
    ]
    assert holm(p_values) == pytest.approx(expected, rel=1e-12)


def test_every_two_systems_are_compared_and_only_what_is_left_after_the_correction_is_significant():
    good, poor = [1.0] * 40, [0.0] * 40
    slight = [1.0] * 34 + [0.0] * 6  # McNemar 0 against 6: p = 1/32, times 3 and above 0.05 only for the largest of p
    pairs, notes = pairwise({"base": [qa(poor)], "lora": [qa(slight)], "both": [qa(good)]})
    found = {(pair.first, pair.second): pair for pair in pairs}
    assert set(found) == {("base", "lora"), ("base", "both"), ("lora", "both")}
    assert {pair.metric for pair in pairs} == {"exact_match"}, "times are not tested"
    assert found["base", "both"].difference.value == 1 and found["base", "both"].significant
    last = found["lora", "both"]
    assert last.difference.p_value == pytest.approx(2 / 64) and last.adjusted_p == pytest.approx(2 / 64)
    assert notes == []


def test_a_difference_that_is_significant_alone_need_not_be_among_several():
    base, other = [0.0] * 40, [1.0] * 6 + [0.0] * 34
    alone, _ = pairwise({"a": [qa(base)], "b": [qa(other)]})
    assert alone[0].significant
    several, _ = pairwise({"a": [qa(base)], "b": [qa(other)], "c": [qa(base)]})
    assert not any(pair.significant for pair in several)
    assert next(p for p in several if (p.first, p.second) == ("a", "b")).adjusted_p == pytest.approx(3 * 2 / 64)


def test_systems_that_were_measured_on_other_items_are_not_compared():
    with pytest.raises(DataError, match="not comparable"):
        pairwise({"a": [qa([1, 0])], "b": [qa([1, 0], digest="other")]})


def test_a_thousand_questions_cost_their_seconds_at_the_price_of_an_hour():
    result = qa([1, 0, 1], latency=1.8)
    assert seconds_per_question(result) == pytest.approx(1.8)
    assert cost_of_compute(result, 2.0) == pytest.approx(1.0)  # 1,800 seconds: half an hour
    assert cost_of_compute(result, None) is None


def test_the_cost_of_tokens_needs_both_prices_and_counted_tokens():
    assert cost_of_tokens((3000, 500), 10, (1.0, 2.0)) == pytest.approx(0.4)
    assert cost_of_tokens((3000, 500), 10, (1.0, None)) is None
    assert cost_of_tokens((0, 0), 10, (1.0, 2.0)) is None, "an endpoint that counts no tokens is not free"
    assert cost_of_tokens((3000, 500), 0, (1.0, 2.0)) is None

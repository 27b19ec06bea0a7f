"""Expected spans are those that seqeval 1.2.2's `get_entities` gives (its ends are inclusive)."""

from __future__ import annotations

import pytest

from llmkit.evaluation.aggregate import task_result
from llmkit.evaluation.compare import compare
from llmkit.evaluation.metrics.spans import marks_spans, spans_of
from llmkit.evaluation.result import ItemRecord, Score


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", set()),
        ("", set()),
        ("B-X I-X O", {("X", 0, 2)}),
        ("B-X B-X", {("X", 0, 1), ("X", 1, 2)}),
        ("I-X I-X O I-X", {("X", 0, 2), ("X", 3, 4)}),
        ("B-X I-Y", {("X", 0, 1), ("Y", 1, 2)}),
        ("O I-X I-Y", {("X", 1, 2), ("Y", 2, 3)}),
        ("B-X I-X E-X I-X", {("X", 0, 3), ("X", 3, 4)}),
        ("S-X S-X I-X", {("X", 0, 1), ("X", 1, 2), ("X", 2, 3)}),
        ("B-A-B I-A-B", {("A-B", 0, 2)}),
    ],
)
def test_tags_mark_the_spans_that_seqeval_reads(tags, spans):
    assert spans_of(tags.split()) == spans


def test_bilou_is_read_as_bioes():
    assert spans_of(["U-X", "B-Y", "I-Y", "L-Y", "U-Y"]) == spans_of(["S-X", "B-Y", "I-Y", "E-Y", "S-Y"])


def test_tags_without_prefixes_mark_no_spans():
    assert marks_spans(["O", "B-X", "I-X"])
    assert not marks_spans(["NOUN", "VERB"])
    assert not marks_spans(["O"])
    assert not marks_spans(["O", "B-X", "X"])


def record(number, found, weight):
    return ItemRecord(
        id=str(number), cluster=str(number), scores={"span_f1": Score(value=2.0 * found, weight=float(weight))}
    )


def test_span_f1_of_two_systems_is_compared_though_each_says_another_number_of_spans():
    before = [record(n, 0, 2) for n in range(20)]
    after = [record(n, 2, 4) if n % 4 else record(n, 1, 3) for n in range(20)]
    old, new = (task_result("t", "k", ["span_f1"], items, digest="d") for items in (before, after))
    difference = compare(new, old).differences["span_f1"]
    # 15 x 2 + 5 x 1 spans found, of 15 x 4 + 5 x 3 said and there together
    assert new.metrics["span_f1"].value == pytest.approx(2 * 35 / 75)
    assert difference.value == pytest.approx(2 * 35 / 75)
    assert difference.ci[0] > 0.5
    assert len(difference.better) == 20


def test_an_example_with_nothing_to_find_is_worse_where_something_is_said():
    before = [record(0, 1, 2), record(1, 0, 0), record(2, 1, 2)]
    after = [record(0, 1, 2), record(1, 0, 1), record(2, 1, 2)]
    old, new = (task_result("t", "k", ["span_f1"], items, digest="d") for items in (before, after))
    assert compare(new, old).differences["span_f1"].worse == ("1",)


def test_rmse_and_r2_are_those_of_all_items_together():
    gold, said = [1.0, 2.0, 5.0, 9.0], [1.5, 2.0, 4.0, 7.0]
    mean = sum(gold) / 4
    records = [
        ItemRecord(
            id=str(n),
            cluster=str(n),
            scores={
                "squared_error": Score(value=(s - g) ** 2),
                "r2": Score(value=(g - mean) ** 2 - (s - g) ** 2, weight=(g - mean) ** 2),
            },
        )
        for n, (g, s) in enumerate(zip(gold, said, strict=True))
    ]
    found = task_result("t", "k", ["rmse", "r2"], records, digest="d").metrics
    assert found["rmse"].value == pytest.approx((5.25 / 4) ** 0.5)
    assert found["r2"].value == pytest.approx(1 - 5.25 / 38.75)
    assert found["rmse"].ci[0] >= 0
    assert found["r2"].ci[1] <= 1

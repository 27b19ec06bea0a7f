import random

import pytest
from pydantic import ValidationError

from llmkit.evaluation.metrics.table import metric
from llmkit.evaluation.tasks import KINDS, RetrievalTask, Suite, draw, metrics_of

SUITE = [
    {"kind": "loss", "data": "corpus", "limit": 50},
    {"id": "wiki", "kind": "perplexity", "data": "corpus", "split": "validation"},
    {"kind": "retrieval", "cutoffs": [1, 20]},
    {"kind": "qa", "data": "questions.jsonl"},
    {"kind": "rag"},
    {"kind": "multiple_choice", "data": "q.jsonl"},
    {"kind": "cloze", "data": "q.jsonl"},
    {"kind": "generation", "data": "q.jsonl", "metrics": ["exact_match", "bleu", "rougeL"]},
    {"kind": "classification", "data": "q.csv"},
    {"kind": "spans", "data": "q.json"},
    {"kind": "pseudo_perplexity", "data": "corpus"},
    {"kind": "crows_pairs", "data": "pairs.csv"},
    {"kind": "bbq", "data": "bbq.jsonl"},
    {"kind": "memorisation"},
    {"kind": "pii_leakage"},
    {"kind": "injection", "data": "mails.jsonl"},
    {"kind": "judge", "data": "q.jsonl"},
]


def test_a_suite_is_a_list_of_tasks_whose_ids_default_to_their_kinds():
    suite = Suite.model_validate(SUITE)
    assert [task.id for task in suite.root][:5] == ["loss", "wiki", "retrieval", "qa", "rag"]
    assert suite.root[2] == RetrievalTask(kind="retrieval", id="retrieval", cutoffs=(1, 20))


def test_every_metric_that_a_suite_promises_is_in_the_table_of_metrics():
    promised = metrics_of(Suite.model_validate(SUITE))
    assert promised["retrieval"] == [
        "recall@1",
        "recall@20",
        "mrr",
        "ndcg@20",
        "span_iou",
        "latency_p50",
        "latency_p95",
    ]
    for names in promised.values():
        for name in names:
            assert metric(name).better in ("higher", "lower")


def test_every_kind_is_in_the_suite_above():
    assert {task["kind"] for task in SUITE} == set(KINDS)


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ([], "at least 1 item"),
        ([{"kind": "lose", "data": "x"}], "'loss', 'perplexity', 'retrieval', 'qa'"),
        ([{"kind": "loss", "data": "x", "limits": 3}], "Extra inputs are not permitted"),
        ([{"kind": "loss"}], "Field required"),
        ([{"kind": "qa", "data": "a"}, {"kind": "qa", "data": "b"}], "'qa' occurs more than once"),
        ([{"kind": "qa", "data": "a", "id": "a.b"}], "should match pattern"),
        ([{"kind": "retrieval", "cutoffs": [0]}], "greater than or equal to 1"),
        ([{"kind": "retrieval", "cutoffs": []}], "at least 1 item"),
        ([{"kind": "loss", "data": "x", "limit": 0}], "greater than or equal to 1"),
    ],
)
def test_a_suite_that_cannot_be_is_refused(suite, message):
    with pytest.raises(ValidationError, match=message):
        Suite.model_validate(suite)


def test_drawing_keeps_the_order_and_does_not_depend_on_it():
    items = [f"item{n}" for n in range(100)]
    drawn = draw(items, 20, id_of=str)
    assert drawn == sorted(drawn, key=items.index) and len(drawn) == 20
    shuffled = random.Random(0).sample(items, 100)
    assert set(draw(shuffled, 20, id_of=str)) == set(drawn)
    assert set(draw(items, 20, id_of=str, seed=1)) != set(drawn)


def test_drawing_from_grown_data_keeps_most_of_the_draw():
    items = [f"item{n}" for n in range(100)]
    before = set(draw(items, 20, id_of=str))
    after = set(draw([*items, *(f"new{n}" for n in range(10))], 20, id_of=str))
    assert len(before & after) >= 15


def test_drawing_without_a_limit_or_from_few_takes_all():
    assert draw(["a", "b"], None, id_of=str) == draw(["a", "b"], 5, id_of=str) == ["a", "b"]

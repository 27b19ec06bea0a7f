import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError, RunError
from llmkit.evaluation.kinds.rag import RagAnswer, RagItem, contained, evaluate_rag
from llmkit.evaluation.kinds.retrieval import Place, evaluate_retrieval, span_iou
from llmkit.evaluation.questions import Row, rag_items
from llmkit.text.document import Span

GOLD = Place("a.txt", Span(10, 30))
NEAR, FAR = Place("a.txt", Span(12, 40)), Place("b.txt", Span(12, 40))


def evaluated(pairs):
    """Items with what is answered to them; questions are the ids."""
    items = [item for item, _ in pairs]
    said = {item.question: answer for item, answer in pairs}
    return evaluate_rag("rag", items, lambda question: said[question])


def item(number, answers=("Rollo",), relevant=(GOLD,)):
    return RagItem(str(number), f"q{number}", answers, relevant)


def values(result):
    return {name: estimate.value for name, estimate in result.metrics.items()}


def test_each_metric_is_of_the_items_that_have_a_part_in_it():
    result = evaluated(
        [
            (item(1), RagAnswer("Rollo founded it.", False, "Rollo", (NEAR, FAR), 2, 0, 0.9)),
            (item(2), RagAnswer("Nobody knows.", False, "", (FAR,), 3, 1, 0.8)),
            (item(3), RagAnswer("", True, confidence=0.3)),
            (item(4, ("",), ()), RagAnswer("", True, confidence=0.1)),
            (item(5, ("",), ()), RagAnswer("Blue.", False, "", (FAR,), 1, 1, 0.5)),
        ]
    )
    found = values(result)
    assert found["exact_match"] == pytest.approx((1 + 0 + 0 + 1 + 0) / 5)
    assert found["answer_contained"] == pytest.approx(1 / 3)
    assert found["citation_precision"] == pytest.approx(1 / 3)  # of three citations to questions with gold places
    assert found["citation_recall"] == pytest.approx(1 / 3)
    assert found["unsupported_share"] == pytest.approx(2 / 6)
    assert found["abstention_precision"] == pytest.approx(1 / 2)
    assert found["abstention_recall"] == pytest.approx(1 / 2)
    assert found["abstention_auroc"] == pytest.approx(5 / 6)
    assert result.metrics["abstention_recall"].n == 2 and result.metrics["answer_contained"].n == 3
    stored = result.items[0].detail
    assert (stored["question"], stored["answer"], stored["gold"]) == ("q1", "Rollo", ["Rollo"])
    assert stored["citations"] == [["a.txt", 12, 40], ["b.txt", 12, 40]]


def test_what_cannot_be_measured_is_left_out_and_said():
    result = evaluated([(item(n, ()), RagAnswer("x", False, "", (NEAR,), 1)) for n in range(3)])
    assert "citation_recall" in result.metrics
    assert not {"exact_match", "abstention_recall", "abstention_precision", "abstention_auroc"} & set(result.metrics)
    assert sum("exact_match" in note for note in result.notes) == 1


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=12),
    st.lists(st.integers(0, 6), min_size=2, max_size=12),
)
def test_the_auroc_is_of_all_pairs_and_its_error_is_delongs(above, below):
    pairs = [(item(f"a{n}"), RagAnswer("x", False, confidence=float(c))) for n, c in enumerate(above)]
    pairs += [(item(f"b{n}", ("",), ()), RagAnswer("x", False, confidence=float(c))) for n, c in enumerate(below)]
    got = evaluated(pairs).metrics["abstention_auroc"]
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in below] for a in above])
    assert got.value == pytest.approx(wins.mean())
    deviations = [*(wins.mean(axis=1) - wins.mean()) / len(above), *(wins.mean(axis=0) - wins.mean()) / len(below)]
    # An item that deviates by nothing is no item of the metric, which changes the factor n / (n - 1) only.
    n = got.n
    assert got.stderr == pytest.approx(math.sqrt(n / (n - 1) * sum(d * d for d in deviations)), abs=1e-9)


def test_the_auroc_agrees_with_scikit_learn():
    from sklearn.metrics import roc_auc_score

    pick = np.random.default_rng(0)
    labels, scores = pick.integers(2, size=60), pick.normal(size=60).round(1)
    pairs = [
        (item(n, ("x",) if label else ("",), (GOLD,) if label else ()), RagAnswer("x", False, confidence=float(s)))
        for n, (label, s) in enumerate(zip(labels, scores, strict=True))
    ]
    assert values(evaluated(pairs))["abstention_auroc"] == pytest.approx(roc_auc_score(labels, scores))


def test_an_answer_that_errors_is_counted():
    def answer(question):
        if question == "q1":
            raise RunError("the endpoint failed")
        return RagAnswer("Rollo", False)

    result = evaluate_rag("rag", [item(1), item(2)], answer)
    assert [failure.id for failure in result.failures] == ["1"] and len(result.items) == 1


def test_an_item_without_answer_and_source_is_an_error():
    with pytest.raises(DataError, match="neither answer nor source"):
        evaluate_rag("rag", [RagItem("1", "q")], lambda question: RagAnswer("", True))


def test_a_gold_answer_stands_in_what_was_said_as_whole_words():
    assert contained("It was the Duke, Rollo.", ["duke rollo"]) == 1.0
    assert contained("Rollover", ["Rollo"]) == 0.0
    assert contained("首都は東京です。", ["東京"]) == 1.0


def test_a_record_needs_an_answer_or_a_source():
    rows = [
        Row("q:1", {"question": "a", "answer": "x", "source": "a.txt", "start": 1, "end": 4}),
        Row("q:2", {"question": "b", "answers": []}),
        Row("q:3", {"question": "c", "relevant": [{"source": "t.csv", "record": "2"}]}),
    ]
    first, second, third = rag_items(rows)
    assert first == RagItem("1", "a", ("x",), (Place("a.txt", Span(1, 4)),), "a.txt")
    assert not second.answerable and third.relevant == (Place("t.csv", None, "2"),)
    with pytest.raises(DataError, match="neither an answer nor a source"):
        rag_items([Row("q:1", {"question": "a"})])


spans = st.tuples(st.integers(0, 30), st.integers(1, 30)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


@settings(deadline=None)  # the machine may be busy
@given(spans, spans)
def test_span_iou_is_that_of_the_sets_of_code_points(first, second):
    a, b = set(range(*first)), set(range(*second))
    assert span_iou(Place("s", first), Place("s", second)) == pytest.approx(len(a & b) / len(a | b))
    assert span_iou(Place("s", first), Place("t", second)) == 0.0


def test_the_best_fit_within_the_cut_off_counts_and_whole_sources_have_none():
    from llmkit.evaluation.kinds.retrieval import RetrievalItem

    items = [RetrievalItem("1", "q", (GOLD,)), RetrievalItem("2", "q", (Place("a.txt"),))]
    places = [Place("a.txt", Span(0, 40)), Place("a.txt", Span(10, 30))]
    result = evaluate_retrieval("r", items, lambda question: places, cutoffs=(1,))
    assert result.metrics["span_iou"].value == 0.5 and result.metrics["span_iou"].n == 1
    result = evaluate_retrieval("r", items, lambda question: places, cutoffs=(2,))
    assert result.metrics["span_iou"].value == 1.0


def test_records_of_one_source_are_told_apart():
    from llmkit.evaluation.kinds.retrieval import answers

    gold = Place("t.csv", Span(0, 10), "2")
    assert answers(Place("t.csv", Span(0, 10), "2"), gold)
    assert not answers(Place("t.csv", Span(0, 10), "1"), gold)
    assert answers(Place("t.csv", Span(0, 10), "1"), Place("t.csv", Span(0, 10)))

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError, RunError
from llmkit.evaluation.kinds.loss import LossItem, evaluate_loss
from llmkit.evaluation.kinds.perplexity import TextItem, evaluate_perplexity
from llmkit.evaluation.kinds.qa import QAItem, evaluate_qa
from llmkit.evaluation.kinds.retrieval import Place, RetrievalItem, evaluate_retrieval, ranking
from llmkit.evaluation.result import TaskResult
from llmkit.text.document import Span


def loss_item(number: int, completion="yes", tokens=2, cluster="") -> LossItem:
    return LossItem(str(number), "question", completion, [1, 2], list(range(tokens)), cluster)


def values(result: TaskResult) -> dict[str, float]:
    return {name: figure.value for name, figure in result.metrics.items()}


# --- loss ---


def test_loss_is_per_trained_token_over_all_items_and_not_a_mean_of_means():
    items = [loss_item(1, "ab", tokens=1), loss_item(2, "cdé", tokens=3)]
    result = evaluate_loss("t", items, lambda pairs: [(2.0, 1, 0), (3.0, 3, 0)])
    assert values(result) == {
        "loss": 5 / 4,
        "perplexity": math.exp(5 / 4),
        "bits_per_byte": 5 / 6 / math.log(2),
    }
    assert result.notes == ()


def test_prompts_that_were_cut_are_noted():
    result = evaluate_loss("t", [loss_item(1), loss_item(2)], lambda pairs: [(2.0, 2, 0), (3.0, 2, 7)])
    assert result.notes == ("1 of 2 prompts are longer than the model reads; their beginnings were cut",)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_names_the_item(bad):
    with pytest.raises(DataError, match="item '2' has nll (nan|inf)"):
        evaluate_loss("t", [loss_item(1), loss_item(2)], lambda pairs: [(2.0, 2, 0), (bad, 2, 0)])


def test_an_empty_task_is_an_error():
    for run in (
        lambda: evaluate_loss("t", [], lambda pairs: []),
        lambda: evaluate_perplexity("t", [], lambda pairs: [], prefix=0, length=4),
        lambda: evaluate_retrieval("t", [], lambda question: []),
        lambda: evaluate_qa("t", [], lambda question: ""),
    ):
        with pytest.raises(DataError, match="t: the task has no items"):
            run()


def test_duplicate_ids_are_an_error():
    with pytest.raises(DataError, match="'1' occurs more than once"):
        evaluate_loss("t", [loss_item(1), loss_item(1)], lambda pairs: [(1.0, 1, 0)] * 2)


def test_an_empty_completion_is_an_error():
    with pytest.raises(DataError, match="item '1' has an empty completion"):
        evaluate_loss("t", [loss_item(1, completion="")], lambda pairs: [(0.0, 1, 0)])


def test_a_stored_result_is_read_back_unchanged():
    result = evaluate_loss("t", [loss_item(n) for n in range(4)], lambda pairs: [(float(n), 2, 0) for n in range(4)])
    assert TaskResult.model_validate_json(result.model_dump_json()) == result


# --- perplexity ---


def test_perplexities_follow_the_formulas_of_the_harness():
    texts = [TextItem("a", "one two  three", [1, 2, 3, 4, 5]), TextItem("b", "日本 語", [6, 7])]
    result = evaluate_perplexity("t", texts, lambda pairs: [-1.5 * len(c) for _, c in pairs], prefix=0, length=3)
    likelihood, words, count = -1.5 * 7, 3 + 2, 14 + 10
    assert values(result) == {
        "word_perplexity": math.exp(-likelihood / words),
        "byte_perplexity": math.exp(-likelihood / count),
        "bits_per_byte": -likelihood / count / math.log(2),
    }


def test_a_word_perplexity_beyond_floating_point_is_left_out_with_a_note():
    items = [TextItem(str(n), "語" * 1000, [1] * 1000) for n in range(3)]
    result = evaluate_perplexity("t", items, lambda pairs: [-3.0 * len(c) for _, c in pairs], prefix=0, length=64)
    assert "word_perplexity" not in result.metrics and "bits_per_byte" in result.metrics
    assert result.notes == ("word_perplexity is too large for a floating-point number and is left out",)


# --- retrieval ---


def test_whole_sources_are_ranked_once_each():
    places = [Place("a"), Place("a"), Place("b", Span(0, 9)), Place("c")]
    assert ranking(places, [Place("c"), Place("b")]) == [("miss", 0), 1, 0]


def test_a_span_counts_once_and_only_if_it_overlaps_half_of_the_shorter():
    gold = [Place("a", Span(100, 200))]
    hits = [
        Place("a", Span(0, 149)),
        Place("b", Span(100, 200)),
        Place("a", Span(150, 300)),
        Place("a", Span(120, 130)),
    ]
    assert ranking(hits, gold) == [("miss", 0), ("miss", 1), 0, ("miss", 3)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50), st.integers(1, 30)), max_size=15))
def test_the_keys_of_a_ranking_are_distinct(hits):
    places = [Place(source, Span(start, start + length)) for source, start, length in hits]
    keys = ranking(places, [Place("a", Span(10, 30)), Place("a", Span(20, 40)), Place("b", Span(0, 5))])
    assert len(keys) == len(set(keys)) == len(places)


def test_a_known_item_at_rank_three_scores_as_by_hand():
    item = RetrievalItem("1", "where?", (Place("x"),))
    ticks = itertools.count(step=0.25)
    result = evaluate_retrieval(
        "t", [item], lambda question: [Place("a"), Place("b"), Place("x")], clock=lambda: next(ticks)
    )
    assert values(result) == {
        "recall@1": 0.0,
        "recall@5": 1.0,
        "recall@10": 1.0,
        "mrr": 1 / 3,
        "ndcg@10": 1 / math.log2(4),
        "latency_p50": 0.25,
        "latency_p95": 0.25,
    }
    assert result.metrics["latency_p95"].unit == "s"


def test_no_metric_looks_below_the_largest_cut_off():
    item = RetrievalItem("1", "where?", (Place("x"),))
    result = evaluate_retrieval("t", [item], lambda question: [Place("a"), Place("b"), Place("x")], cutoffs=(1, 2))
    assert values(result)["mrr"] == 0.0 and values(result)["ndcg@2"] == 0.0


def test_an_item_with_nothing_relevant_is_an_error():
    with pytest.raises(DataError, match="names nothing relevant"):
        evaluate_retrieval("t", [RetrievalItem("1", "where?", ())], lambda question: [])


# --- questions and answers ---


def qa_items(n=4) -> list[QAItem]:
    return [QAItem(str(i), f"q{i}", ("Paris", "the city of Paris")) for i in range(n)]


def test_answers_are_scored_against_the_best_gold_answer():
    answers = iter(["paris!", "city of light", "London", "The Paris"])
    result = evaluate_qa("t", qa_items(), lambda question: next(answers))
    assert result.metrics["exact_match"].value == 0.5
    assert result.metrics["f1"].value == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    assert result.items[1].detail["answer"] == "city of light"


def test_an_item_that_errors_is_counted_and_the_others_are_scored():
    def answer(question):
        if question == "q2":
            raise RunError("the endpoint gave up", where="http://x")
        return "Paris"

    result = evaluate_qa("t", qa_items(), answer)
    assert [failure.id for failure in result.failures] == ["2"]
    assert result.metrics["f1"].n == 3


def test_when_every_item_errors_so_does_the_task():
    def answer(question):
        raise RunError("the endpoint gave up")

    with pytest.raises(RunError, match="all 4 items failed; '0': the endpoint gave up"):
        evaluate_qa("t", qa_items(), answer)


def test_a_missing_gold_answer_is_an_error():
    with pytest.raises(DataError, match="'1' has no gold answer"):
        evaluate_qa("t", [QAItem("1", "q", ())], lambda question: "")

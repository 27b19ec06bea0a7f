import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError, UsageError
from llmkit.evaluation.gate import Gate, judge, parse_gate, resolve
from llmkit.evaluation.result import Difference, Estimate, ItemFailure, TaskComparison, TaskResult


def result(task="qa", failures=(), **metrics: Estimate) -> TaskResult:
    failed = tuple(ItemFailure(id=str(i), message="no answer") for i in failures)
    return TaskResult(task=task, kind="qa", metrics=metrics, items=(), data_digest="0", failures=failed)


def estimate(value, low=None, high=None, n=200, unit="") -> Estimate:
    return Estimate(value=value, stderr=None, ci=None if low is None else (low, high), n=n, unit=unit)


def comparison(value, low, high, metric="f1", n=200, missing=0) -> TaskComparison:
    difference = Difference(value=value, stderr=None, ci=(low, high), p_value=1, test="", n=n)
    return TaskComparison(task="qa", differences={metric: difference}, missing=missing)


def decide(expr, figure, metric="f1", compared=None):
    return judge(parse_gate(expr), [result(**{metric: figure})], compared)


# --- the grammar ---


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("f1>=0.70", Gate("f1>=0.70", "estimate", None, "f1", ">=", 0.7)),
        (" sure : f1 >= .7 ", Gate("sure : f1 >= .7", "sure", None, "f1", ">=", 0.7)),
        ("f1>=70%", Gate("f1>=70%", "estimate", None, "f1", ">=", 0.7)),
        ("f1>=baseline-0.01", Gate("f1>=baseline-0.01", "estimate", None, "f1", ">=", -0.01, baseline=True)),
        ("loss<=baseline", Gate("loss<=baseline", "estimate", None, "loss", "<=", 0.0, baseline=True)),
        ("point:loss<baseline + 1e-2", Gate("point:loss<baseline + 1e-2", "point", None, "loss", "<", 0.01, "", True)),
        ("retrieval.recall@5>0.8", Gate("retrieval.recall@5>0.8", "estimate", "retrieval", "recall@5", ">", 0.8)),
        ("latency_p95<=800ms", Gate("latency_p95<=800ms", "estimate", None, "latency_p95", "<=", 0.8, "s")),
        ("my-task_2.loss<=2", Gate("my-task_2.loss<=2", "estimate", "my-task_2", "loss", "<=", 2.0)),
    ],
)  # fmt: skip
def test_a_gate_is_read_as_written(text, gate):
    assert parse_gate(text) == gate


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "a metric is missing", 0),
        ("f1", "one of >=", 2),
        ("f1=0.7", "one of >=", 2),
        ("f1 => 0.7", "one of >=", 3),
        (">=0.7", "a metric is missing", 0),
        ("f1>=", "a number or 'baseline'", 4),
        ("f1>=high", "a number or 'baseline'", 4),
        ("f1>=0,70", "more than a gate", 5),
        ("f1>=0.7 and em>=0.5", "'and' is not a unit", 8),
        ("f1>=0.7 em", "'em' is not a unit", 8),
        ("sur: f1>=0.7", "'sur:' is not a mode; did you mean 'sure'?", 0),
        ("f1>=baseline-1%", "a percentage of what?", 14),
        ("f1>=baseline-", "a number is missing", 13),
        ("f1>=baseline 0.1", "more than a gate", 13),
        ("latency_p95<=800millis", "'millis' is not a unit", 16),
        ("f1>=1e999", "too large", 4),
        ("f1<>3", "a number or 'baseline'", 3),
    ],
)
def test_what_is_not_a_gate_is_refused_with_a_caret_and_a_mend(text, message, column):
    with pytest.raises(UsageError) as caught:
        parse_gate(text)
    assert message in caught.value.message
    _, shown, caret = caught.value.message.split("\n")
    assert shown == f"  {text}"
    assert caret == "  " + " " * column + "^"
    assert caught.value.mend


@given(st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("f1>=<baseline-+.:ms%"), max_size=40))
def test_any_text_is_a_gate_or_a_usage_error(text):
    try:
        gate = parse_gate(text)
    except UsageError as error:
        assert error.message.endswith("^")
    else:
        assert math.isfinite(gate.bound)


@given(
    mode=st.sampled_from(["", "sure: ", "point:"]),
    task=st.sampled_from(["", "qa.", "long-task_1."]),
    metric=st.sampled_from(["f1", "recall@10", "latency_p95"]),
    op=st.sampled_from([">=", "<=", ">", "<"]),
    baseline=st.booleans(),
    number=st.decimals(0, 1000, places=3),
    unit=st.sampled_from(["", "ms", "s", "min", "us"]),
    spaces=st.lists(st.sampled_from(["", " ", "  "]), min_size=6, max_size=6),
)
def test_every_gate_of_the_grammar_is_read_back(mode, task, metric, op, baseline, number, unit, spaces):
    s = iter(spaces)
    bound = ["baseline", next(s), "-", next(s)] if baseline else []
    parts = [mode, next(s), task, metric, next(s), op, next(s), *bound, f"{number}", next(s), unit]
    gate = parse_gate("".join(parts))
    factor = {"": 1, "ms": 1e-3, "s": 1, "min": 60, "us": 1e-6}[unit]
    assert gate.bound == pytest.approx(float(number) * factor * (-1 if baseline else 1))
    assert (gate.task or "", gate.metric, gate.op, gate.baseline) == (task.rstrip("."), metric, op, baseline)


# --- which metric ---


def test_a_metric_that_is_not_measured_is_an_error_that_names_the_closest():
    with pytest.raises(UsageError, match="recall@6 is not measured; did you mean 'recall@5'") as caught:
        resolve(parse_gate("recall@6>=0.5"), {"search": ["recall@5", "mrr"]})
    assert caught.value.mend == "measured are mrr, recall@5"


def test_a_task_that_does_not_exist_is_an_error_that_names_the_closest():
    with pytest.raises(UsageError, match="no task 'serch'; did you mean 'search'"):
        resolve(parse_gate("serch.mrr>=0.5"), {"search": ["mrr"]})


def test_a_metric_of_two_tasks_must_say_which():
    measured = {"a": ["f1"], "b": ["f1", "loss"]}
    with pytest.raises(UsageError) as caught:
        resolve(parse_gate("f1>=0.5"), measured)
    assert caught.value.mend == "write 'a.f1' or 'b.f1'"
    assert resolve(parse_gate("b.f1>=0.5"), measured) == ("b", "f1")
    assert resolve(parse_gate("loss<=5"), measured) == ("b", "loss")


# --- the verdict ---


@pytest.mark.parametrize(
    ("expr", "outcome"),
    [
        ("f1>=0.70", "passed"),
        ("f1>=0.72", "passed"),
        ("f1>0.72", "failed"),
        ("f1>=0.73", "failed"),
        ("f1<=0.72", "passed"),
        ("f1<0.72", "failed"),
        ("point: f1>=0.72", "passed"),
        ("sure: f1>=0.65", "passed"),
        ("sure: f1>=0.70", "inconclusive"),
        ("sure: f1>=0.80", "failed"),
        ("sure: f1<=0.80", "passed"),
        ("sure: f1<=0.75", "inconclusive"),
        ("sure: f1<=0.60", "failed"),
    ],
)
def test_an_estimate_is_compared_by_value_or_by_the_end_of_its_interval(expr, outcome):
    assert decide(expr, estimate(0.72, 0.66, 0.78)).outcome == outcome


@pytest.mark.parametrize(
    ("expr", "figures", "outcome"),
    [
        ("f1>=baseline-0.01", (0.00, -0.005, 0.02), "passed"),
        ("f1>=baseline-0.01", (0.00, -0.020, 0.02), "inconclusive"),
        ("f1>=baseline-0.01", (-0.05, -0.080, -0.02), "failed"),
        ("f1>=baseline", (0.00, 0.0, 0.0), "passed"),
        ("f1>baseline", (0.00, 0.0, 0.0), "failed"),
        ("f1>baseline", (0.03, 0.01, 0.05), "passed"),
        ("f1>=baseline+0.02", (0.03, 0.01, 0.05), "inconclusive"),
        ("point: f1>=baseline+0.02", (0.03, 0.01, 0.05), "passed"),
        ("sure: f1>=baseline-0.01", (0.00, -0.005, 0.02), "passed"),
    ],
)
def test_a_gate_on_the_baseline_tests_the_paired_difference(expr, figures, outcome):
    assert decide(expr, estimate(0.7), compared=[comparison(*figures)]).outcome == outcome


@pytest.mark.parametrize(
    ("expr", "figures", "outcome"),
    [
        ("loss<=baseline", (-0.3, -0.4, -0.2), "passed"),
        ("loss<baseline", (-0.3, -0.4, -0.2), "passed"),
        ("loss<=baseline-0.1", (-0.3, -0.4, -0.2), "passed"),
        ("loss<=baseline+0.05", (0.0, -0.1, 0.1), "inconclusive"),
        ("loss<=baseline+0.05", (0.3, 0.2, 0.4), "failed"),
        ("loss>=baseline-0.05", (0.0, -0.01, 0.1), "passed"),
    ],
)
def test_where_lower_is_better_the_upper_end_must_clear_the_bar(expr, figures, outcome):
    got = decide(expr, estimate(2.0), metric="loss", compared=[comparison(*figures, metric="loss")])
    assert got.outcome == outcome


def test_a_difference_that_is_on_the_margin_but_for_rounding_is_on_it():
    assert (
        decide("point: f1>=baseline-0.01", estimate(0.71), compared=[comparison(0.71 - 0.72, -1, 1)]).outcome
        == "passed"
    )


def test_an_inconclusive_gate_says_how_many_items_would_decide_it():
    got = decide("f1>=baseline-0.01", estimate(0.7), compared=[comparison(0.0, -0.02, 0.02, n=100)])
    assert got.items_needed == 400
    assert "about 400 items" in got.explanation
    rng = random.Random(0)
    for _ in range(200):
        value, half, n = rng.uniform(-0.1, 0.1), rng.uniform(0.001, 0.2), rng.randint(2, 500)
        got = decide("f1>=baseline-0.01", estimate(0.7), compared=[comparison(value, value - half, value + half, n=n)])
        if got.outcome == "inconclusive" and got.items_needed is not None:
            shrunk = 0.9999 * half * math.sqrt(n / got.items_needed)
            again = comparison(value, value - shrunk, value + shrunk, n=got.items_needed)
            assert decide("f1>=baseline-0.01", estimate(0.7), compared=[again]).outcome != "inconclusive"


def test_no_number_of_items_decides_an_estimate_on_the_bar():
    got = decide("sure: f1>=0.70", estimate(0.70, 0.6, 0.8))
    assert (got.outcome, got.items_needed) == ("inconclusive", None)
    assert "no number of items" in got.explanation


def test_a_figure_without_an_interval_is_inconclusive_for_sure():
    assert decide("sure: f1>=0.1", estimate(0.7, n=1)).outcome == "inconclusive"


def test_a_gate_on_the_baseline_without_a_baseline_is_an_error():
    with pytest.raises(UsageError, match="no baseline") as caught:
        decide("f1>=baseline", estimate(0.7))
    assert "--baseline" in caught.value.mend


def test_a_gate_on_what_cannot_be_compared_says_why():
    compared = TaskComparison(task="qa", differences={}, notes=("loss cannot be compared: other tokens",))
    with pytest.raises(DataError, match="cannot be compared: other tokens"):
        decide("loss<=baseline", estimate(2.0), metric="loss", compared=[compared])


@pytest.mark.parametrize(
    ("expr", "outcome"),
    [("latency_p95<=800ms", "passed"), ("latency_p95<=0.7s", "failed"), ("latency_p95<=1min", "passed")],
)
def test_times_are_compared_in_their_units(expr, outcome):
    got = decide(expr, estimate(0.75, unit="s"), metric="latency_p95")
    assert got.outcome == outcome
    assert "750 ms" in got.explanation


def test_a_time_without_a_unit_and_a_unit_without_a_time_are_errors():
    with pytest.raises(UsageError, match="800 has no unit") as caught:
        decide("latency_p95<=800", estimate(0.75, unit="s"), metric="latency_p95")
    assert caught.value.mend == "write 800s or 800ms"
    with pytest.raises(UsageError, match="f1 is not a time"):
        decide("f1>=1s", estimate(0.75))


def test_a_gate_never_passes_on_part_of_the_data():
    got = judge(parse_gate("f1>=0.5"), [result(failures=(1, 2), f1=estimate(0.9))])
    assert got.outcome == "inconclusive" and "2 items could not be evaluated" in got.explanation
    got = judge(parse_gate("f1>=0.95"), [result(failures=(1, 2), f1=estimate(0.9))])
    assert got.outcome == "failed"
    compared = [comparison(0.1, 0.05, 0.2, missing=1)]
    assert judge(parse_gate("f1>=baseline"), [result(f1=estimate(0.9))], compared).outcome == "inconclusive"


def test_the_grammar_needs_no_numpy_and_no_torch():
    code = (
        "import sys, llmkit.evaluation.gate; print([m for m in ('numpy', 'torch', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- a baseline that does not exist yet ---


def test_a_gate_on_a_baseline_that_is_yet_to_come_is_skipped_and_the_others_are_decided():
    results = [result(f1=estimate(0.6, 0.5, 0.7))]
    skipped = judge(parse_gate("f1>=baseline-0.01"), results, None, awaited="bot@prod")
    assert skipped.outcome == "skipped" and not skipped.stops and "no baseline bot@prod yet" in skipped.explanation
    assert skipped.value == 0.6 and not skipped.of_baseline
    assert judge(parse_gate("f1>=0.7"), results, None, awaited="bot@prod").outcome == "failed"


def test_a_metric_that_is_not_measured_is_an_error_without_a_baseline_too():
    with pytest.raises(UsageError, match="not measured"):
        judge(parse_gate("mrr>=baseline"), [result(f1=estimate(0.6))], None, awaited="bot@prod")

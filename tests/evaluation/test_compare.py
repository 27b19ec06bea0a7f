import numpy as np
import pytest

from llmkit.errors import DataError, RunError
from llmkit.evaluation.compare import compare
from llmkit.evaluation.gate import judge, parse_gate
from llmkit.evaluation.kinds.loss import LossItem, evaluate_loss
from llmkit.evaluation.kinds.qa import QAItem, evaluate_qa
from llmkit.evaluation.result import TaskResult


def loss_result(nlls, tokens=4, text="four") -> TaskResult:
    items = [LossItem(str(n), "p", text, [1], [0] * tokens) for n in range(len(nlls))]
    return evaluate_loss("t", items, lambda pairs: [(float(nll), tokens, 0) for nll in nlls])


def qa_result(answers, gold="Paris") -> TaskResult:
    items = [QAItem(str(n), f"q{n}", (gold,)) for n in range(len(answers))]
    given = iter(answers)

    def answer(question):
        text = next(given)
        if text is None:
            raise RunError("no answer")
        return text

    return evaluate_qa("t", items, answer)


def test_the_difference_of_losses_is_per_token_with_the_items_that_changed():
    base = np.linspace(10, 20, 30)
    ours = base - 2
    ours[4] += 5
    ours[9] = base[9]
    got = compare(loss_result(ours), loss_result(base)).differences["loss"]
    assert got.value == pytest.approx((ours - base).mean() / 4)
    assert got.ci[0] < got.value < got.ci[1] < 0
    assert got.p_value < 0.001
    assert got.worse == ("4",) and len(got.better) == 28 and "9" not in got.better


def test_where_higher_is_better_the_gained_items_are_the_better_ones():
    got = compare(qa_result(["Paris", "no", "Paris"]), qa_result(["no", "no", "Paris"])).differences["exact_match"]
    assert (got.value, got.better, got.worse, got.test) == (pytest.approx(1 / 3), ("0",), (), "McNemar, exact")


def test_a_system_is_not_inferior_to_itself():
    result = loss_result(np.linspace(1, 9, 25))
    comparison = compare(result, result)
    assert judge(parse_gate("loss<=baseline"), [result], [comparison]).outcome == "passed"
    assert comparison.differences["loss"].p_value == 1.0


def test_other_contents_under_the_same_ids_are_not_comparable():
    with pytest.raises(DataError, match="another version of the data.*the same 2 item ids, with other contents"):
        compare(loss_result([1, 2]), loss_result([1, 2], text="five"))


def test_other_items_are_not_comparable():
    with pytest.raises(DataError, match="1 items that only this result has, 0 that only the baseline has"):
        compare(loss_result([1, 2, 3]), loss_result([1, 2]))


def test_another_kind_is_not_comparable():
    with pytest.raises(DataError, match="this is a loss task, the baseline's is a qa task"):
        compare(loss_result([1]), qa_result(["x"]))


def test_losses_per_token_of_two_tokenizers_are_not_compared_but_bits_per_byte_are():
    comparison = compare(loss_result([4, 5, 6], tokens=4), loss_result([4, 5, 6], tokens=3))
    assert set(comparison.differences) == {"bits_per_byte"}
    assert any(note.startswith("loss cannot be compared") for note in comparison.notes)


def test_items_that_failed_on_either_side_are_left_out_and_counted():
    comparison = compare(qa_result(["Paris", None, "Paris"]), qa_result([None, "x", "Paris"]))
    assert comparison.missing == 2
    assert comparison.differences["f1"].n == 1


def test_nothing_in_common_is_an_error():
    with pytest.raises(DataError, match="no item was evaluated on both"):
        compare(qa_result(["Paris", None]), qa_result([None, "Paris"]))

"""Tasks with prompts against figures computed by hand, and their bad rows."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from llmkit.errors import ConfigError, DataError, RunError
from llmkit.evaluation.kinds.choice import (
    ChoiceTask,
    ClassificationTask,
    ClozeTask,
    evaluate_choices,
    evaluate_classes,
    evaluate_cloze,
)
from llmkit.evaluation.kinds.generation import GenerationTask, evaluate_generation, extracted
from llmkit.evaluation.kinds.pseudo_perplexity import PseudoItem, evaluate_pseudo
from llmkit.evaluation.kinds.spans import SpanItem, evaluate_spans
from llmkit.evaluation.metrics.influence import influences
from llmkit.evaluation.metrics.overlap import rouge
from llmkit.evaluation.prompted import prompt_items
from llmkit.evaluation.questions import Row
from llmkit.evaluation.result import ItemFailure
from llmkit.evaluation.template import fill

CHOICE = ChoiceTask(kind="multiple_choice", data="q.jsonl")


def rows(*values: dict[str, object]) -> list[Row]:
    return [Row(f"q.jsonl:{number}", each) for number, each in enumerate(values, start=1)]


def values(result):
    return {name: figure.value for name, figure in result.metrics.items()}


# --- templates ---


def test_a_template_of_one_field_gives_the_field_itself():
    row = {"a": {"text": ["x", 3]}, "b": 1}
    assert fill("{a.text}", row, where="") == ["x", 3]
    assert fill("{a.text.0}: {b} {{b}}", row, where="") == "x: 1 {b}"


@pytest.mark.parametrize("template", ["{c}", "{a.real}", "{a.__class__}", "{l.7}"])
def test_a_missing_field_is_named_and_no_attribute_can_be_reached(template):
    with pytest.raises(DataError, match="f:3: the row has no field") as caught:
        fill(template, {"a": 1, "l": []}, where="f:3")
    assert "it has: a, l" in str(caught.value.mend)


@pytest.mark.parametrize("template", ["{a", "a}", "{}"])
def test_a_template_that_cannot_be_read_is_refused(template):
    with pytest.raises(ConfigError, match="template"):
        fill(template, {"a": 1}, where="")


# --- items ---


@pytest.mark.parametrize("answer", ["no", 1, "1", "B", "b"])
def test_a_right_choice_is_named_by_text_number_or_letter(answer):
    (item,) = prompt_items(CHOICE, rows({"question": "q", "choices": ["yes", "no"], "answer": answer}), choices=True)
    assert item.gold == ("no",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "choices": ["a", "b"], "answer": "z"}, "'z' is none of the choices"),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "2 is none of the choices"),
        ({"question": "q", "choices": ["a", "b"], "answer": True}, "True is none of the choices"),
        ({"question": "q", "choices": ["a", "b"], "answer": None}, "no right answer"),
        ({"question": "q", "choices": ["a", "b"]}, "no field 'answer'"),
        ({"question": "q", "choices": ["a"], "answer": "a"}, "no list of two or more"),
        ({"question": "q", "choices": ["a", "a"], "answer": "a"}, "occurs twice"),
        ({"id": "1", "question": "q", "choices": ["a", "b"], "answer": "a"}, "'1' was used before, in q.jsonl:1"),
    ],
)
def test_a_bad_row_is_named_with_its_line(row, message):
    good = {"question": "q", "choices": ["a", "b"], "answer": "a"}
    with pytest.raises(DataError, match=f"q.jsonl:2: .*{message}"):
        prompt_items(CHOICE, rows(good, row), choices=True)


def test_a_task_without_rows_is_an_error():
    with pytest.raises(DataError, match="no items"):
        prompt_items(CHOICE, [], choices=True)


def test_worked_examples_are_drawn_with_a_seed_and_never_the_item_itself():
    spec = GenerationTask(kind="generation", data="q", fewshot=2, fewshot_data="q")
    data = rows(*({"question": f"q{n}", "answer": f"a{n}"} for n in range(9)))
    items = prompt_items(spec, data, data)
    for item in items:
        *shown, last = item.prompt.split("\n\n")
        assert last == item.bare and len(shown) == 2
        assert all(each.split()[0] != last and each.split()[1] == "a" + each[1] for each in shown)
    assert items == prompt_items(spec, data, data[::-1])
    other = prompt_items(spec.model_copy(update={"fewshot_seed": 1}), data, data)
    assert [item.prompt for item in items] != [item.prompt for item in other]


def test_too_few_worked_examples_are_an_error():
    spec = GenerationTask(kind="generation", data="q", fewshot=2)
    with pytest.raises(DataError, match="2 worked examples are asked for and there are 0"):
        prompt_items(spec, rows({"question": "q", "answer": "a"}))


# --- kinds ---


def test_choices_are_ranked_by_likelihood_per_character_and_per_byte():
    items = prompt_items(
        CHOICE,
        rows(
            {"question": "1", "choices": ["ab", "abcd"], "answer": 0},
            {"question": "2", "choices": ["éé", "abc"], "answer": 0},
        ),
        choices=True,
    )
    result = evaluate_choices("t", items, lambda asked: [[(-2.0, True), (-3.0, False)], [(-2.4, False), (-3.0, False)]])
    # 1: -2 > -3; per character -1 < -.75. 2: -2.4 > -3; -1.2 < -1; per byte -.6 > -1
    assert values(result) == {"acc": 1.0, "acc_norm": 0.0, "acc_bytes": 0.5}


def test_what_follows_the_prompt_begins_with_the_delimiter():
    asked_for = []
    items = prompt_items(CHOICE, rows({"question": "q", "choices": ["a", "b"], "answer": 0}), choices=True)

    def likelihoods(asked):
        asked_for.extend(asked)
        return [[(0.0, True), (-1.0, False)]]

    evaluate_choices("t", items, likelihoods)
    assert asked_for == [("q", [" a", " b"])]


def test_a_cloze_is_greedy_accuracy_and_perplexity_per_target():
    spec = ClozeTask(kind="cloze", data="q")
    items = prompt_items(spec, rows({"prompt": "a", "target": "b"}, {"prompt": "c", "target": "d"}))
    result = evaluate_cloze("t", items, lambda asked: [[(-1.0, True)], [(-2.0, False)]])
    assert values(result) == {"acc": 0.5, "target_perplexity": pytest.approx(math.exp(1.5))}


def test_classes_score_as_by_hand():
    spec = ClassificationTask(kind="classification", data="q")
    items = prompt_items(spec, rows(*({"text": "x", "label": label} for label in "aaab")))
    result = evaluate_classes("t", items, ["a", "b", "c"], ["a", "a", "b", "b"])
    # F1 of a: 4/5, of b: 2/3; c is nowhere. MCC = (2*1 - 0*1)/sqrt(3*1*2*2) as for two classes
    assert values(result) == {
        "accuracy": 0.75,
        "macro_f1": pytest.approx((4 / 5 + 2 / 3) / 2),
        "mcc": pytest.approx(2 / math.sqrt(12)),
    }
    assert result.notes == ("a was taken for: a 2, b 1", "b was taken for: b 1")


def test_a_label_that_the_model_does_not_know_names_its_row():
    items = prompt_items(ClassificationTask(kind="classification", data="q"), rows({"text": "x", "label": "z"}))
    with pytest.raises(DataError, match="q.jsonl:1: the label 'z' is none of a, b"):
        evaluate_classes("t", items, ["a", "b"], ["a"])


def generation(answers, golds, **keys):
    spec = GenerationTask(kind="generation", data="q", **keys)
    items = prompt_items(spec, rows(*({"question": "q", "answer": gold} for gold in golds)))
    return evaluate_generation("t", items, lambda prompts: answers, spec)


def test_bleu_and_chrf_are_sacrebleus_with_its_signature():
    said = ["the cat sat on a mat today", "a dog barked at the moon", "nothing here fits at all"]
    gold = ["the cat sat on the mat today", "the dog barked at the moon", "wholly other words stand here"]
    result = generation(said, gold, metrics=("bleu", "chrf"))
    assert result.metrics["bleu"].value == pytest.approx(BLEU().corpus_score(said, [gold]).score, rel=1e-12)
    assert result.metrics["chrf"].value == pytest.approx(CHRF().corpus_score(said, [gold]).score, rel=1e-12)
    assert result.notes[0].startswith("bleu: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_influences_of_a_mean_are_the_values():
    import numpy as np

    counts = np.array([[1.0, 1], [0, 1], [4, 1]])
    assert influences(counts, lambda total: total[0] / total[1]) == pytest.approx([1, 0, 4])


def test_equal_japanese_sentences_have_full_rouge_and_bleu():
    assert rouge("rougeL", "今日は天気がいい", ["今日は天気がいい"]) == 1.0
    assert 0 < rouge("rouge1", "今日は雨", ["今日は天気がいい"]) < 1
    assert generation(["今日は天気がいい"], ["今日は天気がいい"], metrics=("bleu",)).metrics["bleu"].value == (
        pytest.approx(100)
    )


@pytest.mark.parametrize(
    ("take", "text", "found"),
    [(0, "#### 1,234 then #### 5", "1,234"), (-1, "#### 1,234 then #### 5", "5"), (0, "none", "[invalid]")],
)
def test_an_answer_is_extracted_by_a_regular_expression(take, text, found):
    assert extracted(text, r"#### (\-?[0-9\.\,]+)", take, "[invalid]") == found


def test_exact_match_ignores_what_it_is_told_to():
    keys = {"ignore": (",", r"\$"), "ignore_case": True, "ignore_punctuation": True}
    assert values(generation(["$1,000 Ok."], ["1000 OK"], **keys)) == {"exact_match": 1.0}
    assert values(generation(["$1,000 Ok."], ["1000 OK"])) == {"exact_match": 0.0}


def test_a_text_that_could_not_be_written_is_a_failure_and_all_of_them_an_error():
    gone = ItemFailure(id="?", message="the endpoint gave up")
    result = generation(["a", gone], ["a", "b"])
    assert [(each.id, each.message) for each in result.failures] == [("2", "the endpoint gave up")]
    with pytest.raises(RunError, match="all 1 items failed"):
        generation([gone], ["a"])


def test_code_is_not_executed():
    with pytest.raises(ValueError, match="code is not executed here"):
        GenerationTask(kind="generation", data="q", metrics=("pass@1",))


def test_pseudo_perplexity_is_per_token():
    result = evaluate_pseudo("t", [PseudoItem("a", "ab"), PseudoItem("b", "cd")], lambda texts: [(-2.0, 1), (-1.0, 3)])
    assert values(result) == {
        "pseudo_perplexity": pytest.approx(math.exp(3 / 4)),
        "pseudo_bits_per_byte": pytest.approx(3 / 4 / math.log(2)),
    }


def test_spans_are_scored_with_and_without_an_answer():
    items = [SpanItem("1", "q", "c", ("the red cat",)), SpanItem("2", "q", "c", ("dog",)), SpanItem("3", "q", "c", ())]
    result = evaluate_spans("t", items, lambda pairs: ["red", "dog", "something"])
    assert values(result) == {
        "exact_match": pytest.approx(1 / 3),
        "f1": pytest.approx((2 / 3 + 1) / 3),
        "answerable_exact_match": 0.5,
        "answerable_f1": pytest.approx((2 / 3 + 1) / 2),
        "no_answer_accuracy": 0.0,
    }


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=12))
def test_macro_f1_and_mcc_are_scikit_learns(pairs):
    sklearn = pytest.importorskip("sklearn.metrics")
    items = prompt_items(
        ClassificationTask(kind="classification", data="q"),
        rows(*({"text": "x", "label": "abc"[gold]} for gold, _ in pairs)),
    )
    result = evaluate_classes("t", items, list("abc"), ["abc"[said] for _, said in pairs])
    gold, said = zip(*pairs, strict=True)
    assert result.metrics["macro_f1"].value == pytest.approx(sklearn.f1_score(gold, said, average="macro"))
    assert result.metrics["mcc"].value == pytest.approx(sklearn.matthews_corrcoef(gold, said), abs=1e-9)
    assert json.loads(result.model_dump_json())

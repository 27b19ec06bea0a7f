from __future__ import annotations

import json
import math

import pytest
import torch
from support.reading import as_squad, save_encoder, toy_questions, toy_tokenizer

from llmkit.config.sections import SplitOptions
from llmkit.data.dataset import Dataset
from llmkit.data.examples.build import TrainingSetOptions, build_training_set
from llmkit.errors import DataError
from llmkit.models.reading import Reader, Reading, Span
from llmkit.reporting.reporter import Silent
from llmkit.stages.finetune_lora import FinetuneConfig
from llmkit.stages.tuning.scoring import compared
from llmkit.stages.tuning.spans import SpanReading
from llmkit.stages.tuning.task import Given


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), toy_tokenizer())


@pytest.fixture
def opened(encoder, tmp_path):
    def open_task(rows, **options):
        path = tmp_path / "toy.json"
        path.write_text(json.dumps(as_squad(rows)))
        split = SplitOptions(validation=0.3, test=0.0)
        made = TrainingSetOptions(strict=True, repeats="keep", split=split)
        build_training_set([path], tmp_path / "set", "span", made, reporter=Silent())
        cfg = FinetuneConfig(model="m", data="d", **options)
        return SpanReading(Given(cfg, Dataset.open(tmp_path / "set"), {"model": encoder}, tmp_path))

    return open_task


def answerable(count):
    return [row for row in toy_questions(3 * count, titles=12) if row[2]][:count]


def test_never_answering_is_right_wherever_there_is_no_answer(opened):
    task = opened(toy_questions(120, titles=12))
    records = task.baseline(task.loaded.model)
    share = sum(not example.answers for example in task.scored) / len(task.scored)
    scores = compared(task.metrics, records, records)
    assert scores["f1"]["before"] == scores["exact_match"]["before"] == pytest.approx(share)
    assert scores["answerable_f1"]["n"] == sum(bool(example.answers) for example in task.scored)
    assert scores["answerable_f1"]["before"] == 0 and scores["no_answer_accuracy"]["before"] == 1


def test_scores_are_those_of_the_squad_script(opened):
    task = opened(toy_questions(120, titles=12))
    torch.manual_seed(3)
    torch.nn.init.normal_(task.loaded.model.qa_outputs.weight, std=2.0)
    records = task.records(task.loaded.model)
    found = {name: score["after"] for name, score in compared(task.metrics, task.baseline(None), records).items()}
    able = [record for record in records if record.detail["gold"]]
    unable = [record for record in records if not record.detail["gold"]]
    right = [record.detail["said"] in (record.detail["gold"] or [""]) for record in records]
    assert found["exact_match"] == pytest.approx(sum(right) / len(right))
    hit = [record.detail["said"] in record.detail["gold"] for record in able]
    assert found["answerable_exact_match"] == pytest.approx(sum(hit) / len(hit))
    best = [record.detail["best"] in record.detail["gold"] for record in able]
    assert found["located_exact_match"] == pytest.approx(sum(best) / len(best))
    assert found["located_exact_match"] >= found["answerable_exact_match"]
    left = [record.detail["said"] == "" for record in unable]
    assert found["no_answer_accuracy"] == pytest.approx(sum(left) / len(left))
    assert sum(left) + sum(hit) > 0


def test_where_every_question_has_an_answer_one_is_always_given(opened):
    task = opened(answerable(60))
    assert task.facts["threshold"] is None
    records = task.records(task.loaded.model)
    assert all(record.detail["said"] for record in records)
    assert "no_answer_accuracy" not in compared(task.metrics, task.baseline(None), records)
    assert task.facts["threshold"] is None


def test_a_threshold_is_judged_on_articles_that_it_was_not_tuned_on(opened):
    task = opened(toy_questions(240, titles=12))
    titles = sorted({str(example.meta["title"]) for example in task.scored})
    assert len(titles) > 1
    # In the first article spans with a score below 10 are wrong, in the others those below 0.
    readings, border = [], {title: 10.0 if title == titles[0] else 0.0 for title in titles}
    for number, example in enumerate(task.scored):
        beyond = border[str(example.meta["title"])] + (1 if example.answers else -1) * (1 + number % 3)
        gold = example.answers[0] if example.answers else None
        text, start = (gold.text, gold.start) if gold else ("one", 0)
        readings.append(Reading((Span(text, start, start + len(text), beyond),)))
    used = task._settle(readings)
    of = {str(example.meta["title"]): threshold for example, threshold in zip(task.scored, used, strict=True)}
    assert -1 <= of[titles[0]] <= 1
    assert math.isfinite(task.facts["threshold"])


def test_a_reader_that_is_tuned_further_is_compared_with_itself(opened, encoder, tmp_path):
    rows = toy_questions(120, titles=12)
    first = opened(rows)
    torch.manual_seed(3)
    torch.nn.init.normal_(first.loaded.model.qa_outputs.weight, std=2.0)
    folder = tmp_path / "reader"
    first.loaded.model.save_pretrained(folder)
    first.loaded.tokenizer.save_pretrained(folder)
    (folder / "task.json").write_text(json.dumps({**first.facts, "threshold": -1.5}))
    task = SpanReading(Given(first.cfg, first.dataset, {"model": folder}, tmp_path))
    assert (task.heads, task.threshold) == ((), -1.5)
    before = task.baseline(task.loaded.model)
    reader = Reader.open(folder)
    said = [reader.answer(example.question, example.context) for example in task.scored]
    assert [record.detail["said"] for record in before] == [span.text if span else "" for span in said]
    assert "compared_with" not in task.details(before)


def test_without_a_question_to_train_on_there_is_nothing_to_do(opened):
    with pytest.raises(DataError, match="no example to train on"):
        task = opened(toy_questions(40))
        task.dataset.examples = lambda split, schema: iter(())
        SpanReading(Given(task.cfg, task.dataset, task.paths, task.paths["model"]))


def test_how_well_a_reader_tells_questions_without_an_answer_is_a_fact_of_the_artifact(opened, monkeypatch):
    task = opened(toy_questions(400, titles=12))
    assert "refusal_auroc" not in task.facts  # nobody measured it yet
    # Of those without an answer, every fourth looks like one that has an answer.
    unable = [number for number, example in enumerate(task.scored) if not example.answers]
    sure = set(unable) - set(unable[::4])
    readings = [Reading((Span("x", 0, 1, -1.0 if n in sure else 1.0),)) for n in range(len(task.scored))]
    monkeypatch.setattr(task, "_read", lambda model, examples: readings)
    records = task.records(task.loaded.model)
    expected = len(sure) / len(unable) + 0.5 * (1 - len(sure) / len(unable))
    assert len(unable) >= 20 and task.facts["refusal_auroc"] == pytest.approx(expected, abs=1e-4)
    assert task.details(records)["refusal_auroc"] == task.facts["refusal_auroc"]


def test_too_few_questions_without_an_answer_measure_nothing(opened):
    task = opened(toy_questions(60, titles=12))
    task.records(task.loaded.model)
    assert "refusal_auroc" not in task.facts

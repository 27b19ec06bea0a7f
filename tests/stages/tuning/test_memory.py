"""What is said of a run's memory before its first step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.tiny import tiny_model

from llmkit.models.hardware import Hardware
from llmkit.reporting.reporter import Silent
from llmkit.stages import plan
from llmkit.stages.finetune_lora import FinetuneConfig, _memory
from llmkit.stages.tuning.data import FileRows
from llmkit.stages.tuning.memory import memory_plan, said
from llmkit.stages.tuning.table import open_task
from llmkit.stages.tuning.task import Given

ROWS = {
    "chat": [{"prompt": f"say {n}", "completion": "red please"} for n in range(4)],
    "preference": [{"prompt": f"say {n}", "chosen": "red please", "rejected": "no"} for n in range(4)],
    "label": [{"text": f"say {n}", "label": "ab"[n % 2]} for n in range(4)],
}
MACHINE = Hardware("cpu", 1.0, 1.0, 8 << 30, 0.0)


class Heard(Silent):
    def __init__(self):
        self.told, self.warned = [], []

    def info(self, text, **_):
        self.told.append(text)

    def warn(self, text):
        self.warned.append(text)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny_model(folder / name, name, ["say red please no"]) for name in ("llama", "bert", "t5")}


@pytest.fixture
def opened(bases, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "this_machine", lambda: MACHINE)

    def make(model, schema, **options):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS[schema]))
        cfg = FinetuneConfig(model=str(bases[model]), data=str(file), device="cpu", precision="fp32", **options)
        task = open_task(Given(cfg, FileRows(file, schema), {"model": bases[model]}, tmp_path, weights=False))
        return task, task.part("train")

    return make


@pytest.mark.parametrize(
    ("model", "schema", "task"),
    [
        ("llama", "chat", "chat"),
        ("llama", "preference", "dpo"),
        ("t5", "chat", "seq2seq"),
        ("bert", "label", "classify"),
        ("bert", "chat", "embed"),
    ],
)
def test_the_largest_step_of_every_kind_of_model_is_planned(opened, model, schema, task):
    small, large = (memory_plan(*opened(model, schema, task=task, batch_size=size)) for size in (2, 16))
    assert 0 < small["optimizer"] < small["weights"] < small["peak"] < small["usable"]
    assert small["activations"] < large["activations"]
    assert "memory of the largest step: about" in said(small)


def test_a_pair_of_answers_takes_two_rows(opened):
    alone = memory_plan(*opened("llama", "chat", task="chat", batch_size=8, sequence_length=32))
    pairs = memory_plan(*opened("llama", "preference", task="dpo", batch_size=8, sequence_length=32))
    assert pairs["activations"] > 1.5 * alone["activations"]


def test_what_does_not_fit_is_warned_of_with_what_would(opened, monkeypatch):
    task, part = opened("llama", "chat", task="chat", batch_size=64)
    reporter = Heard()
    _memory(task, part, reporter)
    assert len(reporter.told) == 1 and not reporter.warned
    needed = memory_plan(task, part)["peak"]
    monkeypatch.setattr(plan, "this_machine", lambda: replace(MACHINE, memory=needed * 3 // 4))
    reporter = Heard()
    _memory(task, part, reporter)
    (warning,) = reporter.warned
    assert "it would fit with --micro-batch-size" in warning and not reporter.told


def test_an_architecture_that_cannot_be_planned_is_trained_without(opened, monkeypatch):
    from llmkit.errors import UnavailableError
    from llmkit.models.memory import Estimator

    def cannot(*_):
        raise UnavailableError("no")

    monkeypatch.setattr(Estimator, "memory", cannot)
    reporter = Heard()
    assert _memory(*opened("llama", "chat", task="chat"), reporter) == {}
    assert not reporter.told + reporter.warned

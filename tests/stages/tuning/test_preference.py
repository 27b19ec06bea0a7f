"""The task of preference pairs on a dataset: what it reads, refuses and keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llmkit.config.sections import SplitOptions
from llmkit.data.dataset import Dataset
from llmkit.data.examples.build import TrainingSetOptions, build_training_set
from llmkit.errors import DataError
from llmkit.models.build import SpecialIds, new_model
from llmkit.reporting.reporter import Silent
from llmkit.stages.finetune_lora import FinetuneConfig
from llmkit.stages.tuning.preference import Preference
from llmkit.stages.tuning.task import Given
from llmkit.train.samples import Sample

MULTI = "\n\nHuman: say red\n\nAssistant: red it is\n\nHuman: and blue{n}?\n\nAssistant: {answer}"
"""A conversation as hh-rlhf writes it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from llmkit.data.tokenizer import save_tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["say red and blue, no, it is green"] * 9, 400).tokenizer
    small = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    ids = SpecialIds.of(tokenizer)
    made = new_model("llama", "tiny", vocab_size=len(tokenizer), ids=ids, sequence_length=64, seed=0, overrides=small)
    made.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.fixture
def opened(model: Path, tmp_path: Path) -> Any:
    def make(rows: list[dict[str, str]], *, template: bool = True, **options: Any) -> Preference:
        file = tmp_path / "prefs.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        split = TrainingSetOptions(split=SplitOptions(validation=0.2, test=0.0))
        build_training_set([file], tmp_path / "set", "preference", split, reporter=Silent())
        cfg = FinetuneConfig(model=str(model), data=str(file), device="cpu", precision="fp32", **options)
        task = Preference(Given(cfg, Dataset.open(tmp_path / "set"), {"model": model}, tmp_path))
        if not template:
            task.chat = False
        return task

    return make


def conversations(count: int) -> list[dict[str, str]]:
    return [{"chosen": MULTI.format(n=n, answer="blue it is"), "rejected": MULTI.format(n=n, answer="no")}
            for n in range(count)]  # fmt: skip


def test_of_transcripts_the_turns_that_both_share_are_not_learned(opened: Any) -> None:
    task = opened(conversations(3))
    part = task.part("train")
    batch = part.samples.batch([Sample(0, 0)], 1)
    tokenizer = task.loaded.tokenizer
    learned = [tokenizer.decode(row[row >= 0]) for row in batch.labels]
    assert learned == ["blue it is<|im_end|>", "no<|im_end|>"]
    assert part.counts["examples"] == 3 and task.part("validation").samples is None


def test_a_familys_template_is_not_used_in_silence(opened: Any, model: Path) -> None:
    own = "no chat template: that of its family, llama2, is used"
    assert not any(own in remark for remark in opened(conversations(3)).remarks)
    kept = (model / "chat_template.jinja").read_text("utf-8")
    (model / "chat_template.jinja").unlink()
    try:
        assert any(own in remark for remark in opened(conversations(3)).remarks)
    finally:
        (model / "chat_template.jinja").write_text(kept, "utf-8")


def test_the_reference_is_kept_with_the_run_and_used_again(opened: Any, tmp_path: Path) -> None:
    task = opened(conversations(3))
    reference = task.part("train").samples.batch([Sample(0, 0)], 1).reference
    assert bool((reference < 0).all())
    file = tmp_path / "reference-train.json"
    file.write_text(json.dumps([[-1.0, -2.0]] * 3))
    again = opened(conversations(3)).part("train").samples.batch([Sample(0, 0)], 1).reference
    assert again.tolist() == [-1.0, -2.0]


def test_an_untouched_model_prefers_nothing(opened: Any) -> None:
    task = opened(conversations(40))
    task.part("train"), task.part("validation")
    records = task.baseline(task.loaded.model)
    assert len(records) > 1
    assert {r.scores["preference_accuracy"].value for r in records} == {0.5}
    assert {r.scores["reward_margin"].value for r in records} == {0.0}
    assert {r.scores["ranking_accuracy"].value for r in records} <= {0.0, 1.0}
    with torch.no_grad():
        task.loaded.model.lm_head.weight.add_(0.1 * torch.randn_like(task.loaded.model.lm_head.weight))
    assert any(r.scores["reward_margin"].value != 0 for r in task.records(task.loaded.model))


def test_several_turns_need_a_chat_template(opened: Any) -> None:
    with pytest.raises(DataError, match="several turns needs a chat template") as caught:
        opened(conversations(2), template=False).part("train")
    assert str(caught.value.where).endswith("prefs.jsonl:1")


def test_too_long_pairs_are_counted_and_the_rate_that_fits_is_named(opened: Any) -> None:
    rows = [*conversations(2), {"chosen": MULTI.format(n=9, answer="blue " * 60),
                                "rejected": MULTI.format(n=9, answer="no")}]  # fmt: skip
    task = opened(rows, over_length="drop")
    assert task.part("train").counts["dropped"] == 1
    assert any("--task dpo would take 5e-06" in note for note in task.notes)
    assert FinetuneConfig(model="m", data="d", task="dpo").lr == 5e-6
    assert FinetuneConfig(model="m", data="d", task="dpo", method="full").lr == 5e-7
    assert FinetuneConfig(model="m", data="d", task="dpo", lr=1e-3).lr == 1e-3

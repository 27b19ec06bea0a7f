"""What a training run leaves for people and for other tools: its card, its report, its figures in a tracker."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def card(cli: Any, ref: str) -> tuple[Path, ModelCard]:
    folder = cli.home / "artifacts" / ref / "1"
    return folder, ModelCard.load(folder / "README.md", ignore_metadata_errors=False)


def test_a_model_has_a_card_that_the_hub_reads_and_its_snippet_loads_it(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = card(chain, "base")
    assert found.data.datasets == ["corpus"]
    assert {result.metric_type for result in found.data.eval_results} == {"loss", "perplexity", "bits_per_byte"}
    snippet = re.search(r"in this folder:\n\n((?:    .*\n|\s*\n)+)", found.text)
    assert snippet
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(re.sub(r"^    ", "", snippet[1], flags=re.MULTILINE), names)
    assert f"of {names['model'].num_parameters():,} parameters" in found.text
    ids = names["tokenizer"]("def main(", return_tensors="pt").input_ids
    assert names["model"](ids).logits.shape[-1] == names["model"].config.vocab_size


def test_the_card_of_an_adapter_leads_to_its_base_and_the_bases_data(chain: Any) -> None:
    _, found = card(chain, "bot")
    assert found.data.base_model == "base"
    assert found.data.library_name == "peft"
    assert found.data.datasets == ["pairs"]
    assert "`corpus@1`" in found.text
    assert "for `base@1`" in found.text


def test_what_the_model_said_on_the_way_is_kept_and_shown(chain: Any) -> None:
    how = ("pretrain", "--data", "corpus", "--steps", 4, "--sequence-length", 64, "--sample-every", 2)
    told = chain.ok(*how, "--name", "speaking")
    folder = chain.home / "artifacts" / "speaking" / "1"
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4, 4]
    assert all(row["text"].startswith(row["prompt"]) and row["prompt"] for row in rows)
    assert rows[0]["text"] != rows[1]["text"]
    page = (folder / "report.html").read_text("utf-8")
    assert all(f"{when}:" in page for when in ("before training", "after 2 steps", "after training"))
    assert told["samples"] == {"before": rows[0]["text"], "after": rows[-1]["text"]}


def test_a_run_can_be_followed_in_tensorboard_and_is_the_same_run(chain: Any) -> None:
    how = ("pretrain", "--data", "corpus", "--steps", 3, "--eval-every", 2, "--sequence-length", 64, "--name", "seen")
    assert not chain.ok(*how, "--track", "tensorboard")["reused"]
    (run,) = (chain.home / "runs" / "tensorboard").iterdir()
    assert run.name.startswith("seen-")
    events = EventAccumulator(os.fspath(run))
    events.Reload()
    rows = (chain.home / "artifacts" / "seen" / "1" / "metrics.jsonl").read_text().splitlines()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert sorted(losses) == [1, 2, 3]
    assert all(f'"step": {step}, "loss": {value:.3f}'[:-2] in rows[step - 1] for step, value in losses.items())
    assert [event.step for event in events.Scalars("held_out/loss")] == [0, 2, 3]
    assert chain.ok(*how)["reused"], "who looks on does not change what is made"


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="it is installed here")
def test_a_tracker_that_is_missing_is_said_before_anything_is_done(chain: Any) -> None:
    ran = chain("pretrain", "--data", "corpus", "--steps", 2, "--name", "unseen", "--track", "mlflow")
    assert ran.code == 5
    assert "llmkit[mlflow]" in ran.err
    assert "step" not in ran.err

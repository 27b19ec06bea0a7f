"""A run that was interrupted ends as the run that was not: the same losses and the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from support.resuming import check_resumes, losses_of

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.errors import ConfigError, StorageError
from llmkit.models.adapters import attach
from llmkit.train import checkpoint as checkpoints
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken

SMALL_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2}
DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
# 12 windows in steps of 5, micro-batches of 2: steps cross epochs, the last micro-batch of each is short.
OPTIONS = {"steps": 7, "batch_size": 5, "micro_batch_size": 2, "checkpoint_every": 2, "device": "cpu", "lr": 1e-2}


@pytest.fixture
def windows(tokens):
    return Windows(tokens[: 32 * 13 + 20], NextToken(32), seed=3)


def records(model, windows, directory, **changed):
    return train(model, windows, TrainOptions(**{**OPTIONS, **changed}), directory=directory)


def run(model, windows, directory, *, until=None, **changed):
    return losses_of(records(model, windows, directory, **changed), until)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("until", [1, 3, 6])
def test_a_resumed_run_is_bit_identical(until, precision, small_model, windows, tmp_path):
    check_resumes(
        lambda: small_model(**DROPOUT),
        lambda model, folder: records(model, windows, folder, precision=precision),
        tmp_path,
        until,
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adafactor", "muon"])
def test_a_resumed_run_is_bit_identical_with_every_optimizer(optimizer, small_model, windows, tmp_path):
    check_resumes(
        lambda: small_model(**DROPOUT),
        lambda model, folder: records(model, windows, folder, optimizer=optimizer),
        tmp_path,
    )


def test_a_resumed_adapter_is_bit_identical_and_its_checkpoint_holds_only_the_adapter(small_model, windows, tmp_path):
    def adapted():
        return attach(small_model(), "causal", LoraOptions(rank=4, dropout=0.1), seed=1)

    whole, first, second = adapted(), adapted(), adapted()
    expected = run(whole, windows, None)
    losses = run(first, windows, tmp_path, until=3)
    stored = checkpoints.load_file(next(tmp_path.glob("step-*")) / "weights.safetensors")
    assert all("lora_" in name for name in stored)
    losses |= run(second, windows, tmp_path)
    assert losses == expected
    for name, weight in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name


KILLED = """
import json, os, signal, sys
import numpy as np
from pathlib import Path
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.config.sections import TrainOptions

folder, vocab_size, ids, overrides, options = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
tokens = np.memmap(folder / "tokens.bin", np.uint16, "r")
model = new_model("gpt2", "tiny", vocab_size=vocab_size, ids=SpecialIds(**ids), sequence_length=32, seed=0,
                  overrides=overrides)
for record in train(model, Windows(tokens, NextToken(32), seed=3), TrainOptions(**options), directory=folder / "run"):
    if record.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    small_model, tokenizer, ids, tokens, windows, tmp_path
):
    tokens[: 32 * 13 + 20].tofile(tmp_path / "tokens.bin")
    values = [len(tokenizer), asdict(ids), {**SMALL_GPT2, **DROPOUT}, OPTIONS]
    command = [sys.executable, "-c", KILLED, str(tmp_path), *map(json.dumps, values)]
    done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -9
    whole, resumed = small_model(**DROPOUT), small_model(**DROPOUT)
    expected = run(whole, windows, None)
    losses = run(resumed, windows, tmp_path / "run")
    assert losses == {step: loss for step, loss in expected.items() if step > 2}
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_another_number_of_micro_batches_may_resume_a_run(small_model, windows, tmp_path):
    run(small_model(), windows, tmp_path, until=4)
    assert list(run(small_model(), windows, tmp_path, micro_batch_size=5)) == [5, 6, 7]


def test_a_finished_run_is_only_loaded(small_model, windows, tmp_path):
    trained, again = small_model(), small_model()
    run(trained, windows, tmp_path)
    assert run(again, windows, tmp_path) == {}
    assert torch.equal(again.lm_head.weight, trained.lm_head.weight)


def test_other_options_do_not_resume_a_run(small_model, windows, tmp_path):
    run(small_model(), windows, tmp_path, until=2)
    with pytest.raises(ConfigError, match=r"the run to resume had lr 0\.01, this one has 0\.02") as caught:
        run(small_model(), windows, tmp_path, lr=0.02)
    assert "--restart" in caught.value.mend


def test_another_model_does_not_resume_a_run(small_model, windows, tmp_path):
    run(small_model(), windows, tmp_path, until=2)
    with pytest.raises(StorageError, match="of another model"):
        run(small_model(n_embd=64), windows, tmp_path)


def test_what_was_chosen_is_obeyed_on_resume(small_model, windows, tmp_path):
    run(small_model(), windows, tmp_path, until=2, precision="auto")
    path = next(tmp_path.glob("step-*")) / "state.json"
    state = json.loads(path.read_text())
    other = "fp32" if state["choices"]["precision"] == "bf16" else "bf16"
    state["choices"]["precision"] = other
    path.write_text(json.dumps(state))
    record = next(train(small_model(), windows, TrainOptions(**{**OPTIONS, "precision": "auto"}), directory=tmp_path))
    assert (record.choices.precision, record.resumed_from) == (other, 2)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage, small_model, windows, tmp_path):
    expected = run(small_model(), windows, tmp_path, until=5)
    newest = max(tmp_path.glob("step-*"))
    file = newest / "weights.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-100])
    elif damage == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        (newest / "state.json").unlink()
    records = list(train(small_model(), windows, TrainOptions(**OPTIONS), directory=tmp_path))
    assert records[0].resumed_from == 4
    assert str(newest) in records[0].notes[0]
    assert records[1].loss == expected[5]


def test_checkpoints_are_rotated_and_nothing_unfinished_stays(small_model, windows, tmp_path):
    (tmp_path / ".unfinished-step-00000001").mkdir()
    run(small_model(), windows, tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000006", "step-00000007"]


def test_a_checkpoint_holds_no_pickle(small_model, windows, tmp_path):
    run(small_model(), windows, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        with pytest.raises((pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError, AttributeError)):
            pickle.loads(path.read_bytes())


def test_a_full_disk_at_a_checkpoint_keeps_the_earlier_ones(small_model, windows, tmp_path, monkeypatch):
    real = checkpoints.save_file
    calls = []

    def full(tensors, path):
        calls.append(path)
        if len(calls) > 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        run(small_model(), windows, tmp_path)
    assert "nothing was lost" in caught.value.mend
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    assert checkpoints.latest(tmp_path).step == 2

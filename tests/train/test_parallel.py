"""Models in shards (FSDP) train as whole ones do, and their checkpoints and saved models are the same files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llmkit.config.sections import TrainOptions
from llmkit.errors import UnavailableError
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.parallel import Replicas, parallel_for

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
OPTIONS = {"steps": 9, "samples": 20, "batch_size": 8, "micro_batch_size": 2, "device": "cpu", "precision": "fp32",
           "lr": 1e-2}  # fmt: skip

WORKER = """
import json, os, signal, sys
import numpy as np
from pathlib import Path
from llmkit.config.sections import TrainOptions
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.batches import Windows
from llmkit.train.launch import join, launch
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.parallel import whole_state

if "RANK" not in os.environ:
    code = sys.argv.pop(1)
    sys.exit(launch(["-c", code, *sys.argv[1:]], 2))
folder, family, vocab_size, overrides, until, options = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
world = join(2)
tokens = np.memmap(folder / "tokens.bin", np.uint16, "r")
model = new_model(family, "tiny", vocab_size=vocab_size, ids=SpecialIds(pad=1, eos=0), sequence_length=32, seed=0,
                  overrides=overrides)
samples = Windows(tokens, NextToken(32), seed=3)
held_out = Windows(tokens[:400], NextToken(32), seed=3, shuffle=False)
records = train(model, samples, TrainOptions(**options), validation=held_out, directory=folder / "run")
with open(folder / f"losses-{world.rank}", "a") as out:
    for record in records:
        e = record.evaluations[-1]
        row = [record.step, record.loss, record.grad_norm, record.tokens, e.nll, e.tokens]
        print(json.dumps(row), file=out, flush=True)
        if record.step == until:
            os.kill(os.getpid(), signal.SIGKILL)
    assert record.choices.sharding == os.environ.get("EXPECTED", "FSDP"), record.choices
state = whole_state(model)
assert (state is None) == (record.choices.sharding == "")
if world.is_main:
    model.save_pretrained(folder / "model", state_dict=state)
"""


@pytest.fixture
def shared(tokens, tokenizer, tmp_path):
    """Train in two processes; returns the rows of the main process, once both have reported the same."""
    tokens.tofile(tmp_path / "tokens.bin")
    small = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
        "llama": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    }

    def run(family="gpt2", *, until=-1, environment=FSDP, expect=0, **changed):
        for path in tmp_path.glob("losses-*"):
            path.unlink()
        values = [family, len(tokenizer), small[family], until, {**OPTIONS, **changed}]
        command = [sys.executable, "-c", WORKER, WORKER, str(tmp_path), *map(json.dumps, values)]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=False)
        assert done.returncode == expect
        rows = [[json.loads(row) for row in (tmp_path / f"losses-{rank}").read_text().splitlines()] for rank in (0, 1)]
        assert expect or rows[0] == rows[1]
        return rows[0]

    return run


def alone(model, tokens, directory=None, *, until=-1, **changed):
    samples = Windows(tokens, NextToken(32), seed=3)
    held_out = Windows(tokens[:400], NextToken(32), seed=3, shuffle=False)
    rows = []
    for r in train(model, samples, TrainOptions(**{**OPTIONS, **changed}), validation=held_out, directory=directory):
        rows.append([r.step, r.loss, r.grad_norm, r.tokens, r.evaluations[-1].nll, r.evaluations[-1].tokens])
        if r.step == until:
            break
    return rows


def close(rows, expected):
    assert len(rows) == len(expected) > 0
    for row, wanted in zip(rows, expected, strict=True):
        assert row[0] == wanted[0]
        assert row[3] == wanted[3]
        for got, value in zip(row, wanted, strict=True):
            assert got == (value and pytest.approx(value, rel=1e-3))
    return True


def near(left, right, share=1e-3):
    """Whether tensors are equal by name and shape, and in size but for rounding. Adam turns the rounding of a gradient
    that is almost zero into a step, so single elements may differ by more."""
    assert {name: tensor.shape for name, tensor in left.items()} == {name: t.shape for name, t in right.items()}
    for name, tensor in left.items():
        away, size = (float(each.detach().norm()) for each in (tensor - right[name], tensor))
        assert away <= share * max(size, 1e-6), (name, away, size)
    return True


@pytest.mark.parametrize(
    ("family", "optimizer", "variables"),
    [
        ("gpt2", "adamw", {}),
        ("llama", "adamw", {"FSDP_ACTIVATION_CHECKPOINTING": "true"}),
        ("gpt2", "sgd", {"FSDP_RESHARD_AFTER_FORWARD": "false"}),
        ("gpt2", "muon", {}),
    ],
)
def test_shards_train_as_a_whole_model_does(family, optimizer, variables, shared, small_model, tokens, tmp_path):
    """With weights that are tied (gpt2) and not (llama), a last step of 4 samples, and evaluation in shares."""
    model = small_model(family)
    expected = alone(model, tokens, tmp_path / "alone", optimizer=optimizer)
    assert close(shared(family, optimizer=optimizer, environment={**FSDP, **variables}), expected)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(saved) is type(model)
    # Muon orthogonalises in bfloat16.
    share = 3e-2 if optimizer == "muon" else 1e-3
    assert near(dict(saved.named_parameters()), dict(model.named_parameters()), share)
    ours, theirs = (max((tmp_path / folder).glob("step-*")) for folder in ("alone", "run"))
    for file in ("weights.safetensors", "optimizer.safetensors"):
        assert near(load_file(ours / file), load_file(theirs / file), max(share, 1e-2))


def test_a_killed_run_in_shards_goes_on_to_the_same_weights(shared, tmp_path):
    """Bit for bit: the same processes compute the same. Muon's run has AdamW in it too."""
    changed = {"optimizer": "muon", "checkpoint_every": 2, "eval_every": 0, "samples": 0, "steps": 6}
    expected = shared(**changed)
    whole = load_file(max((tmp_path / "run").glob("step-*")) / "weights.safetensors")
    shutil.rmtree(tmp_path / "run")
    shared(**changed, until=5, expect=137)
    rows = shared(**changed)
    assert rows[0][0] == 4
    assert rows[1:] == expected[5:]
    resumed = load_file(max((tmp_path / "run").glob("step-*")) / "weights.safetensors")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("environment", [FSDP, {"EXPECTED": ""}], ids=["shards", "replicas"])
def test_one_process_goes_on_from_two_and_two_from_one(environment, shared, small_model, tokens, tmp_path):
    """The order of the data is that of the uninterrupted run, so its losses are, to the rounding of float32."""
    changed = {"checkpoint_every": 2, "eval_every": 0, "samples": 0, "steps": 6}
    expected = alone(small_model(), tokens, **changed)
    shared(**changed, environment=environment, until=5, expect=137)
    rows = alone(small_model(), tokens, tmp_path / "run", **changed)
    assert rows[0][0] == 4
    assert close(rows[1:], expected[5:])
    shutil.rmtree(tmp_path / "run")
    alone(small_model(), tokens, tmp_path / "run", until=3, **changed)
    rows = shared(**changed, environment=environment)
    assert rows[0][0] == 3
    assert close(rows[1:], expected[4:])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP version 1"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "keeps on the CPU"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed cannot write llmkit's checkpoints"),
    ],
)
def test_what_cannot_write_our_checkpoints_is_refused(variables, message, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    accelerator = SimpleNamespace(num_processes=2, state=SimpleNamespace())
    with pytest.raises(UnavailableError, match=message):
        parallel_for(accelerator)


def test_one_process_has_nothing_to_share(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert type(parallel_for(SimpleNamespace(num_processes=1))) is Replicas

from __future__ import annotations

import pytest
import torch

from llmkit.config.sections import TrainOptions
from llmkit.errors import UnavailableError, UsageError
from llmkit.train import setup
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.precision import Probe, probe, resolve_device, threads_for
from llmkit.train.setup import Workload


def test_bf16_is_chosen_only_where_it_is_clearly_faster():
    assert Probe("cpu", fp32=100, bf16=300).precision == "bf16"
    assert Probe("cpu", fp32=100, bf16=110).precision == "fp32"
    assert Probe("cpu", fp32=100, bf16=1).precision == "fp32"


def test_the_probe_measures_both_precisions():
    measured = probe(torch.device("cpu"))
    assert measured.fp32 > 0
    assert measured.bf16 > 0


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "mps:0", ""])
def test_an_unknown_device_is_a_usage_error(name):
    with pytest.raises(UsageError, match="no device is called"):
        resolve_device(name)


def test_a_device_number_past_the_last_is_said_with_those_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", local_rank=1) == torch.device("cuda", 1)
    assert resolve_device("cuda:0", local_rank=1) == torch.device("cuda", 0)
    with pytest.raises(UnavailableError, match="cuda:2 is not there") as caught:
        resolve_device("cuda", local_rank=2)
    assert "at most 2 processes" in caught.value.mend


def test_threads_are_shared_among_processes_unless_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_for(2) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_for(10_000) == 1


def test_a_run_is_judged_long_by_its_work_and_not_by_the_speed_of_the_moment():
    assert Workload(parameters=10**7, positions=10**7).flops == 6e14


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_that_was_asked_for_is_used(precision, small_model, tokens):
    seen = set()

    def watching(model, batch):
        logits = model(**batch.inputs).logits
        seen.add(logits.dtype)
        return logits.float().square().sum(), (batch.labels >= 0).sum()

    options = TrainOptions(steps=1, batch_size=2, precision=precision, device="cpu")
    model = small_model()
    list(train(model, Windows(tokens, NextToken(32), seed=0), options, loss=watching))
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_compiling_without_a_compiler_says_what_to_install(small_model, tokens, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    windows = Windows(tokens, NextToken(32), seed=0)
    with pytest.raises(UnavailableError, match=r"C\+\+ compiler"):
        next(train(small_model(), windows, TrainOptions(steps=1, compile="on", device="cpu")))
    # Left to itself, a run does without.
    assert not next(train(small_model(), windows, TrainOptions(steps=10**9, device="cpu"))).choices.compiled


@pytest.mark.parametrize(("varying", "compiled"), [(False, True), (True, False)])
def test_long_runs_are_compiled_unless_each_width_would_be_anew(varying, compiled, monkeypatch):
    monkeypatch.setattr(setup, "_has_compiler", lambda: True)
    work = Workload(parameters=10**8, positions=10**9, varying=varying)
    options = TrainOptions(steps=1, device="cpu", precision="fp32")
    assert setup.choose(options, setup.accelerator_for("cpu"), work, None).compiled == compiled

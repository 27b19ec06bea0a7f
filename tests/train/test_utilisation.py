"""Model FLOPs utilisation, against the formula of the paper that defines it."""

from __future__ import annotations

import pytest
import torch

from llmkit.config.sections import LoraOptions
from llmkit.models.adapters import attach
from llmkit.models.build import SpecialIds, new_model
from llmkit.models.hardware import hardware
from llmkit.train import utilisation as module
from llmkit.train.options import Choices
from llmkit.train.precision import Probe, probe
from llmkit.train.utilisation import Utilisation, flops_per_position, utilisation

IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)
LENGTH = 64


def model(family: str = "gpt2"):
    return new_model(family, "tiny", vocab_size=512, ids=IDS, sequence_length=LENGTH, seed=0)


def choices(device: str = "cpu", processes: int = 1) -> Choices:
    return Choices(device, "fp32", compiled=False, threads=1, processes=processes)


def test_a_position_of_a_gpt_takes_six_flops_a_parameter_and_attention() -> None:
    gpt = model()
    looked_up = gpt.transformer.wpe.weight.numel()  # the other embedding is the output layer too
    attention = 12 * gpt.config.n_layer * gpt.config.n_embd * LENGTH
    expected = 6 * (sum(p.numel() for p in gpt.parameters()) - looked_up) + attention
    assert flops_per_position(gpt, "causal", LENGTH) == pytest.approx(expected, rel=0.01)


def test_an_adapter_on_frozen_weights_takes_about_two_thirds() -> None:
    llama = model("llama")
    whole = flops_per_position(llama, "causal", LENGTH)
    adapted = attach(llama, "causal", LoraOptions(rank=1), seed=0)
    assert 0.6 < flops_per_position(adapted, "causal", LENGTH) / whole < 0.75


def test_a_position_of_an_encoder_decoder_pays_for_the_source_too() -> None:
    """Its labels are few, and the encoder's work is shared out among them."""
    t5 = model("t5")
    assert flops_per_position(t5, "seq2seq", LENGTH) > 6 * sum(p.numel() for p in t5.encoder.parameters())


def test_the_share_of_the_peak_is_the_work_done_over_the_work_that_could_be() -> None:
    assert Utilisation(flops=1e9, peak=4e12, measured=False).mfu(2000) == pytest.approx(0.5)


def test_a_cpu_is_measured_and_says_so_and_processes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "probe", lambda device, precision: Probe("cpu", 100.0, 300.0))
    found = utilisation(model(), "causal", LENGTH, choices(processes=2))
    assert found is not None
    assert found.measured
    assert found.peak == 2 * 100e9


def test_a_known_gpu_is_taken_at_its_data_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory = "NVIDIA H200", 140 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert module._peak(torch.device("cuda", 0), choices("cuda")) == (hardware("h200").peak("fp32"), False)


def test_a_model_whose_shape_cannot_be_read_has_none() -> None:
    assert utilisation(torch.nn.Linear(2, 2), "causal", LENGTH, choices()) is None


def test_one_precision_can_be_measured_alone() -> None:
    found = probe(torch.device("cpu"), "fp32")
    assert found.peak("fp32") > 0
    assert found.bf16 == 0

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from llmkit.config.planning import PlanOptions
from llmkit.config.sections import ArchitectureOptions, FamilyOptions, TrainOptions
from llmkit.errors import UsageError
from llmkit.models import memory
from llmkit.models.build import SpecialIds, new_model
from llmkit.models.dimensions import overrides
from llmkit.models.families import FAMILIES
from llmkit.models.fitting import usable
from llmkit.models.hardware import GIB, HARDWARE, Hardware, hardware
from llmkit.models.memory import Estimator, held, positions
from llmkit.models.plan import flops, plan_training, subject_of
from llmkit.models.tracing import Pass
from llmkit.train.objectives import MissingSpans
from llmkit.train.optim import optimizer_for

IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)
H100 = hardware("h100")
ROOMY = replace(H100, memory=2**45)
SMALL = {"batch_size": 4, "sequence_length": 128}


def planned(device=ROOMY, **values):
    return plan_training(PlanOptions.model_validate(SMALL | values), device)


@pytest.mark.parametrize("name", ["gpt2", "llama", "falcon", "bert", "t5", "modernbert", "codegen"])
def test_flops_are_those_that_torch_counts(name):
    length = 64
    objective = FAMILIES[name].objective
    model = new_model(name, "tiny", vocab_size=512, ids=IDS, sequence_length=length, seed=0)
    model.config._attn_implementation = "eager"  # torch's counter does not know the CPU's fused attention
    answer = positions(objective, length)[0]
    ids = torch.zeros(2, length, dtype=torch.long)
    more = {"decoder_input_ids": torch.zeros(2, answer, dtype=torch.long)} if answer else {}
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, **more).logits.sum().backward()
    work = Pass(2, length, answer, answer or length)
    assert sum(flops(model, model.config, work)[:2]) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_flops_of_a_gpt_are_six_a_parameter_and_token_and_attention():
    found = planned(family="gpt2", size="124m", sequence_length=1024, steps=10)
    tokens = 10 * 4 * 1024
    positions_learned = 1024 * 768
    formula = 6 * (124_439_808 - positions_learned) * tokens + 12 * 12 * 768 * 1024 * tokens
    assert found.work.tokens == tokens
    assert found.work.flops == pytest.approx(formula, rel=0.002)


def test_frozen_weights_need_four_flops_and_not_six():
    full, lora = (planned(family="llama", size="2-7b", steps=1, method=way).work for way in ("full", "lora"))
    assert lora.flops / full.flops == pytest.approx(4 / 6, abs=0.02)


def test_recomputation_takes_a_third_more_time():
    plain, again = (planned(family="llama", size="2-7b", steps=1, checkpointing=on) for on in (False, True))
    assert again.cost.seconds == pytest.approx(plain.cost.seconds * 4 / 3)
    assert again.work.flops == plain.work.flops


def test_without_a_budget_there_are_twenty_tokens_for_a_parameter():
    found = planned(family="gpt2", size="124m")
    assert found.work.tokens_per_parameter == pytest.approx(20, rel=0.001)
    assert planned(family="gpt2", size="124m", tokens=5_120_000).work.steps == 10_000


def test_zero_shares_memory_as_its_paper_says():
    # Figure 1 of arXiv:1910.02054: 7.5 billion parameters on 64 devices, 2 + 2 + 12 bytes each.
    billions = {"weights": 15.0, "gradients": 15.0, "states": 90.0}
    for strategy, expected in (("ddp", 120.0), ("zero-1", 31.4), ("zero-2", 16.6), ("zero-3", 1.9)):
        shares = memory._shares(strategy, 64)
        total = sum(size * share for size, share in zip(billions.values(), shares, strict=True))
        assert total == pytest.approx(expected, abs=0.05)


def test_zero_keeps_sixteen_bytes_for_a_parameter_in_all():
    found = planned(family="gpt2", size="124m", sequence_length=1024, devices=4, strategy="zero-1").memory
    kept = found.weights + found.gradients + 4 * found.optimizer
    assert kept == pytest.approx(16 * 124_439_808, rel=1e-6)


def test_the_model_is_the_one_that_pretrain_would_build():
    """With as many positions as a sample has tokens, and with the dimensions that are given."""
    shape = {"layers": 3, "width": 64, "heads": 4, "vocab_size": 500}
    found = planned(family="gpt2", architecture=shape, sequence_length=96)
    options = FamilyOptions(family="gpt2", architecture=ArchitectureOptions(**shape))
    built = new_model("gpt2", "tiny", vocab_size=500, ids=IDS, sequence_length=96, seed=0, overrides=overrides(options))
    assert found.parameters.total == sum(parameter.numel() for parameter in built.parameters())
    assert found.model == "gpt2 tiny, changed"


def test_a_model_that_is_there_takes_no_dimensions():
    with pytest.raises(ValidationError, match="has its own dimensions"):
        planned(model="base", architecture={"layers": 3})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor", "muon"])
@pytest.mark.parametrize("name", ["gpt2", "falcon", "bert", "qwen3"])
def test_optimizer_states_are_as_many_as_torch_makes(name, optimizer):
    model = new_model(name, "tiny", vocab_size=512, ids=IDS, sequence_length=32, seed=0)
    real = optimizer_for(model, TrainOptions(optimizer=optimizer, steps=1), "cpu")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    real.step()
    made = [v for state in real.state.values() for key, v in state.items() if torch.is_tensor(v) and key != "step"]
    assert held(model, optimizer).states == sum(4 * tensor.numel() for tensor in made)


def test_nf4_weights_are_four_bits_and_a_little():
    found = planned(family="llama", size="2-7b", method="qlora").memory
    layers = 6_738_415_616 - 2 * 32000 * 4096
    assert found.weights / (layers * 4.127 / 8 + 2 * 32000 * 4096 * 2) == pytest.approx(1, abs=0.05)
    assert found.gradients < 200 * 2**20
    assert found.buffers > 0


def test_gradients_that_wait_between_passes_add_to_the_activations():
    waiting = planned(family="gpt2", size="124m", batch_size=8, micro_batch_size=4).memory
    at_once = planned(family="gpt2", size="124m", batch_size=4).memory
    assert waiting.peak == waiting.weights + waiting.optimizer + waiting.gradients + waiting.activations
    assert at_once.peak < waiting.peak


def test_ddp_keeps_its_buckets_and_fsdp_a_part_of_everything():
    ddp = planned(family="llama", size="2-7b", devices=4, batch_size=8).memory
    fsdp = planned(family="llama", size="2-7b", devices=4, batch_size=8, strategy="fsdp").memory
    assert ddp.buffers == ddp.gradients
    assert fsdp.weights == pytest.approx(ddp.weights / 4)
    assert fsdp.optimizer == pytest.approx(ddp.optimizer / 4)
    assert fsdp.peak < ddp.peak / 2


@pytest.mark.parametrize(
    "values",
    [
        {"family": "llama", "size": "2-7b", "sequence_length": 1024},
        {"family": "falcon", "size": "180b", "sequence_length": 512, "devices": 8, "strategy": "fsdp"},
        {"family": "gpt2", "size": "124m", "batch_size": 64, "sequence_length": 1024},
    ],
)
def test_what_is_said_to_make_it_fit_does(values):
    device = replace(H100, memory=16 * GIB) if values["family"] == "gpt2" else H100
    found = planned(device, **values)
    subject = subject_of(found.options)
    estimator = Estimator(subject.config, subject.objective)
    assert not found.fits
    assert found.changes
    for change in found.changes:
        options = found.options.model_copy(update=change.options)
        larger = hardware(change.options["gpu"]) if "gpu" in change.options else device
        peak = estimator.memory(options, found.sequence_length).peak
        assert peak == change.peak <= usable(larger)
        if set(change.options) == {"micro_batch_size"}:  # of which the largest is named
            twice = found.options.model_copy(update={"micro_batch_size": 2 * options.micro_batch_size})
            assert estimator.memory(twice, found.sequence_length).peak > usable(device)


def test_where_it_fits_nothing_is_suggested():
    found = planned(H100, family="gpt2", size="tiny")
    assert found.fits
    assert found.changes == ()


def test_cost_and_energy_follow_from_time_and_what_was_assumed():
    found = planned(family="gpt2", size="124m", devices=8, batch_size=8, price=2.5, pue=1.1, carbon=100.0, mfu=0.5)
    cost, seconds = found.cost, found.work.flops / (0.5 * 989.4e12 * 8)
    assert cost.seconds == pytest.approx(seconds)
    assert cost.device_hours == pytest.approx(seconds / 3600 * 8)
    assert cost.price == pytest.approx(2.5 * cost.device_hours)
    assert cost.energy == pytest.approx(cost.device_hours * 0.7 * 1.1)
    assert cost.carbon == pytest.approx(cost.energy * 0.1)


@pytest.mark.parametrize("length", [64, 128, 256, 512, 1024])
def test_a_decoder_answers_with_as_many_tokens_as_training_gives_it(length):
    spans = MissingSpans(length, tuple(range(200)), eos=0, start=1)
    noise, count = spans._noise(spans.reads)
    assert positions("seq2seq", length)[0] == pytest.approx(noise + count + 1, abs=2)


def test_samples_longer_than_the_context_are_refused():
    with pytest.raises(UsageError, match="past the context of gpt2 124m, 1024 tokens"):
        planned(family="gpt2", size="124m", sequence_length=2048)


def test_two_budgets_and_a_lone_strategy_for_several_are_refused():
    for values in ({"steps": 1, "tokens": 1}, {"devices": 2, "strategy": "single"}):
        with pytest.raises(ValidationError):
            PlanOptions.model_validate(values)


def test_a_wrong_gpu_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'h100'"):
        hardware("h10")


def test_every_gpu_of_the_table_has_its_source():
    for row in HARDWARE.values():
        assert row.source.startswith("https://")
        assert row.fp32 < row.bf16
        assert 14 * GIB < row.memory < 200 * GIB


def test_a_cpu_counts_the_matrix_of_attention_that_its_dropout_keeps():
    cpu = Hardware("cpu", 1.0, 1.0, 2**40, 0.0)
    values = {"family": "gpt2", "size": "124m", "sequence_length": 512}
    kept = [memory.activations - memory.logits for memory in (planned(cpu, **values).memory, planned(**values).memory)]
    assert kept[0] > 1.2 * kept[1]

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llmkit.config.sections import LoraOptions
from llmkit.models.build import SpecialIds, new_config
from llmkit.models.families import FAMILIES
from llmkit.models.memory import positions
from llmkit.models.tracing import Pass, at_depth, built, trace, traced

IDS = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)


def config_of(name, length=64, size="tiny", **overrides):
    return new_config(name, size, vocab_size=512, ids=IDS, sequence_length=length, overrides=overrides)


def work_of(name, rows=2, length=64, **more):
    return Pass(rows, length, *positions(FAMILIES[name].objective, length), **more)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_traced_forward_and_backward(name):
    found = trace(config_of(name), FAMILIES[name].objective, work_of(name, autocast=True))
    assert found.peak(0.0) > 0
    assert found.peak(1.0) >= found.peak(0.5) >= found.peak(0.0)
    assert 0 < found.loss < found.peak(0.0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "modernbert", "t5", "falcon", "qwen3"])
@pytest.mark.parametrize("more", [{}, {"checkpointing": True}, {"weights": "bf16", "lora": LoraOptions(rank=4)}])
def test_the_line_through_two_small_depths_leads_to_the_whole_depth(name, more):
    config, objective, work = at_depth(config_of(name), 12), FAMILIES[name].objective, work_of(name, **more)
    if getattr(config, "layer_types", None):
        config = config_of(name, **{"num_hidden_layers": 12})
    on_the_line, whole = trace(config, objective, work), traced(config, objective, work)
    assert on_the_line.deeper is not None
    assert whole.deeper is None
    for share in (0.0, 0.25, 1.0):
        assert on_the_line.peak(share) == pytest.approx(whole.peak(share), rel=0.01)


def test_a_block_of_gpt_keeps_what_the_formula_of_korthikanti_says():
    # sbh(34 + 5as/h) with dropout masks of one byte, as on GPUs; the CPU's are in the type of the values, two bytes:
    # one more for each of two dropouts of sbh and one of as^2b.
    rows, length, width, heads = 2, 64, 96, 4
    shape = {"n_embd": width, "n_head": heads, "activation_function": "gelu"}
    dropped = {"resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1}
    work = work_of("gpt2", rows, length, weights="bf16")
    kept = {}
    for depth in (2, 6):
        config = config_of("gpt2", length, n_layer=depth, **shape, **dropped)
        config._attn_implementation = "eager"
        found = traced(config, "causal", work)
        kept[depth] = found.peak(0.0)
    block = (kept[6] - kept[2]) / 4
    formula = length * rows * width * (36 + 6 * heads * length / width)
    assert block == pytest.approx(formula, rel=0.05)


def test_more_rows_take_proportionally_more():
    config = config_of("llama")
    one, two, four = (trace(config, "causal", work_of("llama", rows)).peak(0.0) for rows in (8, 16, 32))
    assert four - two == pytest.approx(2 * (two - one), rel=0.02)


def test_recomputed_blocks_keep_less():
    config = config_of("llama", num_hidden_layers=12)
    plain = work_of("llama", rows=4)
    assert (
        trace(config, "causal", replace(plain, checkpointing=True)).peak(0.0)
        < trace(config, "causal", plain).peak(0.0) / 2
    )


def test_only_adapters_have_gradients_where_only_they_are_trained():
    config, work = config_of("llama"), work_of("llama", lora=LoraOptions(rank=4))
    model = built(config, "causal", work)
    adapters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = traced(config, "causal", work)
    assert max(gradients for phase in found.phases for _, gradients in phase) == 4 * adapters


def test_dropout_inside_attentions_kernel_keeps_no_matrix():
    config = config_of("gpt2", 128, attn_pdrop=0.1)
    fused = trace(config, "causal", work_of("gpt2", length=128))
    kept = trace(config, "causal", work_of("gpt2", length=128, fused_dropout=False))
    assert kept.peak(0.0) > 1.2 * fused.peak(0.0)
    assert torch.nn.functional.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"


def test_nothing_is_allocated_for_the_largest_of_all():
    config = config_of("falcon", 2048, "180b")
    model = built(config, "causal", work_of("falcon"))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert trace(config, "causal", work_of("falcon", 1, 2048)).peak() > 100 * 2**30

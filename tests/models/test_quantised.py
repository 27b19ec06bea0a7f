"""A base in four bits: what it takes, that an adapter on it learns, and that it is read again as it was."""

from __future__ import annotations

import pytest
import torch
from support.logits import inputs_of, logits_of

from llmkit.config.sections import LoraOptions
from llmkit.errors import UnavailableError
from llmkit.models import quantised
from llmkit.models.adapters import attach, check_adapter, save_adapter
from llmkit.models.load import load_model

IDS = torch.arange(8)[None] + 107


def test_without_bitsandbytes_it_is_said_what_to_install(saved, monkeypatch):
    monkeypatch.setattr(quantised, "PACKAGE", "no_such_package")
    with pytest.raises(UnavailableError, match="bitsandbytes") as caught:
        load_model(saved("llama"), quantised=True)
    assert "llmkit[qlora]" in caught.value.mend


def test_an_adapter_on_four_bits_learns_and_is_read_again_exactly(saved, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = saved("llama")
    loaded = load_model(base, quantised=True)
    model = attach(loaded.model, "causal", LoraOptions(rank=4), method="qlora", seed=0)
    assert {name for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name} == set()
    before = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(30):
        # Evaluation in between, as in a run: it must not leave weights in a form that cannot be trained on.
        logits_of(model, IDS)
        model.train()
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.2
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, before[name])
    save_adapter(model, tmp_path / "adapter")
    fresh = load_model(base, quantised=True).model
    check = check_adapter(fresh, tmp_path / "adapter", inputs_of(model, IDS), logits_of(model, IDS))
    assert check.reloaded == 0
    assert check.changed > 1e-3
    assert check.merged is None
    # The adapter is a plain one: it also goes on the base as it was, whose logits differ by the rounding to four bits.
    whole = load_model(base, adapter=tmp_path / "adapter").model
    difference = float((logits_of(whole, IDS) - logits_of(model, IDS)).abs().max())
    assert 0 < difference < float(logits_of(whole, IDS).abs().max())


def test_four_bits_take_an_eighth_of_float32(saved):
    pytest.importorskip("bitsandbytes")
    whole = load_model(saved("llama")).model
    model = load_model(saved("llama"), quantised=True).model
    now, before = quantised.size(model)
    assert before == 4 * sum(parameter.numel() for parameter in whole.parameters())
    layers = quantised.four_bit_layers(model)
    assert len(layers) == 7 * model.config.num_hidden_layers
    linear = sum(layer.in_features * layer.out_features for layer in layers)
    assert now == pytest.approx(before - 4 * linear + linear / 2, rel=0.05)

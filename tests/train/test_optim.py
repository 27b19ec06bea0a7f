"""Which parameters an optimizer updates how, and that every one of them learns."""

from __future__ import annotations

import pytest
import torch

from llmkit.config.sections import TrainOptions
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.optim import OPTIMIZERS, Both, optimizer_for

RATES = {"adamw": 1e-2, "muon": 1e-2, "adafactor": 0.3, "sgd": 1.0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name, small_model, tokens):
    windows = Windows(tokens[:2000], NextToken(32), seed=0)
    options = TrainOptions(steps=12, batch_size=8, lr=RATES[name], optimizer=name, device="cpu", precision="fp32")
    losses = [record.loss for record in train(small_model(), windows, options) if record.loss is not None]
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_every_parameter_is_updated_once_and_only_matrices_decay(name, family, small_model):
    model = small_model(family)
    optimizer = optimizer_for(model, TrainOptions(optimizer=name, weight_decay=0.3), "cpu")
    updated = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len({id(parameter) for parameter in updated}) == len(updated) == len(list(model.parameters()))
    for group in optimizer.param_groups:
        assert all((parameter.dim() >= 2) == (group["weight_decay"] > 0) for parameter in group["params"])


def test_muon_gets_the_hidden_matrices_and_adamw_the_rest(small_model):
    model = small_model("llama")
    optimizer = optimizer_for(model, TrainOptions(optimizer="muon"), "cpu")
    assert isinstance(optimizer, Both)
    muon = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in muon}
    assert names == {name for name, p in model.named_parameters() if p.dim() == 2 and ".layers." in name}


def test_a_step_of_both_is_a_step_of_each(small_model):
    """Oracle: torch's Muon and AdamW, each over its own parameters."""
    ours, theirs = small_model("llama"), small_model("llama")
    options = TrainOptions(optimizer="muon", lr=0.01)
    optimizer = optimizer_for(ours, options, "cpu")
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    twins = dict(theirs.named_parameters())
    muon_group, *rest = [[twins[names[id(p)]] for p in group["params"]] for group in optimizer.param_groups]
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    muon = torch.optim.Muon(muon_group, lr=0.01, weight_decay=decays[0], adjust_lr_fn="match_rms_adamw")
    groups = [{"params": group, "weight_decay": decay} for group, decay in zip(rest, decays[1:], strict=True)]
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(options.beta1, options.beta2))
    for _ in range(3):
        for mine, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            twin.grad = mine.grad.clone()
        for each in (optimizer, muon, adamw):
            each.step()
    for mine, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, twin)

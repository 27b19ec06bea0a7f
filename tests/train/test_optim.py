"""Which parameters an optimizer updates how, and that every one of them learns."""

from __future__ import annotations

import pytest
import torch
from support.resuming import check_resumes

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


def with_adapter(model, ratio):
    from peft import LoraConfig, get_peft_model

    from llmkit.models.adapters import faster_b

    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    adapted.lr_scales = faster_b(adapted, ratio)
    return adapted


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lora_plus_gives_the_b_matrices_their_own_rate_and_no_other(name, small_model):
    model = with_adapter(small_model("llama"), 16.0)
    optimizer = optimizer_for(model, TrainOptions(optimizer=name, lr=0.01), "cpu")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: (group["lr"], group["scale"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == 8
    for parameter, rate in rates.items():
        assert rate == ((0.16, 16.0) if "lora_B" in parameter else (0.01, 1.0))


def test_a_step_of_lora_plus_is_adamw_with_two_rates(small_model, tokens):
    """Oracle: torch's AdamW on the same gradients; through the loop, so that its schedule does not undo the ratio."""
    from llmkit.train.losses import token_loss
    from llmkit.train.samples import samples_of_step

    windows = Windows(tokens[:2000], NextToken(32), seed=0)
    options = TrainOptions(steps=1, batch_size=4, lr=0.01, warmup=0.0, clip=0.0, weight_decay=0.0, precision="fp32")
    ours, theirs = (with_adapter(small_model("llama"), 16.0) for _ in range(2))
    list(train(ours, windows, options))
    theirs.train()
    batch = windows.batch(samples_of_step(windows, 0, 4), 4)
    total, weight = token_loss(theirs, batch)
    (total / weight).backward()
    parts = {"lora_A": [], "lora_B": []}
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            parts["lora_B" if "lora_B" in name else "lora_A"].append(parameter)
    groups = [{"params": parts["lora_A"], "lr": 0.01}, {"params": parts["lora_B"], "lr": 0.16}]
    torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), weight_decay=0.0).step()
    for (name, mine), twin in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if "lora_A" not in name:  # B is zero at first, so A has no gradient, and AdamW divides rounding by itself
            torch.testing.assert_close(mine, twin, msg=name)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_lora_plus_resumes_bit_for_bit(name, small_model, tokens, tmp_path):
    windows = Windows(tokens[:2000], NextToken(32), seed=0)
    options = TrainOptions(steps=6, batch_size=4, lr=0.01, optimizer=name, precision="fp32", checkpoint_every=3)
    check_resumes(
        lambda: with_adapter(small_model("llama"), 16.0),
        lambda model, folder: train(model, windows, options, directory=folder),
        tmp_path,
        until=4,
    )

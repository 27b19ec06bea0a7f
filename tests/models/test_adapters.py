from __future__ import annotations

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.logits import inputs_of, logits_of

from llmkit.config.sections import LoraOptions
from llmkit.errors import DataError, NotFoundError, RunError
from llmkit.models.adapters import attach, check_adapter, save_adapter, tolerance_of
from llmkit.models.load import load_model

IDS = torch.arange(8)[None] + 107


def trained(model):
    """As if it had been trained: every adapter weight a little off."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def adapter(saved, tmp_path):
    torch.manual_seed(0)
    model = trained(attach(load_model(saved()).model, "causal", LoraOptions(rank=4), seed=0))
    save_adapter(model, tmp_path / "adapter")
    return model, tmp_path / "adapter", tmp_path / "gpt2"


@pytest.mark.parametrize("method", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_a_saved_adapter_changes_its_base_and_merges_without_loss(name, method, saved, tmp_path):
    torch.manual_seed(0)
    loaded = load_model(saved(name))
    model = trained(attach(loaded.model, loaded.objective, LoraOptions(rank=4), method=method, seed=0))
    save_adapter(model, tmp_path / "adapter")
    check = check_adapter(
        load_model(tmp_path / name).model, tmp_path / "adapter", inputs_of(model, IDS), logits_of(model, IDS)
    )
    assert check.changed > 1e-3
    assert check.reloaded == 0
    assert check.merged < check.tolerance < 1e-2


def test_only_the_adapter_is_trained_and_saved_and_it_begins_as_nothing(saved, tmp_path):
    base = load_model(saved())
    before = logits_of(base.model, IDS)
    model = attach(base.model, "causal", LoraOptions(), seed=0)
    assert torch.equal(logits_of(model, IDS), before)
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    save_adapter(model, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert all("lora_" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))


def test_an_adapter_is_the_same_for_the_same_seed(small_model):
    def first(seed):
        model = attach(small_model("gpt2"), "causal", LoraOptions(), seed=seed)
        return next(parameter for name, parameter in model.named_parameters() if "lora_A" in name)

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_the_defaults_are_the_published_ones():
    assert LoraOptions() == LoraOptions(rank=16, alpha=32, dropout=0.0, targets=())


def test_an_adapter_that_does_nothing_fails_the_check(saved, tmp_path):
    model = attach(load_model(saved()).model, "causal", LoraOptions(), seed=0)
    save_adapter(model, tmp_path / "adapter")
    with pytest.raises(RunError, match="does nothing"):
        check_adapter(
            load_model(tmp_path / "gpt2").model, tmp_path / "adapter", inputs_of(model, IDS), logits_of(model, IDS)
        )


def test_an_adapter_that_is_not_the_trained_one_fails_the_check(adapter):
    model, folder, base = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(RunError, match="not the trained one"):
        check_adapter(load_model(base).model, folder, inputs_of(model, IDS), logits_of(model, IDS))


def test_an_adapter_with_nan_fails_the_check(adapter):
    model, folder, base = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(RunError):
        check_adapter(load_model(base).model, folder, inputs_of(model, IDS), logits_of(model, IDS))


def test_an_adapter_loads_with_plain_peft_and_can_be_trained_on(adapter):
    model, folder, base = adapter
    plain = peft.AutoPeftModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits_of(plain, IDS), logits_of(model, IDS))
    again = load_model(base, adapter=folder, trainable=True).model
    assert any(parameter.requires_grad for parameter in again.parameters())
    assert torch.equal(logits_of(again, IDS), logits_of(model, IDS))
    assert not any(p.requires_grad for p in load_model(base, adapter=folder).model.parameters())


def test_an_adapter_of_another_base_is_refused(adapter, saved):
    _, folder, _ = adapter
    with pytest.raises(DataError, match="does not fit this model"):
        load_model(saved("t5"), adapter=folder)


def test_a_damaged_or_missing_adapter_is_named(adapter):
    _, folder, base = adapter
    with pytest.raises(NotFoundError, match="no adapter in this folder"):
        load_model(base, adapter=base)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError) as caught:
        load_model(base, adapter=folder)
    assert caught.value.where == str(file)


def test_targets_that_do_not_exist_are_said(small_model):
    with pytest.raises(DataError, match="targets do not fit"):
        attach(small_model("gpt2"), "causal", LoraOptions(targets=("no_such_layer",)), seed=0)


def test_what_rounding_explains_grows_with_what_the_adapter_changes_and_stays_far_below_it():
    weak, strong = tolerance_of(torch.float32, 5.0, 0.01), tolerance_of(torch.float32, 5.0, 3.0)
    assert tolerance_of(torch.float32, 5.0) < weak < strong
    # A scale that is wrong by a hundredth is found out.
    assert strong < 0.01 * 3.0

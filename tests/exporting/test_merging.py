"""Merged adapters against the sum of their matrices, computed here from the files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.adapters import shake
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from llmkit.config.sections import LoraOptions
from llmkit.errors import DataError, RunError
from llmkit.exporting.merging import Weighted, export_merged, merge, open_merged
from llmkit.exporting.opening import open_model, probe_of
from llmkit.models.adapters import NewParts, attach, outputs_of, save_adapter
from llmkit.models.load import TASK_FILE, load_model
from llmkit.models.task_models import Head, with_head
from llmkit.models.tokens import add_tokens, make_room

LAYER = "model.layers.1.mlp.up_proj"


def delta(folder, layer=LAYER):
    """Of a LoRA adapter, by the published formula: alpha / r x B A."""
    weights = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    key = f"base_model.model.{layer}.lora_"
    return scale * weights[f"{key}B.weight"] @ weights[f"{key}A.weight"]


def weight(folder, layer=LAYER):
    return load_file(folder / "model.safetensors")[f"{layer}.weight"]


@pytest.mark.parametrize("method", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bert"])
def test_one_adapter_merged_is_the_base_with_it(family, method, base, adapter, tmp_path):
    folder = base(family)
    tuned = adapter(folder, method=method)
    check = merge(folder, [Weighted(tuned, "a")], tmp_path / "out")
    assert check.merged <= check.tolerance < check.changed / 10
    running, whole = open_model(folder, tuned), open_model(tmp_path / "out")
    inputs = probe_of(running, seed=5)  # other ids than were compared inside
    assert torch.allclose(outputs_of(whole.model, inputs), outputs_of(running.model, inputs), atol=check.tolerance)


def test_what_is_merged_loads_with_plain_transformers_and_has_all_that_belongs_to_it(base, adapter, tmp_path):
    folder = base()
    tuned = adapter(folder)
    (tuned / TASK_FILE).write_text('{"task": "chat", "limit": 64}')
    merge(folder, [Weighted(tuned, "a")], tmp_path / "out", stops=[5])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tuned).chat_template
    assert json.loads((tmp_path / "out" / TASK_FILE).read_text())["task"] == "chat"
    assert set(model.generation_config.eos_token_id) == {tokenizer.eos_token_id, 5}
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.parametrize("methods", [("lora", "lora"), ("lora", "rslora"), ("rslora", "rslora")])
def test_several_are_the_weighted_sum_of_their_products_whatever_their_ranks(methods, base, adapter, tmp_path):
    folder = base()
    one = adapter(folder, "one", rank=4, method=methods[0], seed=1)
    two = adapter(folder, "two", rank=8, method=methods[1], seed=2)
    check = merge(folder, [Weighted(one, "one", 0.7), Weighted(two, "two", -0.4)], tmp_path / "out")
    wanted = weight(folder) + 0.7 * delta(one) - 0.4 * delta(two)
    assert torch.allclose(weight(tmp_path / "out"), wanted, atol=1e-6)
    assert "running on it" in check.oracle
    assert check.exact <= check.tolerance


def test_dora_is_added_by_what_it_makes_of_the_base(base, adapter, tmp_path):
    folder = base()
    tuned = [adapter(folder, f"a{seed}", method=method, seed=seed) for seed, method in enumerate(("dora", "lora"))]
    for number, each in enumerate(tuned):
        merge(folder, [Weighted(each, "a")], tmp_path / f"alone{number}")
    merge(folder, [Weighted(tuned[0], "a", 0.3), Weighted(tuned[1], "b", 0.7)], tmp_path / "out")
    deltas = [weight(tmp_path / f"alone{number}") - weight(folder) for number in range(2)]
    assert torch.allclose(weight(tmp_path / "out"), weight(folder) + 0.3 * deltas[0] + 0.7 * deltas[1], atol=1e-6)
    assert not torch.allclose(deltas[0], delta(tuned[0]), atol=1e-3)  # DoRA is more than its product


def test_a_weight_scales_a_single_adapter(base, adapter, tmp_path):
    folder = base()
    tuned = adapter(folder)
    merge(folder, [Weighted(tuned, "a", 0.5)], tmp_path / "out")
    assert torch.allclose(weight(tmp_path / "out"), weight(folder) + 0.5 * delta(tuned), atol=1e-6)


def test_an_adapter_and_its_opposite_do_nothing_and_fail(base, adapter, tmp_path):
    folder = base()
    tuned, other = adapter(folder, "a"), adapter(folder, "b")
    with pytest.raises(RunError, match="do nothing"):
        merge(folder, [Weighted(tuned, "a", 1.0), Weighted(other, "b", -1.0)], tmp_path / "out")


def test_weights_that_are_no_numbers_fail(base, adapter, tmp_path):
    folder = base()
    tuned = adapter(folder)
    weights = load_file(tuned / "adapter_model.safetensors")
    save_file({name: each * float("nan") for name, each in weights.items()}, tuned / "adapter_model.safetensors")
    with pytest.raises(RunError):
        merge(folder, [Weighted(tuned, "a")], tmp_path / "out")


def test_a_saved_model_that_is_another_fails(base, adapter, tmp_path, monkeypatch):
    from transformers import PreTrainedModel

    folder = base()
    tuned = adapter(folder)
    save = PreTrainedModel.save_pretrained

    def damaged(self, *args, **kwargs):
        with torch.no_grad():
            self.get_input_embeddings().weight[:, 3] += 1
        save(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", damaged)
    with pytest.raises(RunError, match="what was saved as float32 is not its base with the adapter"):
        merge(folder, [Weighted(tuned, "a")], tmp_path / "out")


def test_the_type_is_that_of_the_base_or_as_asked(base, adapter, tmp_path):
    folder = base()
    tuned = adapter(folder)
    assert merge(folder, [Weighted(tuned, "a")], tmp_path / "whole").dtype == "float32"
    check = merge(folder, [Weighted(tuned, "a")], tmp_path / "half", dtype="bfloat16")
    assert weight(tmp_path / "half").dtype == torch.bfloat16
    assert check.exact < check.merged <= check.tolerance
    again = adapter(tmp_path / "half", "again")
    assert merge(tmp_path / "half", [Weighted(again, "a")], tmp_path / "auto").dtype == "bfloat16"


def test_a_change_that_rounding_undoes_is_refused(base, adapter, tmp_path):
    folder = base()
    tuned = adapter(folder)
    weights = load_file(tuned / "adapter_model.safetensors")
    tiny = {name: each * (1e-3 if "lora_B" in name else 1) for name, each in weights.items()}
    save_file(tiny, tuned / "adapter_model.safetensors")
    assert merge(folder, [Weighted(tuned, "a")], tmp_path / "whole").changed > 0
    with pytest.raises(RunError, match="rounding to bfloat16 undoes what was learned"):
        merge(folder, [Weighted(tuned, "a")], tmp_path / "half", dtype="bfloat16")


def headed(folder, out, *, seed, labels=("bad", "good")):
    """An adapter with a head of its own, as tuning a classifier leaves it."""
    head = Head("sequence", labels)
    made = with_head(folder, head, seed=seed)
    model = attach(made.loaded.model, made.loaded.objective, LoraOptions(rank=4), new=NewParts(made.new), seed=seed)
    shake(model, seed)
    save_adapter(model, out)
    made.loaded.tokenizer.save_pretrained(out)
    (out / TASK_FILE).write_text(json.dumps({"task": "label", **head.facts(), "limit": 64}))
    return out


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_classifier_merges_into_a_classifier(family, base, tmp_path):
    folder = base(family)
    tuned = headed(folder, tmp_path / "tuned", seed=3)
    check = merge(folder, [Weighted(tuned, "a")], tmp_path / "out")
    assert check.merged <= check.tolerance
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert plain.config.id2label == {0: "bad", 1: "good"}
    running = open_model(folder, tuned)
    inputs = probe_of(running, seed=9)
    assert torch.allclose(outputs_of(plain, inputs), outputs_of(running.model, inputs), atol=check.tolerance)


def test_two_heads_are_not_averaged_and_equal_ones_are_kept(base, tmp_path):
    folder = base("bert")
    one = headed(folder, tmp_path / "one", seed=1)
    two = headed(folder, tmp_path / "two", seed=2)
    with pytest.raises(DataError, match="one and two each have their own") as caught:
        merge(folder, [Weighted(one, "one", 0.5), Weighted(two, "two", 0.5)], tmp_path / "out")
    assert "tune one adapter" in (caught.value.mend or "")
    first = load_file(one / "adapter_model.safetensors")
    own = {name: first[name] if "lora_" not in name else each
           for name, each in load_file(two / "adapter_model.safetensors").items()}  # fmt: skip
    save_file(own, two / "adapter_model.safetensors")
    merge(folder, [Weighted(one, "one", 0.3), Weighted(two, "two", 0.3)], tmp_path / "out")
    head = "classifier.weight"
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")[head], first[f"base_model.model.{head}"])


def test_other_labels_are_another_task(base, tmp_path):
    folder = base("bert")
    one = headed(folder, tmp_path / "one", seed=1)
    two = headed(folder, tmp_path / "two", seed=1, labels=("no", "yes"))
    with pytest.raises(DataError, match="different tasks"):
        merge(folder, [Weighted(one, "one", 0.5), Weighted(two, "two", 0.5)], tmp_path / "out")


def test_other_vocabularies_do_not_add_up(base, adapter, tmp_path):
    folder = base()
    one, two = adapter(folder, "one"), adapter(folder, "two")
    tokenizer = AutoTokenizer.from_pretrained(two)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(two)
    with pytest.raises(DataError, match="different vocabularies"):
        merge(folder, [Weighted(one, "one", 0.5), Weighted(two, "two", 0.5)], tmp_path / "out")


def test_new_tokens_are_merged_with_their_rows(base, tmp_path):
    folder = base()
    loaded = load_model(folder)
    new = add_tokens(loaded.tokenizer, ["<call>", "</call>"])
    make_room(loaded.model, len(loaded.tokenizer), new)
    model = attach(loaded.model, "causal", LoraOptions(rank=4), new=NewParts(tokens=new), seed=0)
    shake(model, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trainable_tokens" in name and parameter.requires_grad:
                parameter.add_(0.5)
    save_adapter(model, tmp_path / "tuned")
    loaded.tokenizer.save_pretrained(tmp_path / "tuned")
    check = merge(folder, [Weighted(tmp_path / "tuned", "a")], tmp_path / "out")
    assert check.merged <= check.tolerance
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("</call>") == new[-1]
    ids = torch.tensor([[*range(110, 120), *new]])
    assert torch.allclose(outputs_of(merged, {"input_ids": ids}), outputs_of(model, {"input_ids": ids}), atol=1e-4)
    twice = [Weighted(tmp_path / "tuned", "a", 0.5), Weighted(tmp_path / "tuned", "b", 0.5)]
    merge(folder, twice, tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    assert torch.allclose(outputs_of(again, {"input_ids": ids}), outputs_of(model, {"input_ids": ids}), atol=1e-4)


def test_a_whole_model_is_written_again_as_it_is(base, tmp_path):
    folder = base()
    check = export_merged(folder, None, tmp_path / "out", dtype="float16")
    assert (check.dtype, check.merged <= check.tolerance) == ("float16", True)
    assert weight(tmp_path / "out").dtype == torch.float16


def test_a_model_opened_with_its_adapter_merged_is_the_adapted_one(base, adapter):
    folder = base()
    tuned = adapter(folder)
    running, merged = open_model(folder, tuned), open_merged(folder, tuned)
    inputs = probe_of(running, seed=4)
    assert torch.allclose(outputs_of(merged.model, inputs), outputs_of(running.model, inputs), atol=1e-4)
    assert not any("lora" in name for name, _ in merged.model.named_modules())

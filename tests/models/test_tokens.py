"""New tokens: what is added, what an adapter stores of them, and that it is read again as it was."""

from __future__ import annotations

import peft
import pytest
import torch
from safetensors.torch import load_file
from support.logits import logits_of

from llmkit.config.sections import LoraOptions
from llmkit.errors import DataError
from llmkit.models.adapters import NewParts, attach, check_adapter, outputs_of, save_adapter
from llmkit.models.load import load_model
from llmkit.models.tokens import add_tokens, make_room, missing_tokens

NEW = ["<|start_header_id|>", "<|eot_id|>"]


@pytest.fixture
def tuned(saved, tmp_path):
    """A base, and an adapter with new tokens as if it had been trained; untied where that is asked for."""

    def make(name="llama", *, tied=True):
        base = saved(name)
        loaded = load_model(base)
        if not tied:
            config = loaded.model.config
            config.tie_word_embeddings = False
            torch.manual_seed(1)
            untied = type(loaded.model)(config)
            untied.save_pretrained(base)
            loaded = load_model(base)
        ids = add_tokens(loaded.tokenizer, NEW)
        make_room(loaded.model, len(loaded.tokenizer), ids)
        model = attach(loaded.model, "causal", LoraOptions(rank=4), new=NewParts(tokens=ids), seed=0)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        save_adapter(model, tmp_path / "adapter")
        loaded.tokenizer.save_pretrained(tmp_path / "adapter")
        return base, tmp_path / "adapter", model, ids

    return make


def probe(ids):
    return torch.tensor([[107, 108, *ids, 109]])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_adapter_with_new_tokens_is_read_again_exactly_here_and_by_plain_peft(name, tied, tuned):
    base, folder, model, ids = tuned(name, tied=tied)
    wanted = logits_of(model, probe(ids))
    again = load_model(base, adapter=folder)
    plain = peft.AutoPeftModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits_of(again.model, probe(ids)), wanted)
    assert torch.equal(logits_of(plain, probe(ids)), wanted)
    rows = {len(again.tokenizer), again.model.get_input_embeddings().weight.shape[0], wanted.shape[-1]}
    assert rows == {again.model.config.vocab_size}
    assert set(ids) == {again.tokenizer.convert_tokens_to_ids(token) for token in NEW}


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_new_rows_are_trained_and_stored(tied, tuned):
    _, folder, model, ids = tuned("llama", tied=tied)
    stored = {name: tuple(t.shape) for name, t in load_file(folder / "adapter_model.safetensors").items()}
    rows = {name: shape for name, shape in stored.items() if "lora_" not in name}
    assert set(rows.values()) == {(len(ids), model.config.hidden_size)}
    assert len(rows) == (1 if tied else 2)


@pytest.mark.parametrize("tied", [True, False])
def test_it_merges_without_loss(tied, tuned):
    base, folder, model, ids = tuned("llama", tied=tied)
    fresh = load_model(base)
    make_room(fresh.model, model.config.vocab_size, ids)
    inputs = {"input_ids": probe(ids)}
    check = check_adapter(fresh.model, folder, inputs, outputs_of(model, inputs))
    assert check.reloaded == 0
    assert check.merged < 1e-5 < check.changed


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_and_gradients_are_those_of_the_plain_computation(tied, tuned):
    """Oracle: cross-entropy over whole logits."""
    from torch.nn import functional

    from llmkit.train.losses import token_loss
    from llmkit.train.samples import IGNORE, Batch

    _, _, model, ids = tuned("llama", tied=tied)
    model.train()
    read = probe([*ids, *ids])
    labels = torch.where(torch.arange(read.shape[1]) % 3 == 0, IGNORE, read.roll(-1))
    found = []
    for ours in (True, False):
        model.zero_grad()
        if ours:
            total, _ = token_loss(model, Batch({"input_ids": read}, labels))
        else:
            logits = model(input_ids=read).logits
            total = functional.cross_entropy(logits[0], labels[0], ignore_index=IGNORE, reduction="sum")
        total.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((float(total.detach()), gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    assert any("trainable_tokens_delta" in name for name in found[0][1])
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-3, atol=1e-5)


def test_a_new_row_is_the_mean_of_the_others_and_spare_rows_are_used_first(saved):
    loaded = load_model(saved("llama"))
    before = loaded.model.get_input_embeddings().weight.detach().clone()
    make_room(loaded.model, len(before) + 2)
    after = loaded.model.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    torch.testing.assert_close(after[len(before)], before.mean(0))
    assert loaded.model.get_output_embeddings().weight is after
    make_room(loaded.model, len(before) + 1, [len(before) + 1])
    assert len(loaded.model.get_input_embeddings().weight) == len(before) + 2


def test_only_what_is_missing_is_added(tokenizer):
    import copy

    mine = copy.deepcopy(tokenizer)
    assert missing_tokens(mine, ["<|im_end|>", "<|new|>"]) == ["<|new|>"]
    before = len(mine)
    assert add_tokens(mine, ["<|im_end|>", "<|new|>"]) == [before]
    assert mine.encode("<|new|>", add_special_tokens=False) == [before]
    assert {"<|im_end|>"} <= {*mine.all_special_tokens}


def test_an_output_layer_with_a_bias_is_refused_with_a_way_out(saved):
    model = load_model(saved("gpt2")).model
    model.lm_head = torch.nn.Linear(model.config.n_embd, model.config.vocab_size, bias=True)
    with pytest.raises(DataError, match="has a bias") as caught:
        attach(model, "causal", LoraOptions(), new=NewParts(tokens=[3]), seed=0)
    assert "--method full" in caught.value.mend

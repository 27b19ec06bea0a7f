"""Every family from random weights through the loop to a saved model that is the same when it is read again."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.models.adapters import attach
from llmkit.models.build import AUTO_CLASSES
from llmkit.models.families import FAMILIES
from llmkit.train.batches import Windows
from llmkit.train.examples import render_pair
from llmkit.train.loop import train
from llmkit.train.losses import token_loss
from llmkit.train.padding import Padded
from llmkit.train.samples import IGNORE, Batch, Sample

NARROW = {
    "gpt2": {"n_embd": 64, "n_layer": 2},
    "bloom": {"hidden_size": 64, "n_layer": 2},
    "opt": {"hidden_size": 64, "num_hidden_layers": 2, "ffn_dim": 128},
    "falcon": {"hidden_size": 64, "num_hidden_layers": 2},
    "codegen": {"n_embd": 64, "n_layer": 2, "rotary_dim": 8},
    "modernbert": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96},
    "t5": {"d_model": 64, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 16, "d_ff": 128},
}
LLAMA_LIKE = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
LENGTH = 48
CAUSAL = [row.name for row in FAMILIES.values() if row.objective == "causal"]


@pytest.fixture
def build(small_model):
    def narrow(name):
        head = {"head_dim": 16} if name in {"qwen3", "gemma"} else {}
        return small_model(name, sequence_length=LENGTH, **{**NARROW.get(name, LLAMA_LIKE), **head})

    return narrow


@pytest.fixture
def windows(tokens, objective_for):
    return lambda name: Windows(tokens, objective_for(FAMILIES[name].objective, LENGTH), seed=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_with_its_own_objective_and_survives_saving(name, build, windows, tmp_path):
    model, samples = build(name), windows(name)
    held_out = samples.batch([Sample(9, number) for number in range(16)], 16)
    with torch.no_grad():
        before = token_loss(model, held_out)[0]
    steps = 24 if name == "modernbert" else 12
    list(train(model, samples, TrainOptions(steps=steps, batch_size=8, lr=1e-2, warmup=0.2, precision="fp32")))
    model.eval()
    with torch.no_grad():
        after = token_loss(model, held_out)[0]
        assert after < 0.95 * before
        model.save_pretrained(tmp_path)
        again = AUTO_CLASSES[FAMILIES[name].objective].from_pretrained(tmp_path)
        assert torch.equal(again(**held_out.inputs).logits, model(**held_out.inputs).logits)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_sliced_loss_and_its_gradients_are_those_of_the_plain_one(name, build, windows, monkeypatch):
    monkeypatch.setattr("llmkit.models.heads.LOGITS_AT_ONCE", {"cpu": 11 * 1024})  # several uneven slices
    model = build(name).eval()
    batch = windows(name).batch([Sample(0, 0), Sample(0, 1), Sample(1, 2)], 4)
    total, weight = token_loss(model, batch)
    total.backward()
    sliced = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logits = model(**batch.inputs).logits.flatten(0, 1)
    plain = functional.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
    plain.backward()
    assert weight == (batch.labels != IGNORE).sum() > 0
    torch.testing.assert_close(total, plain)
    assert sliced.keys() == {key for key, p in model.named_parameters() if p.grad is not None}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(sliced[key], parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_causal_loss_is_the_one_transformers_computes(name, build, tokens):
    model = build(name).eval()
    ids = torch.from_numpy(tokens[: LENGTH + 1].astype("int64"))[None]
    total, weight = token_loss(model, Batch({"input_ids": ids[:, :-1]}, ids[:, 1:]))
    theirs = model(input_ids=ids[:, :LENGTH], labels=ids[:, :LENGTH]).loss * (LENGTH - 1)
    last = functional.cross_entropy(model(input_ids=ids[:, :LENGTH]).logits[0, -1:], ids[0, -1:], reduction="sum")
    torch.testing.assert_close(total, theirs + last)
    assert weight == LENGTH


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_targets_are_all_linear_layers_as_peft_finds_them(name, build):
    def adapted(model):
        return {key for key, _ in model.named_parameters() if "lora_A" in key}

    objective = FAMILIES[name].objective
    ours = adapted(attach(build(name), objective, LoraOptions(rank=2), seed=0))
    theirs = adapted(get_peft_model(build(name), LoraConfig(r=2, target_modules="all-linear")))
    assert ours == theirs


@pytest.mark.parametrize("name", CAUSAL)
def test_a_padded_row_scores_as_it_does_alone(name, build, tokenizer):
    model = build(name).eval()
    examples = [
        render_pair("def f(x):", " return x", tokenizer),
        render_pair("import os\n" * 8, "print(os.name)\n", tokenizer),
    ]
    both = Padded(examples, batch_size=2, seed=0)
    together = token_loss(model, both.batch([Sample(0, 0), Sample(0, 1)], 3))
    alone = [token_loss(model, both.batch([Sample(0, number)], 1)) for number in (0, 1)]
    torch.testing.assert_close(together[0], alone[0][0] + alone[1][0])
    assert together[1] == alone[0][1] + alone[1][1]

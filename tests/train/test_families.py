"""Every family from random weights through the loop to a saved model that is the same when it is read again."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoTokenizer

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.evaluation.kinds.loss import LossItem, evaluate_loss
from llmkit.evaluation.kinds.perplexity import TextItem, evaluate_perplexity
from llmkit.generation.local import LocalModel
from llmkit.generation.sampling import Sampling
from llmkit.generation.scoring import completion_nll, encode_text, fill_mask, loglikelihood
from llmkit.models.adapters import attach
from llmkit.models.build import AUTO_CLASSES, SpecialIds, new_model
from llmkit.models.families import FAMILIES
from llmkit.models.load import LoadedModel
from llmkit.train.batches import Windows
from llmkit.train.evaluation import evaluate
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


TEXT = "def parse_args(self):\n    return self.parser.parse_args()\n"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tiny_model_is_trained_saved_read_by_plain_transformers_asked_and_evaluated(
    name, tokenizer, windows, tmp_path
):
    row, samples = FAMILIES[name], windows(name)
    model = new_tiny(name, tokenizer)
    held_out = samples.batch([Sample(9, number) for number in range(16)], 16)
    before, measured = loss_of(model, held_out), evaluated(LocalModel(model, tokenizer, row.objective), samples)
    options = TrainOptions(steps=16, batch_size=8, lr=3e-3, warmup=0.2, precision="fp32")
    records = list(train(model, samples, options))
    losses = [record.loss for record in records if record.loss is not None]
    assert sum(losses[-3:]) / 3 < sum(losses[:3]) / 3
    model.eval()
    assert loss_of(model, held_out) < 0.95 * before
    LoadedModel(model, tokenizer, row, row.objective, LENGTH).save(tmp_path)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]
    again = AUTO_CLASSES[row.objective].from_pretrained(tmp_path)
    with torch.no_grad():  # training may compute an activation by another kernel, equal up to rounding
        torch.testing.assert_close(again(**held_out.inputs).logits, model(**held_out.inputs).logits)
    for key, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], weight)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    local = LocalModel(again.eval(), plain, row.objective)
    asked(local)
    assert evaluated(local, samples) < measured


def new_tiny(name, tokenizer):
    return new_model(
        name, "tiny", vocab_size=len(tokenizer), ids=SpecialIds.of(tokenizer), sequence_length=LENGTH, seed=0
    )


def loss_of(model, batch):
    with torch.no_grad():
        return float(token_loss(model.eval(), batch)[0])


def asked(local):
    """The model writes on, or fills a gap, and plain transformers says the same."""
    if local.objective == "masked":
        text = f"def {local.tokenizer.mask_token}(self):"
        fills = fill_mask(local, text, k=3)[0]
        ids = local.tokenizer(text, return_tensors="pt")["input_ids"]
        at = int((ids[0] == local.tokenizer.mask_token_id).nonzero())
        with torch.no_grad():
            best = torch.softmax(local.model(input_ids=ids).logits[0, at], -1).topk(3)
        assert [fill.text for fill in fills] == [local.tokenizer.decode([i]).strip() for i in best.indices.tolist()]
        assert [fill.probability for fill in fills] == pytest.approx(best.values.tolist(), rel=1e-4)
        return
    prompt = TEXT if local.objective == "causal" else "def parse_args(<extra_id_0>):"
    said = local.generate(prompt, Sampling(max_tokens=8, temperature=0.0))
    ids = torch.tensor([local.encode(prompt)])
    theirs = local.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[0]
    new = theirs[len(ids[0]) :] if local.objective == "causal" else theirs[1:]
    assert said.text == local.tokenizer.decode(new, skip_special_tokens=True)


def evaluated(local, samples):
    """Bits per byte of a text by the evaluation's own code; of a masked model the loss of what is hidden from it."""
    if local.objective == "masked":
        total, positions = evaluate(local.model, samples, batch_size=16, limit=64)
        return total / positions
    if local.objective == "seq2seq":
        encoder, answer = local.encode("def parse_args(<extra_id_0>):"), local.encode("<extra_id_0>self")
        item = LossItem("one", "def parse_args():", "self", encoder, answer)
        result = evaluate_loss("gap", [item], lambda pairs: completion_nll(local, pairs))
    else:
        items = [TextItem("one", TEXT, encode_text(local, TEXT))]
        result = evaluate_perplexity(
            "text", items, lambda pairs: loglikelihood(local, pairs), prefix=local.prefix_id, length=LENGTH
        )
    value = result.metrics["bits_per_byte"].value
    assert math.isfinite(value)
    return value


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

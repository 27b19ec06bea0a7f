from __future__ import annotations

import numpy as np
import pytest
import torch
from support.resuming import check_resumes
from torch.nn import functional

from llmkit.config.sections import TrainOptions
from llmkit.errors import DataError
from llmkit.models.task_models import Head, with_head
from llmkit.train.labelled import Item, Labelled, class_loss, encode, outputs, tag_loss, text_outputs, value_loss
from llmkit.train.loop import train
from llmkit.train.samples import IGNORE, Sample

CLASSES = Head("sequence", ("no", "yes"))
VALUE = Head("sequence", ("value",), regression=True)
TAGS = Head("token", ("O", "B-X"))
WORDS = ["return", "def", "self", "import", "class", "None", "value", "name"]


@pytest.fixture
def headed(small_model, tokenizer, tmp_path):
    def make(name, head, seed=0):
        small_model(name, sequence_length=64).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return with_head(tmp_path / name, head, seed=seed).loaded

    return make


def texts(count, target=lambda n: n % 2):
    return [Item(" ".join([WORDS[n % 8]] * (1 + n % 7)), None, target(n), f"f:{n}") for n in range(count)]


def samples_of(loaded, items, *, batch_size=4, shuffle=False, limit=64):
    causal = loaded.objective == "causal"
    found = encode(items, loaded.tokenizer, limit=limit, policy="error", last_piece=causal).examples
    filler = loaded.model.config.pad_token_id
    return Labelled(found, batch_size=batch_size, seed=0, filler=filler, masked=not causal, shuffle=shuffle)


def batch_of(samples, numbers, rows=None):
    return samples.batch([Sample(0, n) for n in numbers], rows or len(numbers))


# Encoding


def test_pairs_are_encoded_as_the_tokenizer_does_it_and_cut_from_the_longer(headed):
    tokenizer = headed("bert", CLASSES).tokenizer
    item = Item("return " * 9, "def", 1, "f:1")
    whole = tokenizer(item.text, item.pair)["input_ids"]
    kept = encode([item], tokenizer, limit=64, policy="error").examples[0]
    assert kept.ids.tolist() == whole
    cut = encode([item], tokenizer, limit=8, policy="truncate")
    assert cut.truncated == 1
    assert cut.longest == len(whole)
    assert len(cut.examples[0].ids) == 8
    assert cut.examples[0].ids[-2:].tolist() == whole[-2:]  # the second text and what ends it are still there


def test_of_texts_that_are_too_long_those_that_are_left_know_which_they_were(headed):
    tokenizer = headed("gpt2", CLASSES).tokenizer
    items = [Item("def " * 30, None, 1, "f:1"), Item("def", None, 0, "f:2")]
    dropped = encode(items, tokenizer, limit=8, policy="drop")
    assert [(each.item, each.where) for each in dropped.examples] == [(1, "f:2")]


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_each_word_has_one_token_that_is_its_own(headed, name):
    loaded = headed(name, TAGS)
    text = "supercalifragilistic self zebra7 x"
    words = [(0, 20), (21, 25), (26, 31), (31, 32), (33, 34)]
    item = Item(text, None, [0, 1, 0, 1, 0], "f:1", words)
    last = loaded.objective == "causal"
    found = encode([item], loaded.tokenizer, limit=64, policy="error", last_piece=last).examples[0]
    offsets = loaded.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert len(set(found.places.tolist())) == len(words)
    for place, (start, end) in zip(found.places, words, strict=True):
        begin, stop = offsets[place]
        assert start < stop <= end
        assert stop == end if last else begin <= start
    assert [int(found.target[place]) for place in found.places] == item.target
    assert (found.target != IGNORE).sum() == len(words)


def test_a_word_that_is_cut_off_has_no_token(headed):
    tokenizer = headed("bert", TAGS).tokenizer
    item = Item("def self name", None, [0, 1, 1], "f:1", [(0, 3), (4, 8), (9, 13)])
    limit = len(tokenizer("def self")["input_ids"])
    found = encode([item], tokenizer, limit=limit, policy="truncate").examples[0]
    assert found.places[2] == -1
    assert (found.places[:2] > 0).all()


def test_a_text_without_a_token_is_refused(headed):
    tokenizer = headed("gpt2", CLASSES).tokenizer
    with pytest.raises(DataError, match="no token of this text"):
        encode([Item("", None, 0, "f:7")], tokenizer, limit=8, policy="error")


# Losses


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_the_loss_of_classes_is_that_of_each_text_alone(headed, name):
    loaded = headed(name, CLASSES)
    samples = samples_of(loaded, texts(8))
    with torch.no_grad():
        total, weight = class_loss(loaded.model, batch_of(samples, range(8), rows=10))
        alone = [class_loss(loaded.model, batch_of(samples, [n]))[0] for n in range(8)]
        ids = torch.from_numpy(samples._examples[3].ids)[None]
        wanted = functional.cross_entropy(loaded.model(input_ids=ids).logits, torch.tensor([1]))
    assert weight == 8
    torch.testing.assert_close(total, torch.stack(alone).sum(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone[3], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_loss_of_values_is_the_squared_error(headed, name):
    loaded = headed(name, VALUE)
    samples = samples_of(loaded, texts(6, lambda n: n / 2 - 1.0))
    batch = batch_of(samples, range(6), rows=8)
    with torch.no_grad():
        total, weight = value_loss(loaded.model, batch)
        said = text_outputs(loaded.model, batch)[:6, 0]
    assert weight == 6
    torch.testing.assert_close(total, (said - torch.arange(6) / 2 + 1).square().sum())


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_loss_of_tags_counts_one_token_for_each_word(headed, name):
    loaded = headed(name, TAGS)
    items = [Item("def self name", None, [0, 1, 1], "f:1", [(0, 3), (4, 8), (9, 13)]),
             Item("value", None, [1], "f:2", [(0, 5)])]  # fmt: skip
    samples = samples_of(loaded, items)
    with torch.no_grad():
        total, weight = tag_loss(loaded.model, batch_of(samples, [0, 1], rows=3))
        alone = [tag_loss(loaded.model, batch_of(samples, [n]))[0] for n in range(2)]
    assert weight == 4
    torch.testing.assert_close(total, torch.stack(alone).sum(), rtol=1e-4, atol=1e-4)


def test_rows_without_a_sample_give_no_gradient_and_no_nan(headed):
    loaded = headed("bert", CLASSES)
    samples = samples_of(loaded, texts(2))

    def gradient(rows):
        loaded.model.zero_grad()
        class_loss(loaded.model, batch_of(samples, [0, 1], rows=rows))[0].backward()
        return torch.cat([p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient(5), gradient(2), rtol=1e-4, atol=1e-6)


def test_outputs_are_those_of_each_text_alone_in_the_order_asked_for(headed):
    loaded = headed("gpt2", CLASSES)
    samples = samples_of(loaded, texts(9))
    together = outputs(loaded.model, samples, [8, 2, 5, 0], batch_size=3, words=False)
    assert list(together) == [8, 2, 5, 0]
    for number, said in together.items():
        alone = outputs(loaded.model, samples, [number], batch_size=1, words=False)[number]
        np.testing.assert_allclose(said, alone, rtol=1e-3, atol=1e-5)


# Training


OPTIONS = TrainOptions(
    steps=120,
    batch_size=8,
    lr=3e-3,
    weight_decay=0.0,
    eval_every=0,
    checkpoint_every=10,
    precision="fp32",
    compile="off",
)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_classes_that_can_be_told_apart_are_learned(headed, name):
    loaded = headed(name, CLASSES)
    samples = samples_of(loaded, texts(64), batch_size=8, shuffle=True)
    list(train(loaded.model, samples, OPTIONS, loss=class_loss))
    said = outputs(loaded.model, samples, range(64), batch_size=32, words=False)
    assert np.mean([said[n].argmax() == n % 2 for n in range(64)]) == 1.0


def test_values_that_can_be_told_are_learned(headed):
    loaded = headed("llama", VALUE)
    samples = samples_of(loaded, texts(64, lambda n: (n % 8) / 4 - 0.9), batch_size=8, shuffle=True)
    list(train(loaded.model, samples, OPTIONS, loss=value_loss))
    said = outputs(loaded.model, samples, range(64), batch_size=32, words=False)
    errors = [float(said[n][0]) - ((n % 8) / 4 - 0.9) for n in range(64)]
    assert np.mean(np.square(errors)) < 0.05  # their variance is 0.33


def test_a_run_that_is_resumed_ends_with_the_same_bits(headed, tmp_path):
    samples = samples_of(headed("llama", CLASSES), texts(50), batch_size=8, shuffle=True)
    check_resumes(
        lambda: headed("llama", CLASSES).model,
        lambda model, folder: train(model, samples, OPTIONS, loss=class_loss, directory=folder),
        tmp_path,
        until=17,
    )

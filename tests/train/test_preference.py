"""DPO against its formula written out in float64, its pairs, and what padding and splitting a step must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.resuming import check_resumes

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.errors import DataError
from llmkit.models.adapters import attach
from llmkit.train.examples import Rendered, render, render_pair
from llmkit.train.lengths import fit
from llmkit.train.loop import train
from llmkit.train.preference import (
    SHORTENING,
    Pair,
    Pairs,
    answer_only,
    differ,
    dpo_loss,
    log_probabilities,
    row_log_probabilities,
)
from llmkit.train.samples import Sample

DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}


@pytest.fixture(scope="session")
def pairs(tokenizer):
    """What is good ends with `return`, what is bad with `import`; prompts and lengths differ."""

    def answered(number, word):
        more = "    pass\n" * (number % 3)
        return render_pair(f"def f{number}(x):\n", f"{more} {word} x{number}", tokenizer)

    return [Pair(answered(n, "return"), answered(n, "import"), f"prefs.jsonl:{n + 1}") for n in range(12)]


def by_hand(model, pair, reference, beta):
    """The loss of one pair in float64, from the model's plain logits: equation 7 of arXiv:2305.18290."""
    gained = []
    for example, before in zip((pair.chosen, pair.rejected), reference, strict=True):
        logits = model(input_ids=torch.from_numpy(example.ids)[None]).logits[0].double()
        logs = logits.log_softmax(-1)[:-1].gather(1, torch.from_numpy(example.ids[1:])[:, None])[:, 0]
        gained.append(logs[torch.from_numpy(example.trained[1:])].sum() - before)
    return -torch.log(torch.sigmoid(beta * (gained[0] - gained[1])))


def whole(pairs, reference=None):
    samples = Pairs(pairs, batch_size=len(pairs), seed=0, shuffle=False)
    if reference is not None:
        samples.against(reference)
    return samples


def every(pairs):
    return [Sample(0, number) for number in range(len(pairs))]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_loss_and_gradient_are_those_of_the_formula(name, small_model, pairs):
    model = small_model(name, sequence_length=64).eval()
    reference = np.random.default_rng(1).normal(-9, 4, (len(pairs), 2)).astype(np.float32)
    total, weight = dpo_loss(0.3)(model, whole(pairs, reference).batch(every(pairs), len(pairs)))
    total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    expected = sum(by_hand(model, pair, before, 0.3) for pair, before in zip(pairs, reference, strict=True))
    expected.backward()
    assert int(weight) == len(pairs)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for key, parameter in model.named_parameters():
        assert torch.allclose(found[key], parameter.grad, rtol=1e-3, atol=1e-5), key


def test_the_logits_of_a_large_vocabulary_are_made_a_slice_at_a_time(small_model, pairs, monkeypatch):
    model = small_model(sequence_length=64).eval()
    batch = whole(pairs).batch(every(pairs), len(pairs))
    at_once = row_log_probabilities(model, batch)
    seen = []
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, given, made: seen.append(given))
    monkeypatch.setattr("llmkit.train.preference.logits_at_once", lambda kind: 5 * head.weight.shape[0])
    sliced = row_log_probabilities(model, batch)
    handle.remove()
    assert torch.allclose(at_once, sliced, atol=1e-5)
    assert len(seen) == 1  # the layer is called once, by the model, and put back as it was
    assert "forward" not in vars(head)


def test_against_itself_the_loss_is_the_logarithm_of_two(small_model, pairs):
    model = small_model(sequence_length=64)
    samples = whole(pairs)
    samples.against(log_probabilities(model, samples, batch_size=len(pairs)))
    total, weight = dpo_loss(0.1)(model.eval(), samples.batch([Sample(0, int(n)) for n in samples.order(0)], 12))
    assert total.item() / weight.item() == pytest.approx(math.log(2), abs=1e-7)


def test_neither_empty_rows_nor_neighbours_nor_the_token_that_pads_matter(small_model, pairs):
    model = small_model(sequence_length=64).eval()
    loss = dpo_loss(0.1)
    total, weight = loss(model, whole(pairs).batch(every(pairs), len(pairs) + 5))
    alone = [loss(model, whole(pairs).batch([sample], 1)) for sample in every(pairs)]
    assert int(weight) == len(pairs) == sum(int(each) for _, each in alone)
    assert total.item() == pytest.approx(sum(each.item() for each, _ in alone), rel=1e-5)
    batch = whole(pairs).batch(every(pairs), len(pairs))
    padding = (
        torch.arange(batch.inputs["input_ids"].shape[1])[None]
        >= torch.tensor([len(p.chosen) - 1 for p in pairs] + [len(p.rejected) - 1 for p in pairs])[:, None]
    )
    before = row_log_probabilities(model, batch)
    batch.inputs["input_ids"][padding] = 7
    assert torch.equal(before, row_log_probabilities(model, batch))


def test_how_a_step_is_split_changes_nothing_but_rounding(small_model, pairs):
    models = [small_model(sequence_length=64) for _ in range(3)]
    for model, micro in zip(models, (0, 1, 5), strict=True):
        samples = Pairs(pairs, batch_size=6, seed=3)
        samples.against(log_probabilities(model, samples, batch_size=4))
        options = TrainOptions(steps=2, batch_size=6, micro_batch_size=micro, device="cpu", precision="fp32", lr=1e-3)
        losses = [record.loss for record in train(model, samples, options, loss=dpo_loss(0.5))][1:]
        assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    for other in models[1:]:
        for key, weight in models[0].state_dict().items():
            assert torch.allclose(weight, other.state_dict()[key], atol=2e-5), key


def learning(model, pairs, directory):
    samples = Pairs(pairs, batch_size=5, seed=3)
    samples.against(log_probabilities(model, samples, batch_size=4))
    options = TrainOptions(
        steps=7, batch_size=5, micro_batch_size=2, checkpoint_every=2, device="cpu", precision="fp32", lr=1e-2
    )
    return train(model, samples, options, loss=dpo_loss(0.1), directory=directory)


def test_a_resumed_run_is_bit_identical(small_model, pairs, tmp_path):
    def adapted():
        base = small_model(sequence_length=64, **DROPOUT)
        return attach(base, "causal", LoraOptions(rank=4, dropout=0.1), seed=1)

    check_resumes(adapted, lambda model, folder: learning(model, pairs, folder), tmp_path)


def test_pairs_that_were_never_seen_are_told_apart_after_training(small_model, pairs):
    model = attach(small_model(sequence_length=64), "causal", LoraOptions(rank=8), seed=1)
    held = whole(pairs[:4])
    before = log_probabilities(model, held, batch_size=4)
    list(learning(model, pairs[4:], None))
    gained = log_probabilities(model, held, batch_size=4) - before
    assert (gained[:, 0] > gained[:, 1]).all()


TURNS = [
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "And you?"},
    {"role": "assistant", "content": "Fine."},
]


def test_of_a_conversation_only_the_answer_counts(tokenizer):
    rendered = render(TURNS, tokenizer)
    only = answer_only(rendered, 1)
    assert tokenizer.decode(only.ids[only.trained]) == "Fine.<|im_end|>"
    assert tokenizer.decode(rendered.ids[rendered.trained]) == "Good day.<|im_end|>Fine.<|im_end|>"
    with pytest.raises(DataError, match="no tokens of its own"):
        answer_only(rendered, 2)


def rendered(length, answer, last=9):
    ids = np.arange(length)
    ids[-1] = last
    return Rendered(ids, np.arange(length) >= length - answer)


def test_too_long_pairs_are_cut_on_both_sides_alike():
    short = Pair(rendered(6, 2), rendered(5, 2), "a:1")
    long = Pair(rendered(12, 9, last=1), rendered(4, 1, last=2), "a:2")
    hopeless = Pair(rendered(12, 2), rendered(4, 1), "a:3")
    same_so_far = Pair(rendered(12, 9, last=1), rendered(12, 9, last=2), "a:4")
    with pytest.raises(DataError, match="longer answer of 12 tokens is longer than the limit of 8") as caught:
        fit([short, long], 8, "error", SHORTENING)
    assert caught.value.where == "a:2"
    cut = fit([short, long, hopeless, same_so_far], 8, "truncate", SHORTENING)
    assert (len(cut.examples), cut.truncated, cut.untrainable) == (2, 1, 2)
    assert len(cut.examples[1].chosen) == 8 and differ(cut.examples[1].chosen, cut.examples[1].rejected)

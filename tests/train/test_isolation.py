"""Documents in one row: exactly as if each were alone. The packing trap of transformers is a test of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import TrainOptions
from llmkit.errors import ConfigError
from llmkit.models.families import FAMILIES
from llmkit.train.batches import Windows
from llmkit.train.evaluation import evaluate
from llmkit.train.isolation import documents, isolation_for, positions
from llmkit.train.loop import train
from llmkit.train.losses import token_loss, without_cache
from llmkit.train.objectives import NextToken
from llmkit.train.samples import Sample

EOS = 0
CANNOT = {"bloom", "t5"}
CAUSAL = [name for name, row in FAMILIES.items() if row.objective == "causal" and name not in CANNOT]


def document(length, seed, vocabulary=1024):
    ids = np.random.default_rng(seed).integers(5, vocabulary, length)
    ids[0] = EOS
    return ids.astype(np.int64)


def as_batch(objective, tokens):
    return Windows(tokens, objective, seed=0, shuffle=False).batch([Sample(0, 0)], 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_each_document_begins_with_the_separator_and_counts_from_zero(ids):
    ids = np.array(ids, dtype=np.int64)
    number = documents(ids, 0)
    place = positions(number)
    begin = 0
    for at, id_ in enumerate(ids):
        if at and id_ == 0:
            begin = at
        assert place[at] == at - begin
        assert number[at] == sum(other == 0 for other in ids[1 : at + 1])


@pytest.mark.parametrize("name", CAUSAL)
def test_packed_documents_have_the_losses_and_gradients_of_documents_alone(name, small_model):
    model = small_model(name)
    isolation = isolation_for(model, EOS, 32)
    parts = [document(12, 1), document(7, 2), document(14, 3)]
    packed = as_batch(NextToken(32, isolation=isolation), np.concatenate([*parts]))
    with without_cache(model):
        together, count = token_loss(model, packed)
        together.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        model.zero_grad()
        # A document ends with the separator that opens the next one.
        ends = [*(np.append(part, EOS) for part in parts[:-1]), parts[-1]]
        total = 0.0
        for part in ends:
            one, _ = token_loss(model, as_batch(NextToken(len(part) - 1), part))
            one.backward()
            total += float(one.detach())
    assert int(count) == 32
    assert float(together.detach()) == pytest.approx(total, rel=1e-5)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_a_masked_model_reads_each_document_alone(name, small_model, objective_for):
    model = small_model(name).eval()
    isolation = isolation_for(model, EOS, 32, causal=False)
    first, other, second = document(15, 1), document(15, 2), document(17, 3)
    logits = []
    for beginning in (first, other):
        ids = torch.from_numpy(np.concatenate([beginning, second]))[None]
        handed = {key: torch.from_numpy(value)[None] for key, value in isolation.inputs(ids[0].numpy(), 32).items()}
        logits.append(model(input_ids=ids, **handed).logits[:, 15:])
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", sorted(CANNOT))
def test_an_architecture_that_cannot_is_refused(name, small_model):
    with pytest.raises(ConfigError, match="cannot keep the documents of a row apart"):
        isolation_for(small_model(name), EOS, 32)


def test_the_trap_is_there_and_we_are_not_in_it(small_model):
    """With a cache, or with an attention mask of ones, position ids isolate nothing, and nothing warns."""
    model = small_model("llama").eval()
    first, other, second = document(15, 1), document(15, 2), document(17, 3)
    isolation = isolation_for(model, EOS, 32)
    rows = [torch.from_numpy(np.concatenate([beginning, second]))[None] for beginning in (first, other)]
    handed = {k: torch.from_numpy(v)[None] for k, v in isolation.inputs(rows[0][0].numpy(), 32).items()}
    assert set(handed) == {"position_ids"}

    def leak(**extra):
        with torch.no_grad():
            one, two = (model(input_ids=row, **handed, **extra).logits[:, 15:] for row in rows)
        return float((one - two).abs().max())

    ones = torch.ones_like(rows[0])
    assert leak(use_cache=True) > 1e-3
    assert leak(use_cache=False, attention_mask=ones) > 1e-3
    assert leak(use_cache=False) == 0.0
    with without_cache(model):
        assert leak() == 0.0


def test_a_run_is_isolated_from_first_to_last(small_model, tokens, tokenizer):
    """Through the loop itself: another first document in the same windows leaves the loss of the second as it was."""
    model = small_model("llama")
    isolation = isolation_for(model, tokenizer.eos_token_id, 32)
    objective = NextToken(32, isolation=isolation)
    options = TrainOptions(steps=2, batch_size=4, precision="fp32", device="cpu")
    held_out = Windows(tokens[:200], objective, seed=0, shuffle=False)
    records = list(train(model, Windows(tokens, objective, seed=3), options, validation=held_out))
    assert records[-1].evaluation.tokens == 199
    tail = document(16, 9)
    eos = tokenizer.eos_token_id
    tail[0] = eos
    losses = []
    for seed in (1, 2):
        head = document(17, seed)
        head[0] = 7
        packed = Windows(np.concatenate([head, tail]), objective, seed=0, shuffle=False)
        whole = evaluate(model, packed, batch_size=1)[0]
        # The head's own share is that of the head alone, closed by the separator that opens the tail.
        alone = evaluate(model, Windows(np.append(head, eos), objective, seed=0, shuffle=False), batch_size=1)[0]
        losses.append(whole - alone)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)

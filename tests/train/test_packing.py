"""Examples in one row are learned as if each were alone, and an epoch reads each of them once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.resuming import check_resumes

from llmkit.config.sections import TrainOptions
from llmkit.errors import DataError
from llmkit.models.families import FAMILIES
from llmkit.train.examples import Rendered
from llmkit.train.isolation import Isolation, isolation_for
from llmkit.train.loop import train
from llmkit.train.losses import token_loss, without_cache
from llmkit.train.packing import Packed, packed, row_length
from llmkit.train.padding import Padded
from llmkit.train.samples import IGNORE, Sample

CANNOT = {"bloom"}
CAUSAL = [name for name, row in FAMILIES.items() if row.objective == "causal" and name not in CANNOT]
POSITIONS = Isolation(0, "positions", True)


def example(length, seed=0, learned_from=0):
    ids = np.random.default_rng(seed).integers(5, 1000, length).astype(np.int64)
    return Rendered(ids, np.arange(length) >= learned_from, f"x:{seed}")


EXAMPLES = [example(9, 1, 4), example(14, 2, 3), example(6, 3, 5), example(11, 4, 6), example(20, 5, 1)]


def rows(given_, isolation=POSITIONS, length=32):
    return Packed(given_, length=length, isolation=isolation, seed=0)


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80), seed=st.integers(0, 3))
def test_every_item_is_in_one_bin_and_no_bin_overflows(lengths, seed):
    bins = packed(lengths, 40, seed=seed)
    assert sorted(item for each in bins for item in each) == list(range(len(lengths)))
    filled = [sum(lengths[item] for item in each) for each in bins]
    assert max(filled) <= 40
    # The bound of best fit decreasing, against the least that volume allows, and never two bins that fit in one.
    assert len(bins) <= 11 / 9 * max(1, -(-sum(lengths) // 40)) * 2
    assert len(bins) == 1 or sorted(filled)[0] + sorted(filled)[1] > 40
    assert bins == packed(lengths, 40, seed=seed)


def test_bins_are_nearly_full_where_items_are_short():
    lengths = np.random.default_rng(0).integers(5, 60, 5000).tolist()
    bins = packed(lengths, 256, seed=0)
    assert sum(lengths) / (256 * len(bins)) > 0.98


def test_what_does_not_fit_into_a_row_is_refused():
    with pytest.raises(DataError, match="longer than a packed row of 8"):
        packed([3, 9], 8, seed=0)
    with pytest.raises(DataError, match="no examples"):
        packed([], 8, seed=0)


def test_a_row_is_as_long_as_asked_else_as_usual_within_what_the_model_reads():
    assert row_length(300, 4096, 50) == 300
    assert row_length(0, 4096, 50) == 1024
    assert row_length(0, 4096, 2000) == 2000
    assert row_length(0, 128, 50) == 128


def test_each_example_asks_for_its_own_tokens_and_none_for_the_next_ones_first():
    batch = rows(EXAMPLES).batch([Sample(0, 0), Sample(0, 1)], 3)
    wanted = sorted(tuple(each.ids[1:][each.trained[1:]].tolist()) for each in EXAMPLES)
    found = []
    for ids, labels, places in zip(batch.inputs["input_ids"], batch.labels, batch.inputs["position_ids"], strict=True):
        starts = [*np.flatnonzero(places.numpy() == 0), len(places)]
        for start, end in pairwise(starts):
            one = labels[start:end]
            if bool((one != IGNORE).any()):
                found.append(tuple(one[one != IGNORE].tolist()))
                assert places[start:end].tolist() == list(range(end - start))
        kept = labels[:-1] != IGNORE
        inside = kept & (places[1:] != 0)
        assert torch.equal(labels[:-1][inside], ids[1:][inside])
    assert sorted(found) == wanted
    assert bool((batch.labels[2] == IGNORE).all())


@pytest.mark.parametrize("name", CAUSAL)
def test_packed_examples_have_the_loss_and_gradients_of_padded_ones(name, small_model):
    model = small_model(name)
    isolation = isolation_for(model, 0, 32)
    together = rows(EXAMPLES, isolation)
    apart = Padded(EXAMPLES, batch_size=5, seed=0, shuffle=False)
    sums = []
    for samples in (together, apart):
        model.zero_grad()
        with without_cache(model):
            total, count = token_loss(model, samples.batch([Sample(0, n) for n in range(len(samples))], len(samples)))
        total.backward()
        sums.append((float(total.detach()), int(count), {n: p.grad.clone() for n, p in model.named_parameters()}))
    assert sums[0][0] == pytest.approx(sums[1][0], rel=1e-5)
    assert sums[0][1] == sums[1][1]
    for key, gradient in sums[0][2].items():
        torch.testing.assert_close(gradient, sums[1][2][key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_another_example_in_the_row_changes_nothing_for_its_neighbours(name, small_model):
    """Zero leakage: the logits of all other examples stay the same to the last bit."""
    model = small_model(name).eval()
    isolation = isolation_for(model, 0, 32)
    other = [example(9, 77, 4), *EXAMPLES[1:]]
    logits, batches = [], []
    for given_ in (EXAMPLES, other):
        batch = rows(given_, isolation).batch([Sample(0, n) for n in range(2)], 2)
        with without_cache(model), torch.no_grad():
            logits.append(model(**batch.inputs).logits)
        batches.append(batch.inputs["input_ids"])
    same = batches[0] == batches[1]
    assert 0 < int((~same).sum()) <= 8
    untouched = torch.ones_like(same)
    for row, numbers in enumerate(rows(EXAMPLES, isolation).rows):
        at = 0
        for number in numbers:
            end = at + len(EXAMPLES[number]) - 1
            untouched[row, at:end] = number != 0
            at = end
    assert torch.equal(logits[0][untouched], logits[1][untouched])
    assert not torch.equal(logits[0][~untouched], logits[1][~untouched])


def test_an_epoch_is_a_pass_over_the_examples_and_a_run_resumes_bit_for_bit(small_model, tmp_path):
    given_ = [example(5 + n % 13, n, 2) for n in range(60)]
    samples = rows(given_, length=48)
    for epoch in (0, 1):
        read = [number for row in samples.order(epoch) for number in samples.rows[row]]
        assert sorted(read) == list(range(60))
    assert samples.order(0).tolist() != samples.order(1).tolist()
    options = TrainOptions(steps=8, batch_size=3, precision="fp32", device="cpu", checkpoint_every=4)
    tokens = sum(record.tokens for record in train(small_model("llama"), samples, options))
    assert tokens == pytest.approx(8 * 3 / len(samples) * sum(int(e.trained[1:].sum()) for e in given_), rel=0.2)
    check_resumes(
        lambda: small_model("llama"),
        lambda model, folder: train(model, rows(given_, length=48), options, directory=folder),
        tmp_path,
        until=5,
    )

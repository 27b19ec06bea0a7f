from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.resuming import check_resumes

from llmkit.config.sections import TrainOptions
from llmkit.errors import ConfigError
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.mixture import Mixture
from llmkit.train.objectives import NextToken
from llmkit.train.samples import IGNORE, Batch, Sample, samples_of_step


class Numbers:
    """A source whose rows say which sample of which epoch they are."""

    def __init__(self, source, length):
        self.source, self.length = source, length

    def __len__(self):
        return self.length

    def order(self, epoch):
        import numpy as np

        return (np.arange(self.length, dtype=np.int64) + epoch) % self.length

    def batch(self, samples, rows):
        made = [[self.source, sample.epoch, sample.number] for sample in samples]
        made += [[-1, -1, -1]] * (rows - len(made))
        labels = torch.tensor(made)
        return Batch({"input_ids": labels}, torch.where(labels < 0, IGNORE, labels))


def read(mixture, epochs):
    chosen = [Sample(epoch, int(number)) for epoch in range(epochs) for number in mixture.order(epoch)]
    return [tuple(row) for row in mixture.batch(chosen, len(chosen)).inputs["input_ids"].tolist()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.01, 10)), min_size=1, max_size=4), st.integers(1, 4))
def test_shares_are_kept_and_each_source_is_read_through_before_it_is_read_again(sources, epochs):
    mixture = Mixture(
        [Numbers(at, length) for at, (length, _) in enumerate(sources)], [weight for _, weight in sources], seed=5
    )
    rows = read(mixture, epochs)
    total = sum(weight for _, weight in sources)
    for at, (length, weight) in enumerate(sources):
        mine = [row for row in rows if row[0] == at]
        share = mixture.shares[at]
        assert len(mine) == share.samples * epochs
        assert share.samples == pytest.approx(max(1, weight / total * sum(n for n, _ in sources)), abs=1)
        times = Counter(row[2] for row in mine)
        assert len({row[1:] for row in mine}) == len(mine)  # no sample of an epoch of the source comes twice
        assert max(times.values()) - min([*times.values(), 0] if len(times) < length else times.values()) <= 1


def test_without_weights_an_epoch_reads_everything_once():
    rows = read(Mixture([Numbers(0, 5), Numbers(1, 12)], seed=0), 1)
    assert sorted(rows) == sorted([(0, 0, n) for n in range(5)] + [(1, 0, n) for n in range(12)])
    assert [row[0] for row in rows] != sorted(row[0] for row in rows)


def test_any_step_can_be_read_without_those_before_it(tokens):
    parts = [Windows(tokens[:900], NextToken(16), seed=1), Windows(tokens[900:2000], NextToken(16), seed=2)]
    mixture = Mixture(parts, [3, 1], seed=0)
    every = [sample for step in range(40) for sample in samples_of_step(mixture, step, 6)]
    fresh = Mixture(parts, [3, 1], seed=0)
    assert samples_of_step(fresh, 33, 6) == every[33 * 6 : 34 * 6]
    first, second = (m.batch(every[33 * 6 : 34 * 6], 8) for m in (mixture, fresh))
    assert torch.equal(first.labels, second.labels)
    assert (first.labels[6:] == IGNORE).all()


def test_a_run_on_a_mixture_resumes_bit_for_bit(tokens, small_model, tmp_path):
    def mixture():
        parts = [Windows(tokens[:500], NextToken(32), seed=1), Windows(tokens[500:3000], NextToken(32), seed=2)]
        return Mixture(parts, [0.7, 0.3], seed=4)

    options = TrainOptions(steps=9, batch_size=5, micro_batch_size=2, checkpoint_every=2, device="cpu", lr=1e-2)
    check_resumes(
        small_model, lambda model, folder: train(model, mixture(), options, directory=folder), tmp_path, until=5
    )


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, 2.0, 3.0]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ConfigError, match="weights for 2 datasets"):
        Mixture([Numbers(0, 5), Numbers(1, 5)], weights, seed=0)

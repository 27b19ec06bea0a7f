from __future__ import annotations

import json
import math

import pytest
import torch

from llmkit.config.sections import TrainOptions
from llmkit.errors import ConfigError, RunError
from llmkit.train import checkpoint as checkpoints
from llmkit.train.batches import Windows
from llmkit.train.evaluation import evaluate, spread
from llmkit.train.loop import train
from llmkit.train.losses import token_loss
from llmkit.train.objectives import NextToken
from llmkit.train.records import Evaluation
from llmkit.train.watch import LossWatch, best_of, stalled

OPTIONS = {"batch_size": 4, "precision": "fp32", "device": "cpu"}


@pytest.fixture
def windows(tokens):
    return Windows(tokens, NextToken(32), seed=3)


@pytest.fixture
def held_out(tokens):
    return Windows(tokens[-600:], NextToken(32), seed=0, shuffle=False)


def watched(losses):
    watch = LossWatch()
    for step, loss in enumerate(losses, start=1):
        watch = watch.after(step, loss)
    return watch


def test_a_falling_and_noisy_loss_is_no_spike():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, generator=random).tolist()
    watch = LossWatch()
    for step, wave in enumerate(noise, start=1):
        watch = watch.after(step, 2 + 6 * math.exp(-step / 300) + wave)
        assert not watch.rose(1.5)


def test_one_bad_batch_is_no_spike_and_a_diverged_run_is_one_soon():
    calm = [3.0 - n / 1000 for n in range(300)]
    assert not watched([*calm, 15.0]).rose(1.5)
    flown = next(n for n in range(1, 100) if watched(calm + [9.0] * n).rose(1.5))
    assert 5 < flown < 30
    assert watched(calm + [9.0] * flown).lowest_step == 300
    assert not watched(calm + [9.0] * 100).rose(0)


def spoilt(after):
    """A loss that is right up to a step and then grows."""
    calls = []

    def loss(model, batch):
        if model.training:
            calls.append(1)
        total, weight = token_loss(model, batch)
        return total + (weight * 9.0 if len(calls) > after and model.training else 0.0), weight

    return loss


def test_a_spike_stops_the_run_and_the_checkpoint_from_before_is_kept(small_model, windows, tmp_path):
    options = TrainOptions(steps=200, checkpoint_every=4, keep=1, lr=1e-3, **OPTIONS)
    with pytest.raises(RunError, match=r"rose from .* \(smoothed, step 40\)") as caught:
        list(train(small_model(), windows, options, loss=spoilt(40), directory=tmp_path))
    steps = sorted(int(path.name[5:]) for path in tmp_path.glob("step-*"))
    assert steps[0] == 40
    assert len(steps) == 2
    assert "step-00000040" in str(caught.value.where)
    assert "--lr" in caught.value.mend
    # Regardless of the spike, the same run goes on.
    on = TrainOptions(steps=200, checkpoint_every=4, keep=1, lr=1e-3, spike=0, **OPTIONS)
    record = next(iter(train(small_model(), windows, on, loss=spoilt(0), directory=tmp_path)))
    assert record.resumed_from == steps[1]


def test_patience_counts_evaluations_after_the_best():
    def history(*losses):
        return [Evaluation(step, loss, 1) for step, loss in enumerate(losses)]

    assert not stalled(history(3, 2, 2.5, 2.1), 3)
    assert stalled(history(3, 2, 2.5, 2.1, 2.2), 3)
    assert not stalled(history(3, 2, 2.5, 2.1, 1.9), 3)
    assert not stalled(history(3, 4, 5, 6, 7), 0)
    assert not stalled([], 3)
    assert best_of(history(3, 2, 2)).step == 1


def test_a_run_stops_early_and_its_best_weights_are_those_of_the_best_evaluation(
    small_model, windows, held_out, tokens, tmp_path
):
    few = Windows(tokens[:300], NextToken(32), seed=3)
    options = TrainOptions(
        steps=400, eval_every=5, checkpoint_every=50, keep=1, patience=2, lr=1e-2, spike=0, **OPTIONS
    )
    records = list(train(small_model(), few, options, validation=held_out, directory=tmp_path))
    last = records[-1]
    assert last.stalled
    assert last.step < 400
    assert last.best == last.step - 10
    losses = {evaluation.step: evaluation.loss for evaluation in last.evaluations}
    assert losses[last.best] == min(losses.values())
    best = small_model()
    found = checkpoints.of_step(tmp_path, last.best)
    found.restore_weights(best)
    nll, count = evaluate(best, held_out, batch_size=4)
    assert nll / count == pytest.approx(losses[last.best], rel=1e-6)
    # A run that has ended does not train again.
    again = list(train(small_model(), few, options, validation=held_out, directory=tmp_path))
    assert [record.step for record in again] == [last.step]
    assert again[0].stalled


def test_an_interrupted_run_stops_early_at_the_same_step(small_model, held_out, tokens, tmp_path):
    few = Windows(tokens[:300], NextToken(32), seed=3)
    options = TrainOptions(steps=400, eval_every=5, checkpoint_every=7, patience=2, lr=1e-2, spike=0, **OPTIONS)
    whole = list(train(small_model(), few, options, validation=held_out))
    for record in train(small_model(), few, options, validation=held_out, directory=tmp_path):
        if record.step == whole[-1].step - 3:
            break
    rest = list(train(small_model(), few, options, validation=held_out, directory=tmp_path))
    assert rest[-1].step == whole[-1].step
    assert rest[-1].evaluations == whole[-1].evaluations


def test_patience_without_a_held_out_part_is_refused(small_model, windows):
    with pytest.raises(ConfigError, match="nothing is held out"):
        list(train(small_model(), windows, TrainOptions(steps=3, patience=2, **OPTIONS)))


def test_some_of_the_held_out_samples_are_the_same_ones_each_time_and_evenly_spread(held_out):
    assert [sample.number for sample in spread(held_out, 4)] == [0, 4, 9, 14]
    assert len(held_out) == 19
    assert spread(held_out, 4) == spread(held_out, 4)
    assert spread(held_out, 0) == spread(held_out, 19) == spread(held_out, 1000)


def test_several_held_out_parts_are_measured_together_and_each(small_model, windows, held_out, tokens, tmp_path):
    parts = {"code": held_out, "prose": Windows(tokens[:200], NextToken(32), seed=0, shuffle=False)}
    model = small_model()
    options = TrainOptions(steps=2, eval_every=1, **OPTIONS)
    records = list(train(model, windows, options, validation=parts, directory=tmp_path))
    last = records[-1].evaluation
    assert {name: part.tokens for name, part in last.parts.items()} == {"code": 599, "prose": 199}
    assert last.tokens == 798
    assert last.nll == pytest.approx(sum(part.nll for part in last.parts.values()))
    nll, _ = evaluate(model, parts["prose"], batch_size=4)
    assert last.parts["prose"].nll == pytest.approx(nll, rel=1e-6)
    state = json.loads((tmp_path / "step-00000002" / "state.json").read_text())
    assert tuple(map(Evaluation.of, state["evaluations"])) == records[-1].evaluations


def test_eval_samples_bounds_an_evaluation(small_model, windows, held_out):
    options = TrainOptions(steps=1, eval_samples=5, **OPTIONS)
    record = list(train(small_model(), windows, options, validation=held_out))[-1]
    assert record.evaluation.tokens == 5 * 32

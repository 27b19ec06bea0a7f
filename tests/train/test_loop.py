from __future__ import annotations

import math
import os
import signal

import pytest
import torch

from llmkit.config.sections import TrainOptions
from llmkit.errors import DataError, RunError, UnavailableError
from llmkit.train.batches import Windows
from llmkit.train.evaluation import evaluate
from llmkit.train.loop import train
from llmkit.train.losses import token_loss
from llmkit.train.objectives import NextToken
from llmkit.train.samples import IGNORE, Batch, samples_of_step


def options(steps, **changed):
    return TrainOptions(steps=steps, **{"batch_size": 8, "precision": "fp32", "device": "cpu", **changed})


@pytest.fixture
def windows(tokens):
    return Windows(tokens, NextToken(32), seed=3)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("micro", [4, 3, 1])
def test_splitting_a_step_into_micro_batches_changes_nothing_but_rounding(micro, small_model, windows):
    # 20 samples in steps of 8: the last step has only 4.
    whole, split = small_model(), small_model()
    expected = list(train(whole, windows, options(3, samples=20)))
    got = list(train(split, windows, options(3, samples=20, micro_batch_size=micro)))
    assert len(expected) == 4
    assert [r.tokens for r in got] == [r.tokens for r in expected] == [0, 256, 256, 128]
    for ours, theirs in zip(got[1:], expected[1:], strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-6)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-4)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(split)[name], weight, rtol=1e-3, atol=1e-5)


def test_the_loss_of_a_step_weights_tokens_and_not_micro_batches(small_model, windows):
    """The bug of transformers #34191: a mean of means is wrong when micro-batches have unequal numbers of labels."""

    def uneven(model, batch):
        keep = torch.arange(32)[None] <= batch.labels[:, :1] % 31
        return token_loss(model, Batch(batch.inputs, torch.where(keep, batch.labels, IGNORE)))

    model = small_model()
    one, eight = (
        list(train(small_model(), windows, options(1, micro_batch_size=micro), loss=uneven))[1] for micro in (1, 8)
    )
    sums = [uneven(model, windows.batch([sample], 1)) for sample in samples_of_step(windows, 0, 8)]
    assert len({int(weight) for _, weight in sums}) > 3
    expected = sum(float(total.detach()) for total, _ in sums) / sum(int(weight) for _, weight in sums)
    assert one.loss == pytest.approx(expected, rel=1e-6)
    assert eight.loss == pytest.approx(expected, rel=1e-6)
    assert eight.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)


def test_a_step_is_that_of_plain_torch(small_model, windows):
    """Against AdamW, clipping and a mean loss written out by hand."""
    ours, theirs = small_model(), small_model()
    record = list(train(ours, windows, options(1, lr=1e-3, warmup=0.0, schedule="constant", clip=0.5)))[1]
    batch = windows.batch(samples_of_step(windows, 0, 8), 8)
    logits = theirs(input_ids=batch.inputs["input_ids"]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
    matrices = [p for p in theirs.parameters() if p.dim() >= 2]
    others = [p for p in theirs.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95)).step()
    assert record.loss == pytest.approx(loss.item(), rel=1e-6)
    assert record.grad_norm == pytest.approx(float(norm), rel=1e-5)
    for name, weight in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], weight, rtol=1e-4, atol=1e-5)


def test_evaluation_sums_over_every_token_once_whatever_the_batch_size(small_model, tokens):
    model = small_model()
    held_out = Windows(tokens[:1000], NextToken(32), seed=0, shuffle=False)
    results = [evaluate(model, held_out, batch_size=size) for size in (1, 7, 32)]
    assert {count for _, count in results} == {999}
    for nll, _ in results:
        assert nll == pytest.approx(results[0][0], rel=1e-6)
    assert math.exp(results[0][0] / 999) == pytest.approx(1100, rel=0.3)  # about uniform over the vocabulary


def test_records_tell_of_evaluations_before_during_and_after(small_model, windows, tokens):
    held_out = Windows(tokens[:500], NextToken(32), seed=0, shuffle=False)
    records = list(train(small_model(), windows, options(5, eval_every=2, lr=1e-2), validation=held_out))
    assert [r.step for r in records if r.evaluation] == [0, 2, 4, 5]
    assert [e.step for e in records[-1].evaluations] == [0, 2, 4, 5]
    assert records[-1].evaluations[-1].loss < records[0].evaluation.loss
    assert records[0].loss is None
    assert [r.progress for r in records] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_a_time_budget_ends_the_run(small_model, windows):
    records = list(train(small_model(), windows, options(100_000, minutes=0.5 / 60, lr=1.0, floor=0.1)))
    assert 2 <= len(records) < 100_000
    assert records[-1].progress == 1.0


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(small_model, windows, tmp_path):
    calls = []

    def broken(model, batch):
        calls.append(1)
        total, weight = token_loss(model, batch)
        return total * (math.nan if len(calls) == 4 else 1.0), weight

    with pytest.raises(RunError, match="loss of step 4 is nan") as caught:
        list(train(small_model(), windows, options(9, checkpoint_every=2), loss=broken, directory=tmp_path))
    assert "step 2" in caught.value.mend
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_step_without_a_label_is_bad_data(small_model, windows):
    def blind(model, batch):
        return token_loss(model, Batch(batch.inputs, torch.full_like(batch.labels, -100)))

    with pytest.raises(DataError, match="no trained token"):
        list(train(small_model(), windows, options(1), loss=blind))


def test_a_missing_device_is_said_before_anything_is_done(small_model, windows):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(UnavailableError, match="cuda:0 is not there"):
        next(train(small_model(), windows, options(1, device="cuda")))


def test_too_little_data_is_said_with_the_number_that_is_needed(tokens):
    with pytest.raises(DataError, match="20 tokens are too few: one sample needs 33"):
        Windows(tokens[:20], NextToken(32), seed=0)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_in_mid_step_takes_effect_after_it_with_a_checkpoint(number, kind, small_model, windows, tmp_path):
    before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))
    calls = []

    def signalled(model, batch):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return token_loss(model, batch)

    try:
        with pytest.raises(kind):
            list(train(small_model(), windows, options(9), loss=signalled, directory=tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_caller_that_stops_looking_leaves_a_checkpoint(small_model, windows, tmp_path):
    for record in train(small_model(), windows, options(9), directory=tmp_path):
        if record.step == 4:
            break
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def test_training_leaves_the_models_cache_setting_as_it_was(small_model, windows):
    model = small_model()
    seen = []

    def watching(model, batch):
        seen.append(model.config.use_cache)
        return token_loss(model, batch)

    list(train(model, windows, options(1), loss=watching))
    assert seen == [False]
    assert model.config.use_cache


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_that_are_computed_again_give_the_same_steps(precision, small_model, windows):
    kept, again = small_model("llama"), small_model("llama")
    again.gradient_checkpointing_enable({"use_reentrant": False})
    one, other = (list(train(model, windows, options(2, precision=precision))) for model in (kept, again))
    assert [record.loss for record in one] == [record.loss for record in other]
    assert [record.grad_norm for record in one] == [record.grad_norm for record in other]

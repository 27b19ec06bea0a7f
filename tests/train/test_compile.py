from __future__ import annotations

import pytest
import torch

from llmkit.config.sections import TrainOptions
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.setup import _has_compiler

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _has_compiler(), reason="no C++ compiler")]
DROPOUT = {"resid_pdrop": 0.2, "attn_pdrop": 0.2}


def run(model, tokens, directory=None, *, until=None, **changed):
    options = TrainOptions(**{"steps": 5, "batch_size": 4, "precision": "fp32", "device": "cpu", **changed})
    windows = Windows(tokens, NextToken(32), seed=0)
    held_out = Windows(tokens[:200], NextToken(32), seed=0, shuffle=False)
    losses = {}
    for record in train(model, windows, options, directory=directory, validation=held_out):
        losses[record.step] = (record.loss, record.evaluation and record.evaluation.nll)
        if record.step == until:
            break
    return losses


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_compiled_run_has_the_losses_of_one_that_is_not(family, small_model, tokens):
    plain = run(small_model(family), tokens)
    compiled = run(small_model(family), tokens, compile="on")
    for step, (loss, nll) in plain.items():
        assert compiled[step] == (loss and pytest.approx(loss, rel=1e-4), nll and pytest.approx(nll, rel=1e-3))


def test_a_compiled_run_resumes_bit_for_bit(small_model, tokens, tmp_path):
    whole, first, second = (small_model(**DROPOUT) for _ in range(3))
    expected = run(whole, tokens, compile="on")
    run(first, tokens, tmp_path, compile="on", until=2)
    losses = run(second, tokens, tmp_path, compile="on")
    assert losses[5] == expected[5]
    for name, weight in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name

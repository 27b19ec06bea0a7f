"""Seq2seq samples: the loss is transformers' own, and padding is masked by its position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.resuming import check_resumes

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.errors import DataError
from llmkit.models.adapters import attach
from llmkit.train.answers import SHORTENING, Answered, Answers, answers_nll
from llmkit.train.lengths import fit
from llmkit.train.loop import train
from llmkit.train.losses import token_loss
from llmkit.train.samples import Sample

T5 = {"d_model": 32, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 8, "d_ff": 64}


@pytest.fixture(scope="session")
def rows(tokenizer):
    words = ["return", "import", "class", "print", "while"]

    def row(n):
        asked = f"{'say ' * (n % 4)}{words[n % 5]} {n}"
        ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in (asked, words[n % 5])]
        return Answered(np.array(ids[0]), np.array(ids[1]), f"pairs.jsonl:{n + 1}")

    return [row(n) for n in range(20)]


@pytest.fixture
def t5(small_model):
    def build(**changed):
        return small_model("t5", **T5, **changed)

    return build


def samples_of(rows, model, **options):
    start = model.config.decoder_start_token_id
    return Answers(rows, start=start, **{"batch_size": 4, "seed": 3, **options})


def test_the_loss_is_that_of_transformers_with_its_own_labels(t5, rows):
    model = t5().eval()
    batch = samples_of(rows, model).batch([Sample(0, n) for n in range(len(rows))], len(rows))
    total, weight = token_loss(model, batch)
    given = {key: batch.inputs[key] for key in ("input_ids", "attention_mask")}
    theirs = model(**given, labels=batch.labels).loss
    assert int(weight) == sum(len(row.answer) for row in rows)
    assert total.item() / weight.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_row_costs_the_same_alone_and_beside_longer_ones_whatever_pads_it(t5, rows):
    model = t5().eval()
    start = model.config.decoder_start_token_id
    alone = answers_nll(model, rows, start)
    batch = samples_of(rows, model).batch([Sample(0, n) for n in range(len(rows))], len(rows) + 3)
    total, weight = token_loss(model, batch)
    assert total.item() == pytest.approx(sum(nll for nll, _ in alone), rel=1e-4)
    assert int(weight) == sum(tokens for _, tokens in alone)
    batch.inputs["input_ids"][batch.inputs["attention_mask"] == 0] = 7
    again, _ = token_loss(model, batch)
    assert again.item() == total.item()


def test_rows_that_only_fill_a_batch_leave_the_gradient_finite(t5, rows):
    model = t5()
    total, _ = token_loss(model, samples_of(rows, model).batch([Sample(0, 0)], 3))
    total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_a_resumed_run_is_bit_identical(t5, rows, tmp_path):
    def adapted():
        return attach(t5(dropout_rate=0.2), "seq2seq", LoraOptions(rank=4, dropout=0.1), seed=1)

    options = TrainOptions(
        steps=7, batch_size=5, micro_batch_size=2, checkpoint_every=2, device="cpu", precision="fp32", lr=1e-2
    )
    check_resumes(
        adapted,
        lambda model, folder: train(model, samples_of(rows, model, batch_size=5), options, directory=folder),
        tmp_path,
    )


def answered(prompt, answer):
    return Answered(np.append(np.arange(prompt - 1) + 5, 1), np.append(np.arange(answer - 1) + 5, 1), "p:2")


def test_both_sides_are_cut_to_the_limit_and_a_prompt_keeps_the_mark_that_ends_it():
    with pytest.raises(DataError, match="a completion of 9 tokens is longer than the limit of 8") as caught:
        fit([answered(4, 9)], 8, "error", SHORTENING)
    assert caught.value.where == "p:2"
    cut = fit([answered(4, 4), answered(10, 10)], 8, "truncate", SHORTENING)
    assert cut.truncated == 1
    assert cut.examples[1].prompt.tolist() == [5, 6, 7, 8, 9, 10, 11, 1]
    assert cut.examples[1].answer.tolist() == [5, 6, 7, 8, 9, 10, 11, 12]
    (plain,) = fit([replace(answered(10, 4), closed=False)], 8, "truncate", SHORTENING).examples
    assert plain.prompt.tolist() == [5, 6, 7, 8, 9, 10, 11, 12]

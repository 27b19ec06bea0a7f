"""The contrastive loss against sentence-transformers' own, and what must not count as a negative."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from support.resuming import check_resumes

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.errors import DataError
from llmkit.models.adapters import attach
from llmkit.train.contrastive import (
    Anchored,
    Texts,
    check_apart,
    contrastive_loss,
    encode,
    ranking_loss,
    ranks,
    vectors_of,
)
from llmkit.train.loop import train
from llmkit.train.samples import IGNORE, Sample


def vectors(count, seed):
    drawn = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1).requires_grad_()


@pytest.mark.parametrize("negatives", [False, True])
def test_loss_and_gradient_are_those_of_sentence_transformers(negatives):
    parts = [(3 * vectors(6, seed)).detach().requires_grad_() for seed in range(3 if negatives else 2)]
    units = [torch.nn.functional.normalize(part, dim=-1) for part in parts]
    numbers = torch.arange(18).view(3, 6).T.clone()
    if not negatives:
        numbers[:, 2] = IGNORE
    total, weight = ranking_loss(units[0], torch.cat(units[1:]), numbers)
    ours = torch.autograd.grad(total / weight, parts)
    theirs = MultipleNegativesRankingLoss(model=None).compute_loss_from_embeddings(parts, labels=None)
    assert (total / weight).item() == pytest.approx(theirs.item(), rel=1e-6)
    for mine, other in zip(ours, torch.autograd.grad(theirs, parts), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_what_is_right_too_is_no_negative():
    anchors, positives, negatives = (vectors(4, seed) for seed in range(3))
    # Rows 0 and 1 have the same positive; 2 and 3 the same anchor; the negative of 3 is the positive of 0.
    numbers = torch.tensor([[0, 10, 20], [1, 10, 21], [2, 12, 22], [2, 13, 10]])
    total, weight = ranking_loss(anchors, torch.cat([positives, negatives]), numbers)
    scores = 20 * anchors @ torch.cat([positives, negatives]).T
    counted = {0: [0, 2, 3, 4, 5, 6], 1: [1, 2, 3, 4, 5, 6], 2: [2, 0, 1, 4, 5, 6, 7], 3: [3, 0, 1, 4, 5, 6, 7]}
    expected = sum(-scores[row][columns].log_softmax(0)[0] for row, columns in counted.items())
    assert (total.item(), int(weight)) == (pytest.approx(expected.item(), rel=1e-6), 4)


def test_rows_that_only_fill_a_batch_are_neither_anchors_nor_negatives():
    anchors, positives = vectors(5, 0), vectors(5, 1)
    numbers = torch.tensor([[n, n + 10, IGNORE] for n in range(3)] + [[IGNORE] * 3] * 2)
    total, weight = ranking_loss(anchors, positives, numbers)
    alone, _ = ranking_loss(anchors[:3], positives[:3], numbers[:3])
    assert (total.item(), int(weight)) == (pytest.approx(alone.item()), 3)


@pytest.fixture
def encoder(small_model):
    def build(**changed):
        return small_model("bert", hidden_size=32, num_hidden_layers=2, intermediate_size=64, **changed).base_model

    return build


@pytest.fixture(scope="session")
def rows(tokenizer):
    """Names and how they are used: what belongs together shares a word, which differs from pair to pair."""
    names = ["argparse", "textwrap", "decoder", "parser", "shutil", "action", "indent", "string", "object", "import"]

    def ids(text):
        return np.array(tokenizer.encode(text)[:30], dtype=np.int64)

    return [Anchored(ids(f"{name} {n}"), ids(f"def use_{name}(x):\n    return {name}.go({n})")) for n in range(3)
            for name in names]  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(pooling, encoder, rows):
    model = encoder().eval()
    texts = [row.anchor for row in rows[:3]] + [rows[0].positive]
    together = encode(model, texts, pooling)
    for text, vector in zip(texts, together, strict=True):
        inputs = {"input_ids": torch.from_numpy(text)[None], "attention_mask": torch.ones(1, len(text), dtype=int)}
        with torch.no_grad():
            assert np.allclose(vectors_of(model, inputs, pooling)[0].numpy(), vector, atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_equal_texts_have_equal_numbers_and_empty_rows_none(rows):
    samples = Texts([*rows[:3], rows[1]], batch_size=4, seed=0)
    labels = samples.batch([Sample(0, 1), Sample(0, 3), Sample(1, 1)], 4).labels
    assert labels[0].equal(labels[1]) and labels[0].equal(labels[2])
    assert labels[0, 0] != labels[0, 1]
    assert labels[3].tolist() == [IGNORE] * 3


def learning(model, rows, directory, *, steps=7):
    options = TrainOptions(
        steps=steps, batch_size=8, checkpoint_every=2, device="cpu", precision="fp32", lr=1e-2, spike=0
    )
    samples = Texts(rows, batch_size=8, seed=3)
    return train(model, samples, options, loss=contrastive_loss("mean"), directory=directory)


def test_a_resumed_run_is_bit_identical(encoder, rows, tmp_path):
    def adapted():
        base = encoder(hidden_dropout_prob=0.2)
        return attach(base, "masked", LoraOptions(rank=4, dropout=0.1), seed=1)

    check_resumes(adapted, lambda model, folder: learning(model, rows, folder), tmp_path)


def test_pairs_that_were_never_seen_are_found_after_training(encoder, rows):
    model = attach(encoder(), "masked", LoraOptions(rank=8), seed=1)
    held = rows[20:]

    def found():
        return ranks(held, *(encode(model, texts, "mean") for texts in zip(*((r.anchor, r.positive) for r in held),
                                                                          strict=True)))  # fmt: skip

    before = found()
    list(learning(model, rows[:20], None, steps=30))
    after = found()
    assert sum(1 / rank for rank in after) > sum(1 / rank for rank in before) + 2


def text(*ids):
    return np.array(ids, dtype=np.int64)


def test_ranks_count_distinct_documents_and_put_ties_last():
    rows = [Anchored(text(1), text(10)), Anchored(text(2), text(11)), Anchored(text(3), text(11)),
            Anchored(text(1), text(12)), Anchored(text(4), text(13))]  # fmt: skip
    axes = np.eye(4, dtype=np.float32)
    documents = np.stack([axes[0], axes[1], axes[1], axes[2], axes[3]])
    anchors = np.stack([
        axes[2] + 0.5 * axes[0],  # its other positive, 12, is the nearest
        axes[0] + axes[2] + 0.5 * axes[1],  # 10 and 12 are nearer
        axes[1],
        axes[3] + 0.5 * axes[2],  # 13 is nearer
        axes[3] + axes[1],  # as near as 11, which is wrong
    ]).astype(np.float32)  # fmt: skip
    assert ranks(rows, anchors, documents) == [1, 3, 1, 2, 2]


def test_there_must_be_something_to_tell_apart():
    same = [Anchored(text(1), text(10)), Anchored(text(2), text(10))]
    with pytest.raises(DataError, match="nothing to tell apart"):
        check_apart(same)
    check_apart([*same, Anchored(text(3), text(10), text(11))])

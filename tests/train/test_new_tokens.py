"""A model with new tokens in the loop: only their rows move, and a resumed run is the uninterrupted one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.resuming import check_resumes

from llmkit.config.sections import LoraOptions, TrainOptions
from llmkit.models.adapters import NewParts, attach
from llmkit.models.tokens import make_room
from llmkit.train.examples import Rendered
from llmkit.train.loop import train
from llmkit.train.padding import Padded


def adapted(small_model, tied):
    model = small_model("llama", tie_word_embeddings=tied)
    rows = len(model.get_input_embeddings().weight)
    new = [rows, rows + 1]
    make_room(model, rows + 2)
    return attach(model, "causal", LoraOptions(rank=4), new=NewParts(tokens=new), seed=0), new


def examples(new):
    random = np.random.default_rng(0)
    found = []
    for _ in range(12):
        ids = random.integers(5, 1000, 12).astype(np.int64)
        ids[0], ids[-1] = new
        found.append(Rendered(ids, np.arange(12) >= 6))
    return Padded(found, batch_size=4, seed=0)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_learned_and_the_others_stay_through_a_resume_bit_for_bit(tied, small_model, tmp_path):
    options = TrainOptions(steps=6, batch_size=4, lr=0.02, precision="fp32", device="cpu", checkpoint_every=3)
    whole, new = adapted(small_model, tied)
    before = {name: parameter.detach().clone() for name, parameter in whole.named_parameters()}
    list(train(whole, examples(new), options))
    moved = {name for name, parameter in whole.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if "lora_" in name or "trainable_tokens_delta" in name}
    assert sum("trainable_tokens_delta" in name for name in moved) == (1 if tied else 2)
    check_resumes(
        lambda: adapted(small_model, tied)[0],
        lambda model, folder: train(model, examples(new), options, directory=folder),
        tmp_path,
        until=4,
    )

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from llmkit.data.tokenizer import train_tokenizer
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.objectives import HiddenToken, MissingSpans, NextToken, Vocabulary

SMALL = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
}


@pytest.fixture(scope="session")
def python_sources():
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [
        (folder / f"{name}.py").read_text("utf-8") for name in ("argparse", "ast", "textwrap", "shutil", "json/decoder")
    ]


@pytest.fixture(scope="session")
def tokenizer(python_sources):
    return train_tokenizer(python_sources, 1024).tokenizer


@pytest.fixture(scope="session")
def tokens(tokenizer, python_sources):
    ids = [id_ for text in python_sources for id_ in [*tokenizer.encode(text), tokenizer.eos_token_id]]
    return np.array(ids, dtype=np.uint16)


@pytest.fixture(scope="session")
def ids(tokenizer):
    return SpecialIds.of(tokenizer)


@pytest.fixture
def small_model(tokenizer, ids):
    """A model of two narrow layers; the same weights for the same family and seed."""

    def build(name="gpt2", *, sequence_length=32, seed=0, **overrides):
        return new_model(
            name,
            "tiny",
            vocab_size=len(tokenizer),
            ids=ids,
            sequence_length=sequence_length,
            seed=seed,
            overrides={**SMALL.get(name, {}), **overrides},
        )

    return build


@pytest.fixture(scope="session")
def objective_for(tokenizer, ids):
    """The pretraining objective of a family, at a given length."""
    vocabulary = Vocabulary.of(tokenizer)
    sentinels = tuple(tokenizer.convert_tokens_to_ids(f"<extra_id_{n}>") for n in range(100))

    def make(kind, length):
        if kind == "causal":
            return NextToken(length)
        if kind == "masked":
            return HiddenToken(length, mask=ids.mask, vocabulary=vocabulary, cls=ids.cls, sep=ids.sep)
        return MissingSpans(length, sentinels=sentinels, eos=ids.eos, start=ids.pad)

    return make


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

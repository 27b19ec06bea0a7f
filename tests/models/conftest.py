from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
from llmkit.models.build import SpecialIds, new_model

SMALL = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "t5": {"d_model": 32, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 8, "d_ff": 64},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
}


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(["def f(x):\n    return x + 1\n"] * 20, 400).tokenizer


@pytest.fixture(scope="session")
def small_model(tokenizer):
    def build(name, seed=0):
        return new_model(
            name, "tiny", vocab_size=len(tokenizer), ids=SpecialIds.of(tokenizer), sequence_length=32, seed=seed,
            overrides=SMALL[name],
        )  # fmt: skip

    return build


@pytest.fixture
def saved(small_model, tokenizer, tmp_path):
    """The folder of a model artifact: weights, configuration and tokenizer."""

    def save(name="gpt2", *, shards=False):
        folder = tmp_path / name
        small_model(name).save_pretrained(folder, **({"max_shard_size": "20KB"} if shards else {}))
        save_tokenizer(tokenizer, folder)
        return folder

    return save


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

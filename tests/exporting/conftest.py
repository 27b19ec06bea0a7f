from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.adapters import shake

from llmkit.config.sections import LoraOptions
from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
from llmkit.models.adapters import attach, save_adapter
from llmkit.models.build import SpecialIds, new_model
from llmkit.models.load import load_model

TEXT = "def f(x):\n    return x + 1\n\nThe quick brown fox, it's said, jumped over 12345 lazy dogs."
LLAMA = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4}
SMALL = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {**LLAMA, "num_key_value_heads": 2},
    "mistral": {**LLAMA, "num_key_value_heads": 2},
    "qwen2": {**LLAMA, "num_key_value_heads": 2},
    "qwen3": {**LLAMA, "num_key_value_heads": 1, "head_dim": 32},
    "t5": {"d_model": 32, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 8, "d_ff": 64},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2},
}


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([TEXT] * 20, 420).tokenizer


@pytest.fixture
def base(tokenizer, tmp_path):
    """A folder with a small model of a family, weights drawn wide enough for every part of it to matter."""

    def save(name="llama", *, tokenizer=tokenizer, **overrides) -> Path:
        folder = tmp_path / f"{name}-base"
        model = new_model(
            name, "tiny", vocab_size=len(tokenizer), ids=SpecialIds.of(tokenizer), sequence_length=64, seed=0,
            overrides={**SMALL[name], **overrides},
        )  # fmt: skip
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.add_(torch.randn_like(parameter) * 0.08)
                else:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        return folder

    return save


@pytest.fixture
def adapter(tmp_path):
    """The folder of an adapter as if it had been trained: every weight of its update a little off."""

    def save(folder, name="adapter", *, rank=4, method="lora", seed=0) -> Path:
        loaded = load_model(folder)
        model = attach(loaded.model, loaded.objective, LoraOptions(rank=rank), method=method, seed=seed)
        shake(model, seed)
        save_adapter(model, tmp_path / name)
        loaded.tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

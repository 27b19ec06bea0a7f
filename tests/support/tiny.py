"""Model folders of two narrow layers, with a tokenizer trained on some words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
from llmkit.models.build import SpecialIds, new_model

_SHAPES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "t5": {"d_model": 32, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 8, "d_ff": 64},
}


def tiny_model(folder: Path, family: str, words: Sequence[str], *, sequence_length: int = 64) -> Path:
    """Write such a model with random weights, the same every time."""
    tokenizer = train_tokenizer([f"{' '.join(words)}\n"] * 20, 420).tokenizer
    ids = SpecialIds.of(tokenizer)
    model = new_model(
        family,
        "tiny",
        vocab_size=len(tokenizer),
        ids=ids,
        sequence_length=sequence_length,
        seed=0,
        overrides=_SHAPES[family],
    )
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder

"""New tokens in a model: rows added to its embeddings, and how many of them an adapter expects.

A new row begins as the mean of the old ones, which leaves the model's other probabilities nearly as they were (Hewitt
2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html). What it becomes is trained, and stored whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = "adapter_model.safetensors"


def missing_tokens(tokenizer: PreTrainedTokenizerBase, wanted: Sequence[str]) -> list[str]:
    """Those that are no single token of the vocabulary: they would be read as several pieces of text."""
    known = tokenizer.get_vocab()
    return [token for token in wanted if token not in known]


def add_tokens(tokenizer: PreTrainedTokenizerBase, wanted: Sequence[str]) -> list[int]:
    """Make these control tokens of the tokenizer, and return the ids of those that are new."""
    new = missing_tokens(tokenizer, wanted)
    tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
    return [int(id_) for id_ in tokenizer.convert_tokens_to_ids(new)]


def ids_beyond(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[int]:
    """Ids of the tokenizer for which a model has no embedding: tokens that somebody added to the tokenizer alone."""
    rows = model.get_input_embeddings().weight.shape[0]
    return sorted(id_ for id_ in tokenizer.get_vocab().values() if id_ >= rows)


@torch.no_grad()
def make_room(model: PreTrainedModel, rows: int, fresh: Sequence[int] = ()) -> None:
    """Give a model at least `rows` embeddings; those that are new, and those of `fresh`, are the mean of the others.

    Tied embeddings stay tied. Spare rows that a vocabulary was rounded up by are used before new ones are made.
    """
    before = model.get_input_embeddings().weight.shape[0]
    if rows > before:
        model.resize_token_embeddings(rows, mean_resizing=False)
    new = sorted({*fresh, *range(before, max(rows, before))})
    if not new:
        return
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is None:
            continue
        for values in (layer.weight, getattr(layer, "bias", None)):
            if values is not None:
                old = torch.ones(len(values), dtype=torch.bool)
                old[new] = False
                values[new] = values[old.to(values.device)].mean(0)


def rows_of(adapter: Path, tokenizer: PreTrainedTokenizerBase | None) -> int:
    """How many embeddings an adapter expects of its base, at least: of the embeddings in it, or of its tokenizer."""
    found = len(tokenizer) if tokenizer is not None else 0
    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # no mapping
            parts = name.split(".")
            if parts[-1] == "weight" and {"embed_tokens", "wte", "word_embeddings", "lm_head", "embed_in"} & {*parts}:
                shape = file.get_slice(name).get_shape()
                # A LoRA of an embedding has its rank where a whole one has its rows.
                if not any(part.startswith("lora_") for part in parts):
                    found = max(found, int(shape[0]))
    return found

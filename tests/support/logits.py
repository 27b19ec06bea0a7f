"""Logits of token ids, for comparing models."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from llmkit.models.adapters import outputs_of


def inputs_of(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """What a model of any objective is handed to read ids, shape (rows, length)."""
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})


def logits_of(model: Any, ids: Tensor) -> Tensor:
    """In float32 and without dropout, shape (rows, length, vocabulary)."""
    return outputs_of(model, inputs_of(model, ids))

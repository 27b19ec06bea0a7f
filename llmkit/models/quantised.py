"""A base in four bits under an adapter (QLoRA, arXiv:2305.14314): NF4 weights with doubly quantised scales."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from llmkit.errors import UnavailableError

PACKAGE = "bitsandbytes"


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """How a model is loaded so: the paper's data type (section 3), computing in `dtype`.

    Raises:
        UnavailableError: bitsandbytes is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise UnavailableError("a base in four bits needs bitsandbytes", mend="pip install 'llmkit[qlora]'")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def prepared(model: PreTrainedModel) -> PreTrainedModel:
    """A model as bitsandbytes loaded it, without what gets in the way of training on a CPU.

    In evaluation mode, on CPUs with AVX512-bf16, bitsandbytes 0.50 packs the weights anew for its kernel; that fails
    where a width is no multiple of 64, and what is packed for one forward pass is in the way of the next backward one.
    """
    for layer in four_bit_layers(model):
        layer.support_avx512bf16_for_cpu = False
    return model


def four_bit_layers(model: Any) -> list[Any]:
    """The layers of a model whose weights are in four bits."""
    if PACKAGE not in sys.modules:  # then nothing was loaded with it, and importing it takes seconds
        return []
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def size(model: PreTrainedModel) -> tuple[int, int]:
    """Bytes of a model's weights as they are, and in float32."""
    halves = sum(layer.weight.numel() for layer in four_bit_layers(model))  # each byte holds two weights
    rest = sum(parameter.numel() for parameter in model.parameters()) - halves
    return int(model.get_memory_footprint()), 4 * (rest + 2 * halves)

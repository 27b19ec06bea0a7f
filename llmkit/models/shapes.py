"""Dimensions of a model in each architecture's own words: what the rows of the families table are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shape = Mapping[str, object]
"""Arguments of a transformers configuration class, without those that follow from the tokenizer."""


@dataclass(frozen=True)
class Size:
    """One named size of a family.

    Attributes:
        shape: the dimensions.
        vocabulary: size of the published vocabulary; for `tiny` the one it is meant for.
        context: longest sequence in tokens that the model was published for.
        parameters: what the published configuration makes, exactly, with tied weights counted once and with the heads
            that are trained here; 0 for our own sizes.
        source: address of the published configuration, "" for our own sizes.
    """

    shape: Shape
    vocabulary: int
    context: int
    parameters: int = 0
    source: str = ""


def tiny(shape: Shape) -> Size:
    """A size of our own: 8k vocabulary, 2 to 4 million parameters, learns on two CPU cores within a minute."""
    return Size(shape, vocabulary=8192, context=1024)


def hub(repository: str, shape: Shape, vocabulary: int, context: int, parameters: int) -> Size:
    """A size published on the Hugging Face Hub; its shape is the one in the repository's config.json."""
    return Size(shape, vocabulary, context, parameters, f"https://huggingface.co/{repository}")


def gpt2(width: int, layers: int, heads: int, **more: object) -> Shape:
    return {"n_embd": width, "n_layer": layers, "n_head": heads, **more}


def llama(width: int, layers: int, heads: int, kv_heads: int, feed_forward: int, **more: object) -> Shape:
    return {**encoder(width, layers, heads, feed_forward), "num_key_value_heads": kv_heads, **more}


def encoder(width: int, layers: int, heads: int, feed_forward: int, **more: object) -> Shape:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        **more,
    }


def bloom(width: int, layers: int, heads: int) -> Shape:
    return {"hidden_size": width, "n_layer": layers, "n_head": heads}


def opt(width: int, layers: int, heads: int, **more: object) -> Shape:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * width,
        **more,
    }


def falcon(width: int, layers: int, heads: int, kv_heads: int = 1) -> Shape:
    """One key-value head is Falcon-7B's multi-query block; more of them are the grouped one of 40B and 180B."""
    shape: dict[str, object] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    grouped = {"num_kv_heads": kv_heads, "new_decoder_architecture": True}
    return shape | grouped if kv_heads > 1 else shape | {"multi_query": True}


def codegen(width: int, layers: int, heads: int, rotary: int) -> Shape:
    return gpt2(width, layers, heads, rotary_dim=rotary)


def t5(width: int, layers: int, heads: int, head_width: int, feed_forward: int, **more: object) -> Shape:
    return {
        "d_model": width,
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": head_width,
        "d_ff": feed_forward,
        **more,
    }


def rope(theta: float, kind: str = "default", **scaling: object) -> Shape:
    """Rotary position parameters as one configuration entry."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **scaling}}


# Shapes that several families or sizes share.
LLAMA_7B = llama(4096, 32, 32, 32, 11008)
LLAMA_13B = llama(5120, 40, 40, 40, 13824)
LLAMA_30B = llama(6656, 60, 52, 52, 17920)
LLAMA_3_8B = dict(llama(4096, 32, 32, 8, 14336))
LLAMA_3_70B = dict(llama(8192, 80, 64, 8, 28672))
LLAMA_405B = dict(llama(16384, 126, 128, 8, 53248))
LLAMA_1B = dict(llama(2048, 16, 32, 8, 8192))
LLAMA_3B = dict(llama(3072, 28, 24, 8, 8192))
TIED, EPS = {"tie_word_embeddings": True}, {"rms_norm_eps": 1e-5}
LONG = {"sliding_window": None, **rope(1e6)}
NEMO = llama(5120, 40, 32, 8, 14336, head_dim=128, **LONG)
LARGE = llama(12288, 88, 96, 8, 28672, **LONG)
WIDENED = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LLAMA_3_1 = dict(rope(5e5, "llama3", factor=8.0, **WIDENED))
LLAMA_3_2 = {**TIED, **rope(5e5, "llama3", factor=32.0, **WIDENED)}

"""GGUF, the format of llama.cpp and of what stands on it: metadata, tokenizer and tensors in one file.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Names of tensors are those of the `gguf`
package. What llama.cpp expects of each architecture: its `convert_hf_to_gguf.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from llmkit.errors import RunError, UsageError
from llmkit.exporting.gguf_tokens import Vocabulary, vocabulary_of
from llmkit.exporting.opening import Opened
from llmkit.exporting.packages import package

GgufType = Literal["f32", "f16", "bf16", "q8_0"]

_ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}
"""transformers' `model_type` -> `gguf.MODEL_ARCH`."""
_ERROR: Mapping[GgufType, float] = {"f32": 0.0, "f16": 2**-10, "bf16": 2**-7, "q8_0": 2**-6}
"""Largest error of a stored value, as a share of the tensor's largest: the format's own rounding, and twice that."""
_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_BLOCK = 32
"""Values that share a scale in q8_0."""


@dataclass(frozen=True)
class GgufFacts:
    """What was written.

    Attributes:
        error: largest difference of a stored value to the model's, as a share of the largest value of its tensor.
        pre: llama.cpp's name of how text is cut into words; None for SentencePiece.
        notes: what differs from the model that was exported.
    """

    architecture: str
    tensors: int
    error: float
    pre: str | None
    notes: tuple[str, ...]


def write_gguf(
    opened: Opened, path: Path, *, name: str, kind: GgufType = "f16", stops: Sequence[int] = ()
) -> GgufFacts:
    """Write a causal model of a llama-like architecture as one GGUF file, and read it back.

    Args:
        name: of the model, for its metadata.
        kind: of matrices; vectors are always f32. In q8_0, rows that are no multiple of 32 stay f16.
        stops: ids that end a turn or a text, the turn's first.

    Raises:
        UnavailableError: the `gguf` package is not installed.
        UsageError: llama.cpp has no such architecture, or not with these settings.
        DataError: llama.cpp has no such tokenizer.
        RunError: the file does not hold what was written.
    """
    gguf = package("gguf", "GGUF")
    architecture = check_architecture(opened)
    state = _state(opened)
    rows = len(state["model.embed_tokens.weight"])
    vocabulary = vocabulary_of(opened.tokenizer, rows)
    arch = getattr(gguf.MODEL_ARCH, architecture)
    writer = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(name)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[kind]))
    if kind == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    notes = _write_shape(gguf, writer, opened, rows)
    _write_vocabulary(writer, opened, vocabulary, stops)
    tensors = dict(_named(gguf, arch, opened, state))
    for named, values in tensors.items():
        stored = _stored_as(gguf, values, kind)
        writer.add_tensor(named, gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFacts(architecture.lower(), len(tensors), _read_back(gguf, path, tensors, kind), vocabulary.pre, notes)


def check_architecture(opened: Opened) -> str:
    """The architecture's name in the `gguf` package.

    Raises:
        UsageError: llama.cpp has none that computes what this model does.
    """
    config: Any = opened.config
    if opened.use != "causal" or config.model_type not in _ARCHITECTURES:
        raise UsageError(
            f"a {config.model_type} model for {opened.use} outputs is not written as GGUF",
            mend=f"GGUF is for causal models of the types {', '.join(_ARCHITECTURES)}; use --to onnx or --to merged",
        )
    rope = config.rope_parameters or {}
    unlike = {
        f"rotary embeddings of the type {rope.get('rope_type')}": rope.get("rope_type", "default")
        not in ("default", "linear", *(("llama3",) if _ARCHITECTURES[config.model_type] == "LLAMA" else ())),
        "partial rotary embeddings": rope.get("partial_rotary_factor", 1.0) not in (None, 1.0),
        f"the activation {config.hidden_act}": config.hidden_act not in ("silu", "swish"),
        "sliding windows in some layers": config.model_type.startswith("qwen")
        and getattr(config, "use_sliding_window", False),
    }
    for what, found in unlike.items():
        if found:
            raise UsageError(
                f"llama.cpp's {config.model_type} has no {what}, which this model has",
                mend="use --to onnx or --to merged",
            )
    return _ARCHITECTURES[config.model_type]


def _state(opened: Opened) -> dict[str, torch.Tensor]:
    """The weights by their names; an output layer that is the embedding is left out, as GGUF has it."""
    state = dict(opened.model.state_dict())
    if opened.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def _write_shape(gguf: Any, writer: Any, opened: Opened, rows: int) -> tuple[str, ...]:
    config: Any = opened.config
    heads, width = config.num_attention_heads, config.hidden_size
    each = getattr(config, "head_dim", None) or width // heads
    rope = config.rope_parameters or {}
    writer.add_vocab_size(rows)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(each)
    writer.add_value_length(each)
    writer.add_rope_dimension_count(each)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    window = getattr(config, "sliding_window", None)
    if config.model_type == "mistral" and window and window < config.max_position_embeddings:
        return (f"llama.cpp ignores the sliding window of {window:,} tokens: beyond it, outputs differ",)
    return ()


def _write_vocabulary(writer: Any, opened: Opened, vocabulary: Vocabulary, stops: Sequence[int]) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre or "default")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.space)
    else:
        writer.add_token_merges(list(vocabulary.merges))
    for name, number in vocabulary.ids.items():
        getattr(writer, f"add_{name}_token_id")(number)
    if stops and stops[0] != vocabulary.ids.get("eos"):
        writer.add_eot_token_id(stops[0])
    # Always said: llama.cpp has a default of its own for each way of cutting text.
    writer.add_add_bos_token(vocabulary.bos)
    writer.add_add_eos_token(vocabulary.eos)
    if opened.tokenizer.chat_template:
        writer.add_chat_template(opened.tokenizer.chat_template)


def _named(
    gguf: Any, arch: Any, opened: Opened, state: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every tensor in float32 under its name in GGUF."""
    config: Any = opened.config
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, tensor in state.items():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UsageError(
                f"llama.cpp's {config.model_type} has no place for the weights {key}",
                mend="use --to onnx or --to merged",
            )
        values = tensor.detach().float().cpu().numpy()
        part = key.split(".")[-2]
        if arch == gguf.MODEL_ARCH.LLAMA and part in heads:
            values = permuted(values, heads[part])
        yield name, np.ascontiguousarray(values)
    if (config.rope_parameters or {}).get("rope_type") == "llama3":
        yield "rope_freqs.weight", _frequency_factors(opened)


def permuted(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows (heads x size, ...) of a query or key, with the two halves of each head interleaved.

    transformers rotates value i with value i + size/2, llama.cpp's llama rotates neighbours.
    """
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    turned: np.ndarray[Any, Any] = halves.swapaxes(1, 2).reshape(values.shape)
    return turned


def _frequency_factors(opened: Opened) -> np.ndarray[Any, Any]:
    """By what llama.cpp divides each rotary frequency: the plain one over the model's own, shape (head size / 2,)."""
    rotary = opened.model.model.rotary_emb
    own = rotary.inv_freq.float().cpu()
    theta = float(opened.config.rope_parameters["rope_theta"])
    plain = theta ** -(torch.arange(len(own), dtype=torch.float32) / len(own))
    factors: np.ndarray[Any, Any] = (plain / own).numpy().astype(np.float32)
    return factors


def _stored_as(gguf: Any, values: np.ndarray[Any, Any], kind: GgufType) -> Any:
    types = gguf.GGMLQuantizationType
    if values.ndim == 1 or kind == "f32":
        return types.F32
    if kind == "q8_0" and values.shape[-1] % _BLOCK:
        return types.F16
    return getattr(types, kind.upper())


def _read_back(gguf: Any, path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], kind: GgufType) -> float:
    """The largest error of the file's values. Raises RunError where it is more than rounding."""
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    if found.keys() != tensors.keys():
        raise RunError("the file does not have all tensors", where=str(path), mend="report this")
    worst = 0.0
    for name, values in tensors.items():
        stored = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        largest = float(np.abs(values).max()) or 1.0
        error = float(np.abs(stored.reshape(values.shape) - values).max()) / largest
        if not error <= _ERROR[kind]:
            raise RunError(
                f"{name} in the file is off by {error:.2g} of its largest value", where=str(path), mend="report this"
            )
        worst = max(worst, error)
    return worst

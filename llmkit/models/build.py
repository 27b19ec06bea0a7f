"""A new model with random weights: a family's size, sized to a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from llmkit.errors import ConfigError, closest
from llmkit.models.dimensions import check_length
from llmkit.models.families import Family, Objective, family, size_of

AUTO_CLASSES: Mapping[Objective, Any] = {
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}


@dataclass(frozen=True)
class SpecialIds:
    """Ids of a tokenizer's special tokens; None where it has none."""

    pad: int | None = None
    eos: int | None = None
    bos: int | None = None
    mask: int | None = None
    cls: int | None = None
    sep: int | None = None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> SpecialIds:
        return cls(
            pad=tokenizer.pad_token_id,
            eos=tokenizer.eos_token_id,
            bos=tokenizer.bos_token_id,
            mask=tokenizer.mask_token_id,
            cls=tokenizer.cls_token_id,
            sep=tokenizer.sep_token_id,
        )


def new_config(
    name: str,
    size: str,
    *,
    vocab_size: int,
    ids: SpecialIds,
    sequence_length: int,
    overrides: Mapping[str, object] | None = None,
) -> PretrainedConfig:
    """The configuration of a new model.

    Its context is `sequence_length`: positions beyond those it is trained on would be noise, and a model that says so
    lets everything downstream refuse what it cannot read.

    Args:
        vocab_size: number of tokens the model can read and write; `len(tokenizer)`.
        overrides: configuration entries that replace those of the size, such as `{"n_layer": 2}`.

    Raises:
        UsageError: no such family or size, or a sequence length beyond the size's context.
        ConfigError: an override that the architecture does not have, or dimensions that do not fit together.
    """
    row = family(name)
    chosen = size_of(row, size)
    check_length(row, size, sequence_length)
    wanted = {**row.shared, **chosen.shape, **(overrides or {})}
    known = AutoConfig.for_model(row.model_type)
    for key in overrides or {}:
        if not hasattr(known, key):
            raise ConfigError(
                f"{row.model_type} models have no setting '{key}'{closest(key, known.to_dict())}", where=key
            )
    if hasattr(known, "max_position_embeddings"):
        wanted[known.attribute_map.get("max_position_embeddings", "max_position_embeddings")] = sequence_length
    try:
        return AutoConfig.for_model(row.model_type, vocab_size=vocab_size, **wanted, **_token_ids(row, ids))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} {size} cannot be built with these dimensions: {error}", mend="change the overrides"
        ) from error


def new_model(
    name: str,
    size: str,
    *,
    vocab_size: int,
    ids: SpecialIds,
    sequence_length: int,
    seed: int,
    overrides: Mapping[str, object] | None = None,
) -> PreTrainedModel:
    """A model with random float32 weights on the CPU, the same for the same seed; see `new_config` for the rest.

    The caller's random state is left as it was.
    """
    config = new_config(
        name, size, vocab_size=vocab_size, ids=ids, sequence_length=sequence_length, overrides=overrides
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return AUTO_CLASSES[family(name).objective].from_config(config, dtype=torch.float32)
        except (AssertionError, ValueError) as error:
            raise ConfigError(
                f"{name} {size} cannot be built with these dimensions: {error}", mend="change the overrides"
            ) from error


def adopt_ids(model: PreTrainedModel, row: Family | None, ids: SpecialIds) -> None:
    """Let a model that is there go by another tokenizer's ids of what begins, ends and fills its texts.

    Raises:
        ConfigError: the tokenizer lacks a token that the architecture needs.
    """
    given: dict[str, int | None] = {"bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad}
    if row is not None:
        given = _token_ids(row, ids)
    for name, value in given.items():
        for kept in (model.config, model.generation_config):
            if kept is not None and hasattr(kept, name):
                setattr(kept, name, value)
    embedding = model.get_input_embeddings()
    if isinstance(embedding, nn.Embedding) and embedding.padding_idx is not None:
        embedding.padding_idx = given["pad_token_id"]  # the row that gets no gradient


def _token_ids(row: Family, ids: SpecialIds) -> dict[str, int | None]:
    # transformers gives the embedding row of `pad_token_id` no gradient. A tokenizer whose pad is its eos would so
    # leave the end of text untrained as an input; such a model is built without a pad token instead.
    given = {f"{name}_token_id": value for name, value in asdict(ids).items() if name not in {"mask", "cls", "sep"}}
    if ids.pad == ids.eos:
        given["pad_token_id"] = None
    if row.objective == "seq2seq":
        if ids.pad is None:
            raise ConfigError(
                "an encoder-decoder model starts its output with the pad token, and this tokenizer has none",
                mend="train the tokenizer with llmkit preprocess, or add a pad token to it",
            )
        given["pad_token_id"] = given["decoder_start_token_id"] = ids.pad
    if row.model_type == "modernbert":
        given["cls_token_id"], given["sep_token_id"] = ids.cls, ids.sep
    return given

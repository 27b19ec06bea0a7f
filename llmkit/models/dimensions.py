"""Dimensions of one's own: one set of names for every family, checked before anything is built.

Nothing here needs torch, so that a combination which cannot be fails at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from llmkit.config.sections import ArchitectureOptions, FamilyOptions
from llmkit.errors import ConfigError, UsageError
from llmkit.models.families import Family, family, size_of
from llmkit.models.shapes import Shape


@dataclass(frozen=True)
class Terms:
    """What a transformers configuration calls each dimension; "" for those that it derives from others.

    Attributes:
        dropout: all settings that are one rate, `--dropout`, here: of the residual, the embedding and attention.
        rotary: whether positions turn pairs of a head's channels, so that its width must be even.
        head_default: width of a head where the shape says none and it is not width / heads.
        heads_in: number that the heads must be a multiple of.
    """

    width: str
    layers: str
    heads: str
    kv_heads: str = ""
    head_width: str = ""
    ff_width: str = ""
    dropout: tuple[str, ...] = ()
    rotary: bool = False
    head_default: int = 0
    heads_in: int = 1


_USUAL = ("hidden_size", "num_hidden_layers", "num_attention_heads")
_GPT = ("n_embd", "n_layer", "n_head")
_GPT_DROPOUT = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
_LLAMA = Terms(*_USUAL, "num_key_value_heads", "head_dim", "intermediate_size", ("attention_dropout",), rotary=True)

TERMS: Mapping[str, Terms] = MappingProxyType(
    {
        "gpt2": Terms(*_GPT, ff_width="n_inner", dropout=_GPT_DROPOUT),
        # The checkpoints were trained in four parts, and the queries, keys and values of each lie together.
        "codegen": Terms(*_GPT, ff_width="n_inner", dropout=_GPT_DROPOUT, rotary=True, heads_in=4),
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "qwen2": replace(_LLAMA, head_width=""),
        "qwen3": replace(_LLAMA, head_default=128),
        "gemma": replace(_LLAMA, head_default=256),
        "bloom": Terms("hidden_size", "n_layer", "n_head", dropout=("hidden_dropout", "attention_dropout")),
        "opt": Terms(*_USUAL, ff_width="ffn_dim", dropout=("dropout", "attention_dropout")),
        "falcon": Terms(
            *_USUAL,
            kv_heads="num_kv_heads",
            ff_width="ffn_hidden_size",
            dropout=("hidden_dropout", "attention_dropout"),
            rotary=True,
        ),
        "bert": Terms(
            *_USUAL, ff_width="intermediate_size", dropout=("hidden_dropout_prob", "attention_probs_dropout_prob")
        ),
        "modernbert": Terms(
            *_USUAL,
            ff_width="intermediate_size",
            dropout=("attention_dropout", "embedding_dropout", "mlp_dropout"),
            rotary=True,
        ),
        "t5": Terms(
            "d_model", "num_layers", "num_heads", head_width="d_kv", ff_width="d_ff", dropout=("dropout_rate",)
        ),
    }
)
"""transformers `model_type` -> its terms; every family of the table has a row."""

_DERIVED = {
    "kv_heads": "every head has its own keys and values",
    "head_width": "the width of a head is width / heads",
    "ff_width": "the feed-forward layers are four times as wide as the rest",
}


def overrides(options: FamilyOptions) -> Shape:
    """What the options change in the configuration of their family's size; empty where they change nothing.

    The feed-forward layers keep their proportion to the width, rounded to a multiple of 8, unless `ff_width` is given;
    keys and values keep one head for each head of queries where the size has it so.

    Raises:
        UsageError: no such family or size.
        ConfigError: a dimension that the architecture does not have, or dimensions that do not fit together.
    """
    row = family(options.family)
    shape = {**row.shared, **size_of(row, options.size).shape}
    architecture, terms = options.architecture, TERMS[row.model_type]
    changed = _renamed(row, terms, architecture)
    _keep_proportions(shape, changed, terms, architecture)
    if changed:
        _check({**shape, **changed}, terms)
    if row.model_type == "falcon" and terms.kv_heads in changed:
        # One head of keys and values is Falcon-7B's block; several are the other one, of 40B and 180B.
        single = changed[terms.kv_heads] == 1
        changed |= {"multi_query": single, "new_decoder_architecture": not single}
    if row.model_type == "codegen" and (architecture.width or architecture.heads):
        now = {**shape, **changed}
        changed["rotary_dim"] = min(_number(now, "rotary_dim"), _number(now, "n_embd") // _number(now, "n_head"))
    if architecture.dropout is not None:
        changed |= dict.fromkeys(terms.dropout, architecture.dropout)
    return changed


def rows_of(architecture: ArchitectureOptions, tokens: int) -> int:
    """Rows of the embedding for a tokenizer of that many tokens. Raises ConfigError where fewer are asked for."""
    if architecture.vocab_size and architecture.vocab_size < tokens:
        raise ConfigError(
            f"a vocabulary of {architecture.vocab_size} cannot hold the {tokens} tokens of the tokenizer",
            where="architecture.vocab_size",
            mend=f"use --vocab-size {tokens} or more, or none",
        )
    return architecture.vocab_size or tokens


def check_length(row: Family, size: str, length: int) -> None:
    """Raise UsageError if samples of that many tokens are longer than a size can read."""
    context = size_of(row, size).context
    if length > context:
        raise UsageError(
            f"sequence length {length} is past the context of {row.name} {size}, {context} tokens",
            mend=f"use --sequence-length {context} or less, or a family with a longer context",
        )


def _renamed(row: Family, terms: Terms, architecture: ArchitectureOptions) -> dict[str, object]:
    settings = {
        "width": (terms.width, architecture.width),
        "layers": (terms.layers, architecture.layers),
        "heads": (terms.heads, architecture.heads),
        "kv_heads": (terms.kv_heads, architecture.kv_heads),
        "head_width": (terms.head_width, architecture.head_width),
        "ff_width": (terms.ff_width, architecture.ff_width),
    }
    changed: dict[str, object] = {}
    for name, (term, value) in settings.items():
        if not value:
            continue
        if not term:
            raise ConfigError(
                f"{row.name} models have no --{name.replace('_', '-')}: {_DERIVED[name]}",
                where=f"architecture.{name}",
                mend="leave it out, or choose another family",
            )
        changed[term] = value
    return changed


def _keep_proportions(
    shape: Shape, changed: dict[str, object], terms: Terms, architecture: ArchitectureOptions
) -> None:
    if architecture.width and not architecture.ff_width and shape.get(terms.ff_width):
        exact = _number(shape, terms.ff_width) * architecture.width / _number(shape, terms.width)
        changed[terms.ff_width] = max(8, 8 * round(exact / 8))
    alike = terms.kv_heads and shape.get(terms.kv_heads) == shape[terms.heads]
    if alike and architecture.heads and not architecture.kv_heads:
        changed[terms.kv_heads] = architecture.heads


def _check(now: Shape, terms: Terms) -> None:
    width, heads = _number(now, terms.width), _number(now, terms.heads)
    own = now.get(terms.head_width) or terms.head_default
    if heads % terms.heads_in:
        raise ConfigError(
            f"{heads} heads cannot be: in this architecture they come in groups of {terms.heads_in}",
            where="architecture.heads",
            mend=f"use --heads {-(-heads // terms.heads_in) * terms.heads_in}",
        )
    if not own and width % heads:
        raise ConfigError(
            f"a width of {width} cannot be shared out among {heads} heads",
            where="architecture.heads",
            mend=f"use a --width of {-(-width // heads) * heads}, or --heads that divide {width}",
        )
    head = int(str(own)) if own else width // heads
    if terms.rotary and head % 2:
        raise ConfigError(
            f"heads of width {head} cannot be turned by rotary positions, which take channels in pairs",
            where="architecture.heads",
            mend="use other --heads or another --width, so that width / heads is even",
        )
    kv_heads = _number(now, terms.kv_heads) if now.get(terms.kv_heads) else heads
    if heads % kv_heads:
        fits = max(number for number in range(1, kv_heads + 1) if heads % number == 0)
        raise ConfigError(
            f"{heads} heads cannot be shared out among {kv_heads} heads of keys and values",
            where="architecture.kv_heads",
            mend=f"use --kv-heads {fits}, or --heads that are a multiple of {kv_heads}",
        )


def _number(shape: Shape, name: str) -> int:
    value = shape[name]
    assert isinstance(value, int)  # noqa: S101  # a dimension of the table
    return value

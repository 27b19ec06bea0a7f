"""A tokenizer as GGUF describes it: tokens with their types, merges or scores, and how text is cut into words.

llama.cpp has its own tokenizers and knows by name how each published one cuts text (`tokenizer.ggml.pre`). A tokenizer
whose way of cutting has no name there would be read as another one, and the model would see other tokens than it
learned: such a tokenizer is refused. Names and patterns: https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmkit.errors import DataError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""`llama_token_type` of llama.h."""

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DIGITS = "digits one by one"

_PRE: Mapping[tuple[tuple[str, ...], bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
    ((_LLAMA3,), True): "llama-bpe",
    # The same pattern; but a word that is a token as a whole is merged from its bytes like any other.
    ((_LLAMA3,), False): "dbrx",
    ((_LLAMA3.replace("{1,3}", ""),), False): "qwen2",
}
"""(patterns in their order, `ignore_merges`) -> name."""

_OTHER = "export it with --to onnx, or --to merged for programs that read transformers' tokenizers"


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF stores of a tokenizer.

    Attributes:
        model: `gpt2` for BPE on bytes, `llama` for SentencePiece's BPE.
        pre: how text is cut into words; None for SentencePiece, which does not cut.
        tokens: by id, as many as the model has embeddings.
        types: by id.
        merges: of BPE on bytes; `scores`, by id: of SentencePiece.
        bos, eos: whether a text begins and ends with these tokens.
        ids: of special tokens, by GGUF's names (`bos`, `eos`, `unk`, `sep`, `pad`, `mask`).
    """

    model: str
    pre: str | None
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    bos: bool
    eos: bool
    space: bool
    ids: Mapping[str, int]


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """The vocabulary of a tokenizer, with unused tokens up to the model's number of embeddings.

    Raises:
        DataError: llama.cpp has no tokenizer that reads text as this one does, or it has more tokens than the model.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError("this tokenizer is not in the tokenizers library's form", mend=_OTHER)
    spec = json.loads(backend.to_str())
    if spec["model"]["type"] != "BPE":
        raise DataError(
            f"GGUF holds BPE tokenizers here, and this one is {spec['model']['type']}",
            mend=f"{_OTHER}; or train with `preprocess --algorithm bpe`",
        )
    tokens, types = _tokens(spec, rows)
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in spec["model"]["merges"]]
    begins, ends = _marks(tokenizer)
    sentencepiece = bool(spec["model"].get("byte_fallback"))
    scores: list[float] = []
    if sentencepiece:
        scores = _scores(spec["model"]["vocab"], merges, tokens)
        types = [BYTE if _is_byte(token) else kind for token, kind in zip(tokens, types, strict=True)]
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        pre=None if sentencepiece else _pre(spec),
        tokens=tokens,
        types=types,
        merges=[] if sentencepiece else [" ".join(merge) for merge in merges],
        scores=scores,
        bos=begins,
        eos=ends,
        space=sentencepiece and _prepends(backend),
        ids=_ids(tokenizer),
    )


def _tokens(spec: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    by_id = {number: token for token, number in spec["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_id, NORMAL)
    for added in spec["added_tokens"]:
        by_id[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    unknown = spec["model"].get("unk_token")
    for number, token in by_id.items():
        if token == unknown:
            kinds[number] = UNKNOWN
    if max(by_id, default=-1) >= rows:
        raise DataError(
            f"the tokenizer's ids go up to {max(by_id)}, and the model has {rows} embeddings",
            mend="use the model's own tokenizer",
        )
    # The name that llama.cpp's converter gives rows which no token uses.
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(rows)]
    return tokens, [kinds.get(number, UNUSED) for number in range(rows)]


def _pre(spec: Mapping[str, Any]) -> str:
    """The name of the way in which text is cut, or DataError."""
    found = _cuts(spec["pre_tokenizer"])
    normal = spec["normalizer"]
    name = _PRE.get((tuple(found), bool(spec["model"].get("ignore_merges")))) if found is not None else None
    # Qwen2 composes characters (NFC), which llama.cpp leaves out for it too: texts are nearly always composed.
    if name is None or (normal is not None and (name, normal["type"]) != ("qwen2", "NFC")):
        raise DataError(
            "llama.cpp has no name for how this tokenizer cuts text, and would read other tokens than were learned",
            mend=_OTHER,
        )
    return name


def _cuts(part: Mapping[str, Any] | None) -> list[str] | None:
    """The patterns of a pre-tokenizer on bytes; None where a part is none of these."""
    if part is None:
        return None
    if part["type"] == "Sequence":
        several = [_cuts(each) for each in part["pretokenizers"]]
        return None if None in several else [cut for each in several for cut in each or ()]
    if part["type"] == "ByteLevel" and not part["add_prefix_space"]:
        return [_GPT2] if part["use_regex"] else []
    if part["type"] == "Digits" and part["individual_digits"]:
        return [_DIGITS]
    if part["type"] == "Split" and part["behavior"] == "Isolated" and not part["invert"] and "Regex" in part["pattern"]:
        return [part["pattern"]["Regex"]]
    return None


def _scores(vocab: Mapping[str, int], merges: Sequence[tuple[str, ...]], tokens: Sequence[str]) -> list[float]:
    """SentencePiece merges the pair whose whole has the highest score: the rank of its first merge, negated.

    It merges any two neighbours whose whole is a token. A tokenizer that does not is refused.
    """
    rank: dict[str, int] = {}
    for number, merge in enumerate(merges):
        rank.setdefault("".join(merge), number)
    known = set(merges)
    for token in vocab:
        for at in range(1, len(token)):
            if token[:at] in vocab and token[at:] in vocab and (token[:at], token[at:]) not in known:
                raise DataError(
                    f"this tokenizer does not merge '{token[:at]}' and '{token[at:]}', and llama.cpp would", mend=_OTHER
                )
    return [-float(rank.get(token, 0)) for token in tokens]


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _marks(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool]:
    """Whether a text gets BOS and EOS, as the tokenizer does it."""
    ids = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    begins = len(ids) > len(bare) and ids[0] == tokenizer.bos_token_id
    ends = len(ids) > len(bare) and ids[-1] == tokenizer.eos_token_id
    if len(ids) != len(bare) + begins + ends:
        raise DataError("this tokenizer adds other tokens to a text than BOS and EOS", mend=_OTHER)
    return begins, ends


def _prepends(backend: Any) -> bool:
    encoded: str = backend.encode("a", add_special_tokens=False).tokens[0]
    return encoded.startswith("▁")


def _ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    named = ("bos", "eos", "unk", "sep", "pad", "mask")
    found = {name: getattr(tokenizer, f"{name}_token_id", None) for name in named}
    return {name: int(number) for name, number in found.items() if number is not None}

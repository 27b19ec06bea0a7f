"""From text to ids, as ordinary text: through tiktoken where it provably gives the same ids, else through tokenizers.

tiktoken encodes several times faster on one thread. It merges by the rank of the merged token alone, where tokenizers
merges by the list of pairs; for vocabularies as they are trained the two agree, and that is checked on real text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import tiktoken
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from llmkit.data.segments import segments

Backend = Literal["tiktoken", "tokenizers"]
Encode = Callable[[str], np.ndarray]

# GPT-2's pattern, which ByteLevel applies itself unless told not to (https://github.com/openai/gpt-2, encoder.py).
_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Encoder:
    """`encode` gives the ids of a text without special tokens at its ends.

    A special token's name within the text (`<|endoftext|>` in a document about tokenizers) is encoded as the ordinary
    characters it is, never as the control id.
    """

    encode: Encode
    backend: Backend


def make_encoder(tokenizer: PreTrainedTokenizerFast, sample: Sequence[str]) -> Encoder:
    """The fastest encoder whose ids for all of `sample` are those of `tokenizer` itself."""
    plain = _plain(tokenizer)
    fast = _tiktoken(json.loads(plain.to_str()))

    def encode_plain(text: str) -> np.ndarray:
        pieces = [plain.encode(piece, add_special_tokens=False).ids for piece in segments(text)]
        return np.concatenate([np.asarray(ids, dtype=np.int64) for ids in pieces]) if pieces else np.zeros(0, np.int64)

    if fast and all(np.array_equal(fast(text), encode_plain(text)) for text in sample):
        return Encoder(fast, "tiktoken")
    return Encoder(encode_plain, "tokenizers")


def _plain(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the tokenizer's core that neither truncates nor pads, and sees no control tokens in text."""
    core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    core.no_truncation()
    core.no_padding()
    core.encode_special_tokens = True
    return core


def _tiktoken(core: Mapping[str, Any]) -> Encode | None:
    """An encoder made of a byte-level BPE's vocabulary, or None for any other kind of tokenizer."""
    model, pattern = core["model"], _pattern(core.get("pre_tokenizer"))
    if model["type"] != "BPE" or pattern is None or core.get("normalizer") or model.get("byte_fallback"):
        return None
    if any(not token["special"] for token in core["added_tokens"]):
        return None  # ordinary words added beside the merges, which tiktoken cannot tell from text
    order = [*_bytes_first(model["vocab"]), *("".join(_pair(merge)) for merge in model["merges"])]
    if len(set(order)) != len(order) or not all(token in model["vocab"] for token in order):
        return None
    ranks = {_to_bytes(token): rank for rank, token in enumerate(order)}
    ids = np.asarray([model["vocab"][token] for token in order], dtype=np.int64)
    encoding = tiktoken.Encoding("llmkit", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(text: str) -> np.ndarray:
        pieces = [encoding.encode_ordinary(piece) for piece in segments(text)]
        return ids[np.concatenate([np.asarray(p, dtype=np.int64) for p in pieces])] if pieces else np.zeros(0, np.int64)

    return encode


def _pattern(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    """The regular expression by which a byte-level pre-tokenizer splits, or None if it does something else too."""
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return _GPT2_PATTERN
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
    return None


def _bytes_first(vocabulary: Mapping[str, int]) -> list[str]:
    return sorted((token for token in _byte_of_char() if token in vocabulary), key=lambda token: vocabulary[token])


def _pair(merge: str | Sequence[str]) -> Sequence[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _to_bytes(token: str) -> bytes:
    table = _byte_of_char()
    return bytes(table[char] for char in token)


@lru_cache(maxsize=1)
def _byte_of_char() -> Mapping[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters stand for their own byte, the others for those from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}

"""Tokens and n-grams for comparing texts with one another (not for feeding models), in any script."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np
import xxhash
from numpy.typing import NDArray

from llmkit.text.scripts import UNSPACED

Hashes = NDArray[np.uint64]

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")

# Any odd number serves as the base of a polynomial modulo 2^64; this is the golden ratio's (Knuth, TAOCP vol. 3, 6.4).
_BASE = 0x9E3779B97F4A7C15


@lru_cache(maxsize=1)
def word_tokens(text: str) -> tuple[str, ...]:
    """Case-folded words; in scripts without spaces (Japanese, Chinese, Thai …) each character is a token of its own.

    So one rule serves mixed text, and an n-gram of tokens is a word n-gram in English and a character n-gram in
    Japanese. Punctuation, spacing and the width of characters do not count. The last text's are kept: several steps
    ask for the tokens of one document, one after the other.
    """
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return tuple(_TOKEN.findall(text.casefold()))


@lru_cache(maxsize=1)
def token_hashes(text: str) -> Hashes:
    """A 64-bit hash of each of the `word_tokens`, in order; read-only, and the same on every machine."""
    return _hashes(word_tokens(text))


def shingle_hashes(text: str, n: int) -> Hashes:
    """The distinct n-grams of `word_tokens` as 64-bit hashes, ascending: a set that two texts can be compared by.

    A text of fewer than `n` tokens is one shingle; one without any (only punctuation) is its own characters.
    """
    tokens = token_hashes(text)
    if not len(tokens):
        return np.unique(_hashes(tuple(text.split())))
    n = min(n, len(tokens))
    grams = np.zeros(len(tokens) - n + 1, np.uint64)
    for start in range(n):
        grams *= np.uint64(_BASE)
        grams += tokens[start : start + len(grams)]
    return np.unique(grams)


def jaccard(a: Hashes, b: Hashes) -> float:
    """|a ∩ b| / |a ∪ b| of two sets of hashes, each ascending and without repeats; two empty sets are alike (1.0)."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - common
    return common / union if union else 1.0


def _hashes(tokens: tuple[str, ...]) -> Hashes:
    encoded = (token.encode("utf-8", "surrogatepass") for token in tokens)
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(tokens))
    hashes.setflags(write=False)
    return hashes

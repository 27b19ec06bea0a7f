"""Tokens and n-grams for comparing texts with one another (not for feeding models), in any script."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from llmkit.text.scripts import UNSPACED

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def word_tokens(text: str) -> list[str]:
    """Case-folded words; in scripts without spaces (Japanese, Chinese, Thai …) each character is a token of its own.

    So one rule serves mixed text, and an n-gram of tokens is a word n-gram in English and a character n-gram in
    Japanese. Punctuation and spacing do not count.
    """
    return _TOKEN.findall(text.casefold())


def shingles(text: str, n: int) -> set[str]:
    """The distinct n-grams of `word_tokens`, joined by spaces.

    A text of fewer than `n` tokens is one shingle; one without any (only punctuation) is its own characters.
    """
    tokens = word_tokens(text)
    if not tokens:
        return set(text.split())
    if len(tokens) < n:
        return {" ".join(tokens)}
    return {" ".join(gram) for gram in zip(*(tokens[i:] for i in range(n)), strict=False)}


def jaccard(a: AbstractSet[object], b: AbstractSet[object]) -> float:
    """|a ∩ b| / |a ∪ b|; two empty sets are alike (1.0)."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0

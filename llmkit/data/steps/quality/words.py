"""What counts as a word when a rule counts words, in scripts with and without spaces between words.

No word segmenter is used: a dictionary per language would be a dependency each, and take many times as long as all
rules together. Where spaces separate words, a word is what lies between spaces. In Japanese, Chinese, Thai and their
like a token is one character, and the rules speak of words of a usual length: n words are n times that many characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from llmkit.text.scripts import UNSPACED, Script, script_of


class Variant(StrEnum):
    """A kind of text that has thresholds of its own."""

    SPACED = "spaced"
    """Alphabets with spaces between words: Latin, Cyrillic, Greek, Arabic, Hebrew, the scripts of India."""
    CJK = "cjk"
    """Japanese and Chinese."""
    KOREAN = "korean"
    """Spaces, but between phrases of a noun or verb with its endings (eojeol)."""
    UNSPACED = "unspaced"
    """Thai, Lao, Khmer and Burmese: no spaces between words, and no full stops in the first two."""
    CODE = "code"
    """Source code."""


_VARIANT_OF_SCRIPT: Mapping[Script, Variant] = {
    Script.HAN: Variant.CJK,
    Script.HIRAGANA: Variant.CJK,
    Script.KATAKANA: Variant.CJK,
    Script.HANGUL: Variant.KOREAN,
    Script.THAI: Variant.UNSPACED,
    Script.LAO: Variant.UNSPACED,
    Script.KHMER: Variant.UNSPACED,
    Script.MYANMAR: Variant.UNSPACED,
}

CHARACTERS_PER_WORD: Mapping[Variant, int] = {Variant.CJK: 2, Variant.UNSPACED: 4}
"""Length that stands for a word's, with vowel signs and tones in Thai. FineWeb2, which segments, lets a text's mean be
1 to 5 in Japanese and Chinese and 2 to 10 in Thai (https://github.com/huggingface/fineweb-2/tree/main/configs). Powers
of two, so that the tokens of a word are joined in one or two steps."""

_LATIN_WEIGHT = 0.5
"""A letter of an alphabet says half of what a Japanese character does, so a name in Latin letters decides less."""
_SAMPLE_PIECE = 300

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_UNSPACED_RUN = re.compile(rf"[{UNSPACED}]+")
_WITH_OWN_VARIANT = re.compile(rf"[{UNSPACED}\u1100-\u11ff\u3131-\u318e\uac00-\ud7ff]")  # ... and Hangul
_OTHER_WORD = re.compile(rf"[^\W_{UNSPACED}]+")


@dataclass(frozen=True)
class Words:
    """A text cut into tokens.

    Attributes:
        tokens: whatever lies between spaces; in unspaced scripts, single characters.
        stride: how many tokens one word has: 1 where spaces separate words.
        count: number of words, punctuation left out.
        all_tokens: number of words with punctuation: what ratios "per word" are taken of.
        lettered: share of words that contain a letter; in unspaced scripts, of the characters that are letters.
        mean_length: characters a word; None in unspaced scripts, where it says nothing.
    """

    tokens: list[str]
    stride: int
    count: float
    all_tokens: float
    lettered: float
    mean_length: float | None


def variant_of(text: str) -> Variant:
    """The variant of the rules that applies to prose, by the script that holds most of it."""
    if text.isascii():
        return Variant.SPACED
    sample = _sample(text)
    if _WITH_OWN_VARIANT.search(sample) is None:
        return Variant.SPACED
    sizes = Counter(map(_variant_of_char, sample))
    sizes[None] = 0
    letters = sizes.pop(Variant.SPACED, 0)
    (variant, size), *_ = sizes.most_common(1)
    return variant if variant and size > letters * _LATIN_WEIGHT else Variant.SPACED


@lru_cache(maxsize=8192)
def _variant_of_char(char: str) -> Variant | None:
    script = script_of(char)
    return None if script is Script.COMMON else _VARIANT_OF_SCRIPT.get(script, Variant.SPACED)


def words_of(text: str, variant: Variant) -> Words:
    """Cut a text into words as its variant does."""
    return _unspaced(text, CHARACTERS_PER_WORD[variant]) if variant in CHARACTERS_PER_WORD else _spaced(text)


def _spaced(text: str) -> Words:
    tokens = text.split()
    # Most tokens are letters only, which one call in C decides; the few others are looked at one by one.
    rest = [token for token in tokens if not token.isalpha()]
    without_letter = [token for token in rest if not _has_letter(token)]
    symbols = [token for token in without_letter if not any(map(str.isalnum, token))]
    count = len(tokens) - len(symbols)
    characters = sum(map(len, tokens)) - sum(map(len, symbols))
    lettered = (len(tokens) - len(without_letter)) / len(tokens) if tokens else 0.0
    return Words(tokens, 1, count, len(tokens), lettered, characters / count if count else 0.0)


def _has_letter(token: str) -> bool:
    # A word with a mark at one of its ends, by far the most frequent case.
    return token[0].isalpha() or token[-1].isalpha() or any(map(str.isalpha, token))


def _unspaced(text: str, length: int) -> Words:
    tokens = _TOKEN.findall(text)
    others = _UNSPACED_RUN.sub(" ", text)
    characters = len(text) - len(others) + len(_UNSPACED_RUN.findall(text))
    words = _OTHER_WORD.findall(others)
    visible = sum(map(len, tokens))
    letters = characters + sum(sum(map(str.isalpha, word)) for word in words)
    count = characters / length + len(words)
    return Words(tokens, length, count, count, letters / visible if visible else 0.0, None)


def _sample(text: str) -> str:
    if len(text) <= 3 * _SAMPLE_PIECE:
        return text
    middle = (len(text) - _SAMPLE_PIECE) // 2
    return text[:_SAMPLE_PIECE] + text[middle : middle + _SAMPLE_PIECE] + text[-_SAMPLE_PIECE:]

"""Which writing system a character belongs to, as coarsely as text processing needs it.

The ranges are the main blocks of Unicode 15 for each script (https://www.unicode.org/Public/15.0.0/ucd/Scripts.txt),
joined where only rare or unassigned code points lie between them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from enum import StrEnum


class Script(StrEnum):
    """A writing system; `COMMON` is what all of them share: digits, punctuation, spaces, symbols."""

    LATIN = "Latin"
    GREEK = "Greek"
    CYRILLIC = "Cyrillic"
    HEBREW = "Hebrew"
    ARABIC = "Arabic"
    INDIC = "Indic"
    THAI = "Thai"
    LAO = "Lao"
    MYANMAR = "Myanmar"
    KHMER = "Khmer"
    HANGUL = "Hangul"
    HIRAGANA = "Hiragana"
    KATAKANA = "Katakana"
    HAN = "Han"
    OTHER = "Other"
    COMMON = "Common"


_RANGES: tuple[tuple[int, int, Script], ...] = (
    (0x0041, 0x005A, Script.LATIN),
    (0x0061, 0x007A, Script.LATIN),
    (0x00C0, 0x024F, Script.LATIN),
    (0x0250, 0x02AF, Script.LATIN),
    (0x0370, 0x03FF, Script.GREEK),
    (0x0400, 0x052F, Script.CYRILLIC),
    (0x0590, 0x05FF, Script.HEBREW),
    (0x0600, 0x06FF, Script.ARABIC),
    (0x0750, 0x077F, Script.ARABIC),
    (0x08A0, 0x08FF, Script.ARABIC),
    (0x0900, 0x0DFF, Script.INDIC),
    (0x0E01, 0x0E7F, Script.THAI),
    (0x0E80, 0x0EFF, Script.LAO),
    (0x1000, 0x109F, Script.MYANMAR),
    (0x1100, 0x11FF, Script.HANGUL),
    (0x1780, 0x17FF, Script.KHMER),
    (0x1E00, 0x1EFF, Script.LATIN),
    (0x1F00, 0x1FFF, Script.GREEK),
    (0x3005, 0x3007, Script.HAN),
    (0x3041, 0x309F, Script.HIRAGANA),
    (0x30A1, 0x30FA, Script.KATAKANA),
    (0x30FC, 0x30FF, Script.KATAKANA),
    (0x3131, 0x318E, Script.HANGUL),
    (0x31F0, 0x31FF, Script.KATAKANA),
    (0x3400, 0x4DBF, Script.HAN),
    (0x4E00, 0x9FFF, Script.HAN),
    (0xAC00, 0xD7FF, Script.HANGUL),
    (0xF900, 0xFAFF, Script.HAN),
    (0xFB1D, 0xFB4F, Script.HEBREW),
    (0xFB50, 0xFDFF, Script.ARABIC),
    (0xFE70, 0xFEFE, Script.ARABIC),
    (0xFF21, 0xFF3A, Script.LATIN),
    (0xFF41, 0xFF5A, Script.LATIN),
    (0xFF66, 0xFF9D, Script.KATAKANA),
    (0x20000, 0x323AF, Script.HAN),
)
_STARTS = [start for start, _, _ in _RANGES]

UNSPACED_SCRIPTS = frozenset(
    {Script.HAN, Script.HIRAGANA, Script.KATAKANA, Script.THAI, Script.LAO, Script.MYANMAR, Script.KHMER}
)
"""Scripts that put no space between words, so that whitespace says nothing about where a word ends."""

UNSPACED = "".join(f"{chr(start)}-{chr(end)}" for start, end, script in _RANGES if script in UNSPACED_SCRIPTS)
"""The characters of `UNSPACED_SCRIPTS`, to be put between the brackets of a regular expression's character class."""


def script_of(char: str) -> Script:
    """The script of one character. Letters outside the table are `OTHER`; all else outside it is `COMMON`."""
    code = ord(char)
    position = bisect_right(_STARTS, code) - 1
    if position >= 0 and code <= _RANGES[position][1]:
        return _RANGES[position][2]
    return Script.OTHER if char.isalpha() else Script.COMMON


def script_counts(text: str) -> Counter[Script]:
    """How many characters of `text` each script has, `COMMON` left out."""
    counts: Counter[Script] = Counter()
    for char, count in Counter(text).items():
        script = script_of(char)
        if script is not Script.COMMON:
            counts[script] += count
    return counts

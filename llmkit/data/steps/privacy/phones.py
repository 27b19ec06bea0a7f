"""Telephone numbers as people write them: international, and national in Japan, North America, Europe and China.

A number without a plus sign could be anything that has digits. So each way of writing has a shape, and the shapes that
other things share (plain digits, groups divided by spaces) count only after a word that announces a telephone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# In Japanese the long vowel mark and the minus sign often stand for a hyphen.
HYPHENS = r"\-\u2010\u2011\u2012\u2013\u2014\u2212ー"
_HYPHEN = f"[{HYPHENS}]"

# Not after a digit, letter or plus, nor in a row of grouped digits or a decimal.
_LEFT = rf"(?<![0-9A-Za-z_+])(?<![0-9][.,/:{HYPHENS}])"
_RIGHT = rf"(?![0-9A-Za-z_]|[.,/:{HYPHENS}][0-9])"

_ANNOUNCED = re.compile(
    r"(?:tel|tél|phone|telephone|téléphone|telefon|teléfono|telefone|fax|mobile|cell|whatsapp|sms|handy|hotline"
    r"|電話|携帯|ファックス|ファクス|ファクシミリ|連絡先|フリーダイヤル|内線|℡|☎|📞|电话|手机|전화|휴대폰|هاتف|טלפון)"
    r"(?:[ ]?(?:number|no|nr|num|番号|号码|番号は))?"
    r"[\s:.=#(（\"'は]{0,4}(?:(?:is|at|on)[ ])?\+?$",
    re.IGNORECASE,
)
_CONTEXT_CHARS = 32

# ITU-T E.164 country codes with one and two digits; all others have three:
# https://www.itu.int/pub/T-SP-E.164D
_ONE_DIGIT = frozenset("17")
_TWO_DIGIT_CODES = """
    20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86
    90 91 92 93 94 95 98
"""
_TWO_DIGITS = frozenset(_TWO_DIGIT_CODES.split())
_STARTS_OF_THREE_DIGIT_CODES = """
    21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 80 85 87 88 96 97 99
"""
_THREE_DIGITS_START = frozenset(_STARTS_OF_THREE_DIGIT_CODES.split())


class _Shape(NamedTuple):
    """A way of writing: its pattern, and where it counts without a word that announces it."""

    pattern: re.Pattern[str]
    in_prose: bool
    in_code: bool
    lengths: range = range(7, 16)


def _shape(pattern: str, lengths: range, *, in_prose: bool = True, in_code: bool = True) -> _Shape:
    return _Shape(re.compile(_LEFT + pattern + _RIGHT), in_prose, in_code, lengths)


_SHAPES = (
    # Japan and others with a trunk 0, by hyphens or brackets: 03-1234-5678, (03)1234-5678, 090-1234-5678, 0120-123-456.
    # Seven to nine digits would be dates and part numbers.
    _shape(
        rf"(?:\(0[1-9][0-9]{{0,4}}\)[ {HYPHENS}]?|0[1-9][0-9]{{0,4}}[({HYPHENS}])"
        rf"[0-9]{{1,4}}[){HYPHENS}][0-9]{{3,4}}",
        range(10, 12),
    ),
    # The same by spaces: 020 7946 0958, 03 1234 5678.
    _shape(r"\(?0[1-9][0-9]{0,4}\)?[ \u3000][0-9]{3,4}[ \u3000][0-9]{3,4}", range(10, 12), in_code=False),
    # France: 01 42 68 53 00.
    _shape(
        r"(?<![0-9A-Fa-f]{2}[ ])0[1-9](?:([ .])[0-9]{2})(?:\1[0-9]{2}){3}(?![ .]?[0-9A-Fa-f]{2}\b)",
        range(10, 11),
        in_code=False,
    ),
    # North America: (212) 555-0123, 212-555-0123, 1-212-555-0123, 212.555.0123; area and exchange begin with 2 to 9.
    _shape(rf"(?:1[ .]?{_HYPHEN}?)?\([2-9][0-9]{{2}}\)[ ]?[2-9][0-9]{{2}}[ .{HYPHENS}][0-9]{{4}}", range(10, 12)),
    _shape(rf"(?:1{_HYPHEN})?[2-9][0-9]{{2}}{_HYPHEN}[2-9][0-9]{{2}}{_HYPHEN}[0-9]{{4}}", range(10, 12)),
    _shape(r"[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}", range(10, 11), in_code=False),
    # China: 138-1234-5678.
    _shape(rf"1[3-9][0-9]{_HYPHEN}[0-9]{{4}}{_HYPHEN}[0-9]{{4}}", range(11, 12)),
    # Japanese mobile numbers in one run: 09012345678.
    _shape(r"0[789]0[0-9]{8}", range(11, 12), in_code=False),
    # Anything of a number's length after "Tel." and the like. Digit by digit, so that there is one way to match.
    _shape(
        rf"(?:\([0-9]{{1,5}}\)[ {HYPHENS}]?)?[0-9](?:[() .\u3000{HYPHENS}]{{0,2}}+[0-9]){{3,14}}+",
        range(7, 16),
        in_prose=False,
        in_code=False,
    ),
)
_INTERNATIONAL = re.compile(
    rf"(?<![0-9A-Za-z_+)\]])\+[1-9](?:[() .\u00a0\u3000{HYPHENS}]{{0,3}}+[0-9]){{7,15}}+(?![0-9A-Za-z_])"
)
_DATE = re.compile(r"(?:19|20)[0-9]{2}([./-])[01]?[0-9]\1[0-3]?[0-9]")
_SEPARATORS = re.compile("[^0-9]+")


def phone_spans(text: str, start: int, end: int, *, code: bool) -> Iterator[tuple[int, int]]:
    """Spans of telephone numbers in `text[start:end]`, a run of digits and what may stand between them.

    `text` has its full-width forms folded. Spans may overlap; of those the longest is meant.
    """
    if text.find("+", start, end) >= 0:
        for match in _INTERNATIONAL.finditer(text, start, end):
            stop = _international_end(match)
            if stop:
                yield match.start(), stop
    for shape in _SHAPES:
        for match in shape.pattern.finditer(text, start, end):
            digits = sum(map(match.group().count, "0123456789"))
            if digits not in shape.lengths or _DATE.match(match.group()):
                continue
            plain = shape.in_code if code else shape.in_prose
            if plain or is_announced(text, match.start()):
                yield match.start(), match.end()


def is_announced(text: str, start: int) -> bool:
    """Whether a word such as "Tel." or 電話 stands right before `start`."""
    return _ANNOUNCED.search(text[max(0, start - _CONTEXT_CHARS) : start]) is not None


def normal_phone(value: str) -> str:
    """The digits of a number, with its plus: two writings of one number are one value."""
    return ("+" if value.lstrip(" (").startswith("+") else "") + _SEPARATORS.sub("", value)


def _international_end(match: re.Match[str]) -> int | None:
    """Where the number ends: the whole match, or a shorter part of it where what follows is another number."""
    value = match.group()
    end = len(value)
    while end > 8:
        part = value[:end]
        if _is_international(_SEPARATORS.sub("", part.replace("(0)", ""))):
            return match.start() + end
        gap = max(part.rfind(sep) for sep in " \u00a0\u3000")
        if gap < 0:
            return None
        end = len(part[:gap].rstrip(" \u00a0\u3000"))
    return None


def _is_international(digits: str) -> bool:
    """Whether digits after a plus begin with a country code, and have a length that its numbers have."""
    if digits[0] in _ONE_DIGIT:
        # North America: area and exchange begin with 2 to 9. Russia and Kazakhstan have ten digits too.
        return len(digits) == 11 and (digits[0] == "7" or (digits[1] >= "2" and digits[4] >= "2"))
    if digits[:2] in _TWO_DIGITS:
        national = len(digits) - 2
        return 9 <= national <= 10 if digits.startswith("81") else 7 <= national <= 12
    return digits[:2] in _THREE_DIGITS_START and 7 <= len(digits) - 3 <= 12

"""Numbers that stand for a person or an account: cards, bank accounts, social security and My Number, IPv4, telephones.

All of them are looked for in runs of digits and what divides them, which one fast scan of the text finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address

from llmkit.data.steps.privacy.checks import IBAN_LENGTHS, is_card_number, is_iban, is_my_number, is_us_ssn
from llmkit.data.steps.privacy.match import PiiType
from llmkit.data.steps.privacy.phones import HYPHENS, phone_spans

Found = tuple[PiiType, int, int]
_Finder = Callable[[str, int, int, bool], Iterator[tuple[int, int]]]

_RUN = re.compile(rf"[+(0-9][0-9 ()+.\u00a0\u3000{HYPHENS}]{{5,}}+")
_DIGIT = re.compile("[0-9]")
_FEWEST_DIGITS = 7
# Not within a longer number, nor within groups of four that go on. What follows after a space may be a date, such as a
# card's expiry.
_LEFT = rf"(?<![0-9A-Za-z_.])(?<![0-9][,{HYPHENS}])(?<![0-9]{{4}}[ \u3000])"
_RIGHT = rf"(?![0-9A-Za-z_]|[.,{HYPHENS}][0-9]|[ \u3000][0-9]{{4}}(?![0-9/.-]))"

_CARD = re.compile(
    rf"{_LEFT}(?:[0-9]{{13,19}}"
    r"|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}"
    rf"|[0-9]{{4}}([ -])[0-9]{{6}}\2[0-9]{{4,5}}){_RIGHT}"
)
_CARD_WORD = re.compile(r"card|visa|amex|credit|debit|\bpan\b|カード|クレジット", re.IGNORECASE)
_TWELVE = re.compile(rf"{_LEFT}(?:[0-9]{{12}}|[0-9]{{4}}([ \u3000-])[0-9]{{4}}\1[0-9]{{4}}){_RIGHT}")
_MY_NUMBER_WORD = re.compile(r"マイナンバー|個人番号|my[ ]?number|individual[ ]number", re.IGNORECASE)
_JAPANESE = re.compile("[\u3041-\u30ff\u4e00-\u9fff]")
_SSN = re.compile(rf"{_LEFT}[0-9]{{3}}([ -]?)[0-9]{{2}}\1[0-9]{{4}}{_RIGHT}")
_SSN_WORD = re.compile(r"\bssn\b|social[ -]security", re.IGNORECASE)
_IP_V4 = re.compile(r"(?<![0-9A-Za-z_.+-])[1-9][0-9]{0,2}(?:\.(?:0|[1-9][0-9]{0,2})){3}(?![0-9A-Za-z_]|\.[0-9]|-[0-9])")
_IP_WORD = re.compile(r"\bip\b|ipv4|address|host|server|ping|アドレス|サーバ|ホスト|宛|地址|服务器|主机", re.IGNORECASE)
_VERSION_WORD = re.compile(
    r"(?:\bv|ver|version|release|revision|rev|build|firmware|section|sec|chapter|§|table|figure|fig|oid|バージョン|版|第)"
    r"[ .:=\"']{0,3}$",
    re.IGNORECASE,
)
_LEAST_OCTET = 32
"""Section and version numbers are small. Of all addresses, 1 in 4096 has no octet from here on."""

_NEAR = 40
"""Characters before a number in which a word can say what it is."""

_BEFORE_DIGITS = 12
"""Characters of an IBAN before its first long run of digits: country, check digits, four letters, two spaces."""

_IBAN_START = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?=[ ]?[0-9A-Z]{4})")


def number_matches(text: str, types: Collection[PiiType], *, code: bool) -> Iterator[Found]:
    """Numbers of the given types in a text whose full-width digits are folded; they may overlap.

    In source code, a bare 16-digit number is a constant unless it is quoted or something near it speaks of cards.
    """
    wanted = [(kind, find) for kind, find in _FINDERS.items() if kind in types]
    if not wanted:
        return
    for run in _RUN.finditer(text):
        start, end = run.span()
        value = run.group()
        if len(_DIGIT.findall(value)) < _FEWEST_DIGITS and value.count(".") < 3:
            continue
        for kind, find in wanted:
            # One more character, so that a pattern sees what follows the run.
            for span in find(text, start, min(end + 1, len(text)), code):
                yield kind, *span


def _ibans(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    """International bank account numbers, together or in groups divided by single spaces.

    The country and a bank's letters may stand before the run of digits: `GB82 WEST 1234 5698 7654 32`.
    """
    for head in _IBAN_START.finditer(text, max(0, start - _BEFORE_DIGITS), min(len(text), start + _BEFORE_DIGITS)):
        length = IBAN_LENGTHS.get(head.group()[:2], 0)
        position = head.start()
        value = ""
        while len(value) < length and position < len(text):
            if text[position].isascii() and text[position].isalnum():
                value += text[position]
            elif text[position] != " " or text[position - 1] == " ":
                break
            position += 1
        follows = text[position : position + 1]
        if is_iban(value) and not (follows.isascii() and follows.isalnum()):
            yield head.start(), position


def _cards(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text, start, end):
        digits = _digits(match)
        bare = len(digits) == len(match.group())
        if not is_card_number(digits) or len(set(digits)) == 1:
            continue
        if not (code and bare) or _quoted(text, match) or _CARD_WORD.search(_before(text, match)):
            yield match.span()


def _my_numbers(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    """One in eleven random numbers has the right check digit: a word must announce it, or it is grouped 4-4-4 in
    Japanese text (in India, such groups are an Aadhaar number).
    """
    for match in _TWELVE.finditer(text, start, end):
        if not is_my_number(_digits(match)):
            continue
        before = _before(text, match)
        grouped = match.group(1) is not None and not code
        if _MY_NUMBER_WORD.search(before) or (grouped and _JAPANESE.search(before + text[match.end() :][:_NEAR])):
            yield match.span()


def _ssns(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    for match in _SSN.finditer(text, start, end):
        if is_us_ssn(_digits(match)) and (match.group(1) == "-" or _SSN_WORD.search(_before(text, match))):
            yield match.span()


def _ips(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    """Addresses that are routed publicly. Loopback, private, documentation and reserved ones lead to nobody; FineWeb
    removed the same ones (Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.1).
    """
    for match in _IP_V4.finditer(text, start, end):
        octets = match.group().split(".")
        try:
            public = IPv4Address(match.group()).is_global
        except AddressValueError:
            continue
        if not public or int(octets[0]) >= 224:
            continue
        before = _before(text, match)
        if _VERSION_WORD.search(before):
            continue
        if max(map(int, octets)) >= _LEAST_OCTET or _IP_WORD.search(before):
            yield match.span()


def _phones(text: str, start: int, end: int, code: bool) -> Iterator[tuple[int, int]]:
    return phone_spans(text, start, end, code=code)


_FINDERS: Mapping[PiiType, _Finder] = {
    "iban": _ibans,
    "credit_card": _cards,
    "my_number": _my_numbers,
    "us_ssn": _ssns,
    "ip": _ips,
    "phone": _phones,
}


def _digits(match: re.Match[str]) -> str:
    return "".join(_DIGIT.findall(match.group()))


def _before(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - _NEAR) : match.start()]


def _quoted(text: str, match: re.Match[str]) -> bool:
    return text[match.start() - 1 : match.start()] in ('"', "'") and text[match.end() : match.end() + 1] in ('"', "'")

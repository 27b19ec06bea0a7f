"""The search by rules: every type's own search on one text, full-width and other digits folded, overlaps resolved."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from llmkit.data.steps.privacy.addresses import email_matches, ip_v6_matches, url_credential_matches
from llmkit.data.steps.privacy.credentials import credential_matches
from llmkit.data.steps.privacy.digits import Found, number_matches
from llmkit.data.steps.privacy.match import PII_TYPES, Match, PiiType, apart

# NFKC would change lengths, and with them every position. These have one ASCII character each: the full-width block
# (U+FF01 to U+FF5E), and the decimal digits of Arabic, Persian and Devanagari.
_FOLDED = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    zero + digit: ord("0") + digit for zero in (0x0660, 0x06F0, 0x0966) for digit in range(10)
}
_FOLD_RUNS = re.compile("[\uff01-\uff5e\u0660-\u0669\u06f0-\u06f9\u0966-\u096f]+")


@dataclass(frozen=True)
class PatternAnalyzer:
    """`find_pii` for fixed types, as an `Analyzer`."""

    types: tuple[PiiType, ...] = PII_TYPES

    def __call__(self, text: str, *, code: bool) -> list[Match]:
        return find_pii(text, self.types, code=code)


def find_pii(text: str, types: Collection[PiiType] = PII_TYPES, *, code: bool = False) -> list[Match]:
    """Personal data and secrets of the given types, in order and apart. Time is linear in the length of the text.

    Args:
        text: any text; positions count its code points.
        types: what to look for.
        code: whether the text is source code, where plain numbers are seldom telephones or cards.
    """
    folded = fold(text)
    found: list[Found] = []
    if "@" in folded:
        if "email" in types:
            found += email_matches(folded, code=code)
        if "url_credentials" in types:
            found += url_credential_matches(folded)
    if "ip" in types and ":" in folded:
        found += ip_v6_matches(folded)
    found += number_matches(folded, types, code=code)
    found += credential_matches(folded, types)
    return apart([Match(kind, start, end, text[start:end]) for kind, start, end in found])


def fold(text: str) -> str:
    """The text with full-width characters and other scripts' digits as ASCII, of the same length."""
    if text.isascii():
        return text
    return _FOLD_RUNS.sub(lambda run: run.group().translate(_FOLDED), text)

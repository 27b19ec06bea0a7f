"""Where sentences begin and end: prose in spaced scripts, Japanese and Chinese, and the prose inside source code.

Rules, not a model: they are the same on every machine, run in linear time on any input, and a span always points into
the text as it is. A wrapped line is not an end; a blank line, a list item and a doctest prompt are.
"""

from __future__ import annotations

import re

from llmkit.text.document import Span

# Possessive quantifiers and the look behind keep every alternative linear, on a line of a million dots too.
_BREAK = re.compile(
    r"""
      (?P<stop>(?<![.!?…])[.!?…]++["'”’)\]»*`]*+)(?=\s) # English and its relatives need white space after the stop
    | (?P<cjk>[。！？｡]++[」』）】〉》”’"')\]]*+)            # Japanese and Chinese do not
    | (?P<blank>\n[ \t\r\f]*+\n)
    | (?P<item>\n)(?=[ \t]*+(?:[-*+•]\ |\d{1,3}[.)]\ |>>>|[:@]\w|\#|```|"{3}|'{3}))
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|al|approx|resp|ca|no|nos|fig|figs|eq|eqs|sec|vol|pp|ed|eds|"
    r"dr|mr|mrs|ms|prof|st|jr|sr|inc|ltd|co|corp|dept|est|gen|gov|sen|rev|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|"
    r"u\.s|u\.k|a\.m|p\.m)$",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 8
# 「…。」と言った: the quotation ended, the sentence did not.
_PARTICLES = frozenset("とっがをのはもにで、，")


def sentence_spans(text: str) -> list[Span]:
    """Spans of the sentences of `text`, in order, apart, trimmed; together they hold all that is not white space."""
    spans: list[Span] = []
    start = 0
    for match in _BREAK.finditer(text):
        if _ends_sentence(text, match):
            _append_trimmed(spans, text, start, match.end())
            start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    kind, end = match.lastgroup, match.end()
    if kind == "cjk":
        closed = match.group()[-1] not in "。！？｡"
        return not (closed and end < len(text) and text[end] in _PARTICLES)
    if kind != "stop":
        return True
    following = _next_visible(text, end)
    if following.islower():
        return False
    if match.group() == ".":
        return not _ABBREVIATION.search(text, max(0, match.start() - _LONGEST_ABBREVIATION), match.start())
    return True


def _next_visible(text: str, at: int) -> str:
    # A short look ahead is enough: what follows more white space than this is a new sentence anyway.
    return text[at : at + 64].lstrip()[:1]


def _append_trimmed(spans: list[Span], text: str, start: int, end: int) -> None:
    span = trimmed(text, start, end)
    if span is not None:
        spans.append(span)


def trimmed(text: str, start: int, end: int) -> Span | None:
    """`text[start:end]` without the white space at its ends, or None where nothing is left."""
    piece = text[start:end]
    visible = piece.lstrip()
    if not visible:
        return None
    start = end - len(visible)
    return Span(start, start + len(visible.rstrip()))

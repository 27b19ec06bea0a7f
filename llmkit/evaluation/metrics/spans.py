"""Spans that tags of words mark, as CoNLL-2000's conlleval and seqeval read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

OUTSIDE = "O"

_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
_SAME = {"L": "E", "U": "S"}
"""BILOU's last and unit are BIOES's end and single."""

TypedSpan = tuple[str, int, int]


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether every tag is `O` or has one of the prefixes of IOB, BIOES or BILOU; and one has such a prefix."""
    distinct = set(tags) - {OUTSIDE}
    return bool(distinct) and all(_TAG.fullmatch(tag) for tag in distinct)


def spans_of(tags: Sequence[str]) -> set[TypedSpan]:
    """The spans as (type, first word, behind the last word).

    Lenient, as seqeval is by default: a span that begins with I, or changes its type, begins there.
    """
    found: set[TypedSpan] = set()
    before, kind, begin = OUTSIDE, "", 0
    for at, tag in enumerate(chain(tags, [OUTSIDE])):
        match = _TAG.fullmatch(tag)
        prefix, name = (_SAME.get(match[1], match[1]), match[2]) if match else (OUTSIDE, "")
        if before != OUTSIDE and (before in "ES" or prefix in "BSO" or name != kind):
            found.add((kind, begin, at))
        if prefix != OUTSIDE and (prefix in "BS" or before in "ESO" or name != kind):
            begin = at
        before, kind = prefix, name
    return found

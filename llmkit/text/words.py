"""Words of a text, as half-open ranges of its characters: what tags stand on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmkit.text.scripts import UNSPACED

Span = tuple[int, int]

# Where no spaces are written a character is what there is to tag.
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_NO_SPACE = re.compile(rf"[{UNSPACED}]")


def words_of(text: str) -> list[Span]:
    """Runs of letters and digits, and every other sign by itself; single characters where no spaces are written."""
    return [match.span() for match in _WORD.finditer(text)]


def cut_at(words: Sequence[Span], places: set[int]) -> list[Span]:
    """The words, cut where one of the places is inside them."""
    found: list[Span] = []
    for start, end in words:
        inside = sorted(place for place in places if start < place < end)
        found += zip([start, *inside], [*inside, end], strict=True)
    return found


def joined(words: Sequence[str]) -> tuple[str, list[Span]]:
    """One text of words, and where they are in it: with a space between, but not between unspaced characters."""
    text, spans = "", []
    for word in words:
        apart = bool(text) and not (_NO_SPACE.match(text[-1]) and _NO_SPACE.match(word))
        text += " " if apart else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans

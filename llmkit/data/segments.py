"""Long texts in pieces short enough for a tokenizer, cut where no token is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_SEGMENT = 50_000
"""Characters. A BPE's time for one unbroken run (50 MB of `a`, a base64 blob) grows faster than the run's length."""

_CUT = re.compile(r"(?<=[^\W_]) (?=[^\W_])")
"""A single space between two letters or digits: every pre-tokeniser begins a new piece there."""

_CUT_UNSPACED = re.compile(r"(?<=[^\W\d_])(?=[。、，！？])")
"""Before a stop or comma that follows a letter: so it does where no spaces are written."""

_SEARCHED = 2_000


def segments(text: str, longest: int = LONGEST_SEGMENT) -> Iterator[str]:
    """Cut a text into pieces of at most `longest` characters, whose concatenation is the text.

    A piece ends before a space between two words if there is one near its end, else before a Japanese or Chinese stop
    or comma; then the tokens of the pieces are the tokens of the whole. Only an unbroken run is cut anywhere.
    """
    start = 0
    while len(text) - start > longest:
        end = start + longest
        near = max(start + 1, end - _SEARCHED)
        end = _last(_CUT, text, near, end) or _last(_CUT_UNSPACED, text, near, end) or end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last(cut: re.Pattern[str], text: str, near: int, end: int) -> int | None:
    places = [match.start() for match in cut.finditer(text, near, end)]
    return places[-1] if places else None

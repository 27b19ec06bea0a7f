"""Long texts in pieces short enough for a tokenizer, cut where no token is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_SEGMENT = 50_000
"""Characters. A BPE's time for one unbroken run (50 MB of `a`, a base64 blob) grows faster than the run's length."""

_CUT = re.compile(r"(?<=[^\W_]) (?=[^\W_])")
"""A single space between two letters or digits: every pre-tokeniser begins a new piece there."""

_SEARCHED = 2_000


def segments(text: str, longest: int = LONGEST_SEGMENT) -> Iterator[str]:
    """Cut a text into pieces of at most `longest` characters, whose concatenation is the text.

    A piece ends before a space between two words if there is one near its end; then the tokens of the pieces are the
    tokens of the whole. Only an unbroken run is cut anywhere.
    """
    start = 0
    while len(text) - start > longest:
        end = start + longest
        near = max(start + 1, end - _SEARCHED)
        cuts = [match.start() for match in _CUT.finditer(text, near, end)]
        end = cuts[-1] if cuts else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]

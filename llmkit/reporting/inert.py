"""Text that is not ours, made harmless before it is shown on a terminal or a page."""

from __future__ import annotations

import re

# All that could move the cursor, ring, recolour or reorder (C0 and C1 but tab and newline, the bidi overrides and
# isolates), and what cannot be written as UTF-8 or is no character at all.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def inert_json(text: str) -> str:
    """JSON in which the same characters are written as escapes: it says the same, and does nothing to a terminal."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def inert(text: str) -> str:
    """`text` with every control character, and every lone surrogate, replaced by the replacement character."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))

"""What an index keeps of a document besides its text: the facts by which a search can be narrowed."""

from __future__ import annotations

import json
import math

from llmkit.text.document import Document

LANGUAGE = "lang"
"""ISO 639-1 code of the text; `und` where it cannot be told; absent for source code."""
MEDIA = "media"

_OF_THE_FETCH = frozenset({"retrieved", "revision", "sha256"})
"""What is said of how a text came here changes though the text does not: it would be indexed anew each time."""
_LONGEST = 500
"""Code points of a fact: what is longer is a text, and nobody chooses by it."""


def facts_of(document: Document) -> str:
    """The document's facts as one JSON object with sorted keys: `media`, and of its meta whatever is one short value.

    Texts (of at most 500 code points), numbers and truth values are kept; lists and objects are not.
    """
    facts: dict[str, object] = {name: value for name, value in document.meta.items() if _kept(name, value)}
    facts[MEDIA] = document.media
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _kept(name: str, value: object) -> bool:
    if name in _OF_THE_FETCH:
        return False
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int)

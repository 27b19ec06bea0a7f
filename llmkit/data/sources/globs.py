"""Glob patterns over root-relative names, `**` included (pathlib knows it only from Python 3.13 on)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

_MAGIC = re.compile(r"[*?\[]")
_PART = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.S)


def is_glob(text: str) -> bool:
    return _MAGIC.search(text) is not None


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test of whether a name such as `json/decoder.py` matches any of `patterns`.

    `*` and `?` stay within one part, `**` spans parts. A pattern without `/` matches at any depth, as in `.gitignore`;
    a pattern that matches a folder takes all that lies in it.
    """
    compiled = [_compile(pattern) for pattern in patterns]
    return lambda name: any(pattern.match(name) for pattern in compiled)


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    anchored = "/" in pattern.rstrip("/")
    body = "".join(_translate(part) for part in _PART.findall(pattern.strip("/")))
    return re.compile(rf"{'' if anchored else '(?:.*/)?'}{body}(?:/.*)?\Z", re.S)


def _translate(part: str) -> str:
    match part:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if part.startswith("[") and len(part) > 1:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)

"""What changed between two states of a text: the lines, and within a changed line the words or characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

CONTEXT = 2
"""Unchanged lines shown before and after a change."""

_MAX_LINES = 5_000
_MAX_LINE_CHARS = 2_000
_MAX_MARKED = 500
"""Comparing takes time in the square of the length: beyond these a diff says less, and still ends."""

# Words where a script puts spaces between them; else, and for all that is no letter, each character by itself.
_PIECE = re.compile(r"[A-Za-z0-9_\u00c0-\u024f\u0370-\u052f\u0590-\u06ff]+|.", re.DOTALL)
_LINE_END = re.compile(r"(?<=\n)")

Mark = Literal[" ", "-", "+", "@"]


@dataclass(frozen=True)
class DiffLine:
    """One line of a diff. `pieces` are its text in parts, each with whether that part changed.

    `mark` is a space for an unchanged line, `-` for one that went, `+` for one that came, and `@` for a note of ours in
    the place of lines that are not shown.
    """

    mark: Mark
    pieces: tuple[tuple[str, bool], ...]

    @property
    def text(self) -> str:
        return "".join(piece for piece, _ in self.pieces)


def diff_lines(before: str, after: str, context: int = CONTEXT) -> list[DiffLine]:
    """The changed lines of two texts, those gone before those that came, with `context` unchanged lines around them.

    Equal texts have no lines. Of texts beyond 5,000 lines only the first 5,000 from the first change on are compared,
    and a note says so.
    """
    old, new = _lines(before), _lines(after)
    same = _common_prefix(old, new)
    if same == len(old) == len(new):
        return []
    skipped = max(0, same - context)
    old, new = old[skipped:], new[skipped:]
    cut = max(len(old), len(new)) - _MAX_LINES
    old, new = old[:_MAX_LINES], new[:_MAX_LINES]
    lines: list[DiffLine] = []
    at = 0
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(context):
        unseen = group[0][1] - at + (0 if lines else skipped)
        if unseen > 0:
            lines.append(_note(f"{unseen:,} unchanged line{'s' if unseen > 1 else ''}"))
        for tag, i, j, k, m in group:
            lines += _block(tag, old[i:j], new[k:m], max(0, _MAX_MARKED - len(lines)))
        at = group[-1][2]
    if cut > 0:
        lines.append(_note(f"{cut:,} more lines are not compared"))
    return lines


def visible(text: str) -> str:
    """Changed text with what nobody would see in it made visible: spaces as `·`, format characters by their number."""
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char == " ":
        return "·"
    if char == "\t":
        return "→"
    if char in "\r\n" or (
        char != "\ufffd" and unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cf", "Cc", "Cs", "Co")
    ):
        return f"‹U+{ord(char):04X}›"
    # A combining mark alone would land on the character before it.
    return f"‹U+{ord(char):04X}›" if unicodedata.combining(char) else char


def _lines(text: str) -> list[str]:
    """Lines with their ends; what follows the last end is a line only if there is something."""
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def _note(text: str) -> DiffLine:
    return DiffLine("@", ((text, False),))


def _common_prefix(old: Sequence[str], new: Sequence[str]) -> int:
    count = 0
    for a, b in zip(old, new, strict=False):
        if a != b:
            break
        count += 1
    return count


def _block(tag: str, old: Sequence[str], new: Sequence[str], most: int) -> Iterator[DiffLine]:
    """One run of equal or of changed lines; the first `most` of the changed ones have their changes marked."""
    if tag == "equal":
        yield from (DiffLine(" ", ((line.removesuffix("\n"), False),)) for line in old)
        return
    pairs = [_marked(a, b) for a, b in zip(old[:most], new[:most], strict=False)]
    yield from (DiffLine("-", gone) for gone, _ in pairs)
    yield from (DiffLine("-", ((line.removesuffix("\n"), False),)) for line in old[len(pairs) :])
    yield from (DiffLine("+", came) for _, came in pairs)
    yield from (DiffLine("+", ((line.removesuffix("\n"), False),)) for line in new[len(pairs) :])


def _marked(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """Both lines in parts. Lines that have too little in common are not marked: everything changed."""
    if old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    whole = ((old, False),), ((new, False),)
    if max(len(old), len(new)) > _MAX_LINE_CHARS:
        return whole
    a, b = _PIECE.findall(old), _PIECE.findall(new)
    matcher = SequenceMatcher(None, a, b)
    codes = matcher.get_opcodes()
    kept = sum(len(piece) for tag, i, j, _, _ in codes if tag == "equal" for piece in a[i:j])
    if kept * 3 < max(len(old), len(new)):
        return whole
    gone = tuple(("".join(a[i:j]), tag != "equal") for tag, i, j, _, _ in codes if j > i)
    came = tuple(("".join(b[k:m]), tag != "equal") for tag, _, _, k, m in codes if m > k)
    return gone, came

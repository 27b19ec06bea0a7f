"""Normalising a document's text for training: encoding repair, Unicode form, control characters, whitespace.

Source code is treated with more care than prose: its lines and its indentation stay as they are, so that it still
parses and a line number still leads to the same line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import ftfy
import ftfy.chardata
import ftfy.fixes

from llmkit.config.sections import CleanOptions
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.places import line_map
from llmkit.text.document import Document

# ftfy's own defaults uncurl quotes, fold full-width forms, split ligatures and unescape HTML: all of that is somebody's
# text. What is left on is the repair of text that was decoded wrongly.
_REPAIR = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=True,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_LONGEST_REPAIR = 100_000
"""Characters of one line given to ftfy at a time; its rules are made for lines of text and slow on endless ones."""

_LINE_ENDS = re.compile(r"\r\n?")
_RARE_LINE_ENDS = re.compile(r"[\v\f\u2028\u2029]")
# C0 and C1 controls, the byte-order mark, and noncharacters. Joiners and direction marks carry meaning and stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_MOST_BLANK_LINES = 2
_TOO_MANY_BLANK_LINES = "\n" * (_MOST_BLANK_LINES + 2)

# Symbols, unassigned and private characters; letters (L), marks (M), numbers (N), punctuation (P) and spaces stay.
_SYMBOLS = frozenset({"So", "Sk", "Sm", "Co", "Cn"})
_BETWEEN_PAGES = "\n\n"


def clean(document: Document, options: CleanOptions) -> Passed | Drop:
    """Normalise a document; what is left too short is dropped with reason `too_short`.

    Positions stay true: a document with pages is cleaned page by page, in any other the line map leads back.
    """
    code = is_code(document.media)
    if document.pages:
        text, changes, pages = _page_by_page(document, options, code=code)
        cleaned = replace(document, text=text, pages=pages)
    else:
        result = normalise(document.text, options, code=code)
        text, changes = result.text, result.changes
        cleaned = replace(document, text=text, line_map=line_map(result.origins) if result.origins else ())
    size = len(text) - sum(map(text.count, " \n\t\u3000"))
    if size < options.min_chars:
        detail = f"{size} characters, and at least {options.min_chars} are asked for"
        return Drop(document.source, "normalise", "too_short", detail, document.record)
    return Passed(cleaned, changes)


@dataclass(frozen=True)
class Normalised:
    """`origins` has the source's line number of each line; it is empty where no line moved."""

    text: str
    changes: Mapping[str, int]
    origins: Sequence[int] = ()


def normalise(text: str, options: CleanOptions, *, code: bool) -> Normalised:
    """The normalised text and the number of changes per rule. Time is linear in the length of the text."""
    changes: Counter[str] = Counter()
    text, changes["line_ends"] = _LINE_ENDS.subn("\n", text)
    origins: Sequence[int] = ()
    if not code and any(char in text for char in "\v\f\u2028\u2029"):
        origins = _split_origins(text)
        text, rare = _RARE_LINE_ENDS.subn("\n", text)
        changes["line_ends"] += rare
    if not code and not text.isascii():
        for rule, change in _rewrites(options).items():
            text, changes[rule] = _line_by_line(text, change)
    text, changes["control_characters"] = _CONTROL.subn("", text)
    # After the control characters: without them, a letter and its accent may meet.
    if options.form != "none" and not unicodedata.is_normalized(options.form, text):
        text, changes["unicode_form"] = _line_by_line(text, partial(unicodedata.normalize, options.form))
    if not code and options.symbols == "remove":
        text, changes["symbols"] = _without_symbols(text)
    if not code and options.lowercase:
        lowered = text.lower()
        changes["lowercase"] = sum(a != b for a, b in zip(text, lowered, strict=False)) if lowered != text else 0
        text = lowered
    text, changes["trailing_space"] = _without_trailing_space(text)
    if not code:
        text, changes["blank_lines"], origins = _without_blank_lines(text, origins)
    return Normalised(text, +changes, origins)


def _page_by_page(
    document: Document, options: CleanOptions, *, code: bool
) -> tuple[str, Mapping[str, int], tuple[int, ...]]:
    changes: Counter[str] = Counter()
    texts: list[str] = []
    starts: list[int] = []
    offset = 0
    for start, end in zip(document.pages, (*document.pages[1:], len(document.text)), strict=True):
        page = normalise(document.text[start:end], options, code=code)
        text = page.text.rstrip("\n")
        changes.update(page.changes)
        starts.append(offset)
        texts.append(text)
        offset += len(text) + len(_BETWEEN_PAGES)
    return _BETWEEN_PAGES.join(texts), changes, tuple(starts)


def _split_origins(text: str) -> list[int]:
    """The source's line number of each line, where form feeds and the like end lines too."""
    origins: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        origins += [number] * (1 + len(_RARE_LINE_ENDS.findall(line)))
    return origins


def _rewrites(options: CleanOptions) -> Mapping[str, Callable[[str], str]]:
    """What is done to each line of prose that is not plain ASCII."""
    changes: dict[str, Callable[[str], str]] = {}
    if options.repair:
        changes["mojibake"] = _repaired_line
    if options.width == "fold":
        changes["width"] = ftfy.fixes.fix_character_width
    if options.quotes == "straighten":
        changes["quotes"] = ftfy.fixes.uncurl_quotes
    return changes


def _line_by_line(text: str, change: Callable[[str], str]) -> tuple[str, int]:
    """Change each line that is not plain ASCII; the number of lines that differ then."""
    lines = text.split("\n")
    changed = [line if line.isascii() else change(line) for line in lines]
    return "\n".join(changed), sum(before != after for before, after in zip(lines, changed, strict=True))


def _repaired_line(line: str) -> str:
    if not _suspicious().search(line):
        return line
    pieces = (line[i : i + _LONGEST_REPAIR] for i in range(0, len(line), _LONGEST_REPAIR))
    return "".join(ftfy.fix_text(piece, _REPAIR) for piece in pieces)


@cache
def _suspicious() -> re.Pattern[str]:
    """What a line must hold for ftfy to change it; to ask this first makes the repair ten times as fast.

    UTF-8 that was read as a one-byte encoding shows as the character of a lead byte (C2 to F4) before that of a
    continuation byte (80 to BF). A non-breaking space among the latter may have become a space, which ftfy takes back
    in every encoding but MacRoman. Besides: C1 controls, escapes, and the marks of what could not be decoded.
    """
    pairs: list[str] = []
    for encoding in ftfy.chardata.CHARMAP_ENCODINGS:
        leads = bytes(range(0xC2, 0xF5)).decode(encoding, "ignore")
        rest = bytes(range(0x80, 0xC0)).decode(encoding, "ignore") + ("" if encoding == "macroman" else " ")
        pairs.append(f"[{re.escape(leads)}][{re.escape(rest)}]")
    return re.compile("|".join([*pairs, "[\x80-\x9f\x1a\x1b\ufffd]"]))


def _without_symbols(text: str) -> tuple[str, int]:
    """Without emoji, box drawings, arrows, private characters and the like; joiners and ASCII stay."""
    special = {char for char in set(text) if not char.isascii() and unicodedata.category(char) in _SYMBOLS}
    count = sum(map(text.count, special))
    return text.translate(dict.fromkeys(map(ord, special))) if special else text, count


def _without_trailing_space(text: str) -> tuple[str, int]:
    """Strip each line's end and the text's end; a regular expression would be quadratic in a long run of spaces."""
    lines = text.split("\n")
    stripped = [line.rstrip(" \t\u3000\xa0") for line in lines]
    changed = sum(len(before) != len(after) for before, after in zip(lines, stripped, strict=True))
    return "\n".join(stripped).rstrip("\n") + "\n" * text.endswith("\n"), changed


def _without_blank_lines(text: str, origins: Sequence[int]) -> tuple[str, int, Sequence[int]]:
    """Without blank lines at the beginning, and with at most two in a row; the number of runs that were cut."""
    first = len(text) - len(text.lstrip("\n"))
    if not first and _TOO_MANY_BLANK_LINES not in text:
        return text, 0, origins
    lines = text.split("\n")
    numbers = origins or range(1, len(lines) + 1)
    kept: list[str] = []
    places: list[int] = []
    blank = cut = 0
    for line, number in zip(lines[first:], numbers[first:], strict=False):
        blank = 0 if line else blank + 1
        if blank <= _MOST_BLANK_LINES:
            kept.append(line)
            places.append(number)
        elif blank == _MOST_BLANK_LINES + 1:
            cut += 1
    return "\n".join(kept), cut, places

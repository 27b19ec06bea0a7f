"""Normalising a document's text for training: encoding repair, Unicode form, control characters, whitespace.

Source code is treated with more care than prose: its lines and its indentation stay as they are, so that it still
parses and a line number still leads to the same line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import ftfy

from llmkit.config.sections import CleanOptions
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.text.document import Document

Rule = Literal["line_ends", "mojibake", "unicode_form", "control_characters", "trailing_space", "blank_lines"]

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
_PROSE_LINE_ENDS = re.compile(r"\r\n?|[\v\f\u2028\u2029]")
# C0 and C1 controls, the byte-order mark, and noncharacters. Joiners and direction marks carry meaning and stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_MOST_BLANK_LINES = 2
_BLANK_LINES = re.compile(rf"\n{{{_MOST_BLANK_LINES + 2},}}")


@dataclass(frozen=True)
class Cleaned:
    """A normalised document, and how often each rule changed something in it (rules that did nothing are absent)."""

    document: Document
    changes: Mapping[Rule, int]


def clean(document: Document, options: CleanOptions) -> Cleaned | Drop:
    """Normalise a document; what is left too short is dropped with reason `too_short`.

    Page offsets are not kept: they count the characters of the text before.
    """
    text, changes = normalise(document.text, options, code=is_code(document.media))
    size = len(text) - sum(map(text.count, " \n\t\u3000"))
    if size < options.min_chars:
        detail = f"{size} characters, and at least {options.min_chars} are asked for"
        return Drop(document.source, "clean", "too_short", detail, document.record)
    return Cleaned(replace(document, text=text, pages=()), changes)


def normalise(text: str, options: CleanOptions, *, code: bool) -> tuple[str, Mapping[Rule, int]]:
    """The normalised text and the number of changes per rule. Time is linear in the length of the text."""
    changes: Counter[Rule] = Counter()
    text, changes["line_ends"] = (_LINE_ENDS if code else _PROSE_LINE_ENDS).subn("\n", text)
    if options.repair and not code and not text.isascii():
        text, changes["mojibake"] = _repaired(text)
    text, changes["control_characters"] = _CONTROL.subn("", text)
    # After the control characters: without them, a letter and its accent may meet.
    if options.form != "none" and not unicodedata.is_normalized(options.form, text):
        text, changes["unicode_form"] = _in_form(text, options.form)
    text, changes["trailing_space"] = _without_trailing_space(text)
    if not code:
        text, changes["blank_lines"] = _BLANK_LINES.subn("\n" * (_MOST_BLANK_LINES + 1), text.lstrip("\n"))
    return text, +changes


def _repaired(text: str) -> tuple[str, int]:
    lines = text.split("\n")
    repaired = [line if line.isascii() else _repaired_line(line) for line in lines]
    changed = sum(before != after for before, after in zip(lines, repaired, strict=True))
    return "\n".join(repaired), changed


def _repaired_line(line: str) -> str:
    pieces = (line[i : i + _LONGEST_REPAIR] for i in range(0, len(line), _LONGEST_REPAIR))
    return "".join(ftfy.fix_text(piece, _REPAIR) for piece in pieces)


def _in_form(text: str, form: Literal["NFC", "NFKC"]) -> tuple[str, int]:
    lines = text.split("\n")
    normal = [unicodedata.normalize(form, line) for line in lines]
    changed = sum(before != after for before, after in zip(lines, normal, strict=True))
    return "\n".join(normal), changed


def _without_trailing_space(text: str) -> tuple[str, int]:
    """Strip each line's end and the text's end; a regular expression would be quadratic in a long run of spaces."""
    lines = text.split("\n")
    stripped = [line.rstrip(" \t\u3000\xa0") for line in lines]
    changed = sum(len(before) != len(after) for before, after in zip(lines, stripped, strict=True))
    return "\n".join(stripped).rstrip("\n") + "\n" * text.endswith("\n"), changed

"""Bars as inline SVG: no script, no font and no colour of its own, so that the page's light and dark apply to it."""

from __future__ import annotations

import unicodedata

from llmkit.reporting.blocks import Bars
from llmkit.reporting.figures import quantity
from llmkit.reporting.markup import escaped

WIDTH = 960
"""Units of the view box; at the page's full width one is one CSS pixel."""

_ROW, _BAR, _TOP = 24, 14, 4
_MAX_LABEL = 36
_GAP = 10
_CHAR = 8.0
"""Width of a Latin character at the 13 px the labels are set in, in a wide font; a full-width one takes nearly two."""

_FSI, _PDI = "\u2068", "\u2069"


def bars_svg(bars: Bars, name: str) -> str:
    """An `<svg>` with a row for each label; `name` is the prefix of its ids, unique in the page.

    Its `<desc>` says all values in words; each row's `<title>` says its label in full, its value and its note.
    """
    labels = [" ".join(label.split()) for label in bars.labels]
    notes = bars.notes or [""] * len(labels)
    words = [quantity(value, bars.unit) for value in bars.values]
    left = max((_width(_cut(label)) for label in labels), default=0.0) + _GAP
    right = max((_width(f"{word}  {note}") for word, note in zip(words, notes, strict=True)), default=0.0) + _GAP
    room = max(WIDTH - left - right, 120.0)
    scale = room / bars.longest if bars.longest else 0.0
    height = _TOP * 2 + _ROW * len(labels)
    said = "; ".join(f"{label}: {word} {note}".rstrip() for label, word, note in zip(labels, words, notes, strict=True))
    parts = [
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-t {name}-d">',
        f'<title id="{name}-t">{escaped(bars.title or "bars")}</title><desc id="{name}-d">{escaped(said)}</desc>',
        f'<line class="axis" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" y2="{height - _TOP}"/>',
    ]
    for row, label in enumerate(labels):
        rest = bars.rest[row] if bars.rest else 0.0
        parts.append(_row(row, label, (bars.values[row] * scale, rest * scale), left, (words[row], notes[row])))
    return "".join((*parts, "</svg>"))


def _row(row: int, label: str, lengths: tuple[float, float], left: float, words: tuple[str, str]) -> str:
    top = _TOP + row * _ROW + (_ROW - _BAR) / 2
    middle = f"{_TOP + row * _ROW + _ROW / 2:.1f}"
    value, rest = (max(length, 1.0) if length > 0 else 0.0 for length in lengths)
    word, note = words
    hover = escaped(f"{label}: {word} {note}".rstrip())
    drawn = f'<rect class="value" x="{left:.1f}" y="{top:.1f}" width="{value:.1f}" height="{_BAR}"/>' if value else ""
    if rest:
        drawn += f'<rect class="rest" x="{left + value:.1f}" y="{top:.1f}" width="{rest:.1f}" height="{_BAR}"/>'
    figure = f'<tspan class="figure">{escaped(word)}</tspan>'
    if note:
        figure += f'<tspan class="note" dx="8">{_isolated(note)}</tspan>'
    name = f'<text class="label" x="{left - _GAP:.1f}" y="{middle}">{_isolated(_cut(label))}</text>'
    return (
        f"<g><title>{hover}</title>{name}"
        f'{drawn}<text x="{left + value + rest + 8:.1f}" y="{middle}">{figure}</text></g>'
    )


def _isolated(text: str) -> str:
    """Escaped; SVG has no `<bdi>`, so what is not ASCII is isolated by Unicode's own marks."""
    return escaped(text) if text.isascii() else f"{_FSI}{escaped(text)}{_PDI}"


def _cut(label: str) -> str:
    """A label of at most 36 columns, a full-width character counting as two."""
    taken = 0
    for place, char in enumerate(label):
        taken += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if taken > _MAX_LABEL:
            return label[: place - 1] + "…"
    return label


def _width(text: str) -> float:
    # What is ambiguous (as … is) may be taken from a full-width font.
    return sum(1.85 if unicodedata.east_asian_width(char) in "WFA" else 1.0 for char in text) * _CHAR

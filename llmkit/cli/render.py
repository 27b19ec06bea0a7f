"""Blocks drawn for a terminal or a log. Text that is not ours is shown inert: no markup, no control characters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.padding import Padding
from rich.style import Style as RichStyle
from rich.table import Table as RichTable
from rich.text import Text
from rich.tree import Tree as RichTree

from llmkit.cli.links import line_link
from llmkit.reporting.blocks import (
    Bars,
    Block,
    Diff,
    Figures,
    Fold,
    Heading,
    Ink,
    Line,
    Marked,
    Plot,
    Quote,
    Style,
    Table,
    Tree,
)
from llmkit.reporting.curves import sparkline
from llmkit.reporting.diffing import diff_lines, visible
from llmkit.reporting.figures import duration as duration
from llmkit.reporting.figures import number as number
from llmkit.reporting.figures import quantity
from llmkit.reporting.inert import inert as inert

STYLES: dict[Style, str] = {"plain": "", "good": "green", "bad": "red", "dim": "dim", "heading": "bold cyan"}

_INKS: dict[Ink, str] = {"read": "", "learned": "bold green", "cut": "dim strike"}
_SIGNS: dict[Ink, tuple[str, str]] = {"read": ("", ""), "learned": ("⟦", "⟧"), "cut": ("⟨cut: ", "⟩")}
_ASCII_SIGNS: dict[Ink, tuple[str, str]] = {"read": ("", ""), "learned": ("[[", "]]"), "cut": ("<<cut: ", ">>")}
"""What stands for the colours where there are none."""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_DIFF_STYLES = {" ": "", "-": "red", "+": "green", "@": "dim"}
_MIN_BAR, _MAX_BAR = 8, 60
"""Columns of a terminal that a bar takes at the least and at the most."""


def draw(block: Block) -> ConsoleRenderable:
    """A rich renderable for one block."""
    match block:
        case Line(text, style):
            return Text(inert(text), style=STYLES[style])
        case Heading(text, level):
            return Text(
                f"\n{inert(text)}" if level == 1 else inert(text), style=STYLES["heading"] if level == 1 else "bold"
            )
        case Quote():
            return _QuoteView(block)
        case Table():
            return _table(block)
        case Tree():
            return _tree(block)
        case Figures(items):
            rows = [(label, value, note) for label, value, note in items]
            return _table(Table(("", "", ""), rows, numeric=frozenset({1})))
        case Bars():
            return _BarsView(block)
        case Plot(curves, title):
            sparks = [(name, sparkline([y for _, y in at], _MAX_BAR), *_ends(at)) for name, at in curves.items()]
            return _table(Table(("", "", "from", "to"), sparks, title, frozenset({2, 3})))
        case Diff():
            return _diff(block)
        case Marked():
            return _MarkedView(block)
        case Fold(label, blocks):
            return Group(Text(inert(label), style="bold"), *(Padding(draw(inner), (0, 0, 0, 2)) for inner in blocks))


@dataclass(frozen=True)
class _QuoteView:
    """A quote below its place, which opens where the terminal can; what is marked in it is bold, or between signs."""

    block: Quote

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        block = self.block
        if block.title:
            link = line_link(block.link, block.line, os.environ) if block.link else None
            yield Text(inert(block.title), style=RichStyle(bold=not block.faint, dim=block.faint, link=link))
        signs = _ASCII_SIGNS if options.ascii_only else _SIGNS
        before, after = ("", "") if console.color_system else signs["learned"]
        text, done = Text(style="dim" if block.faint else ""), 0
        for start, end in block.marked:
            text.append(_indented(block.body[done:start], 2))
            text.append(before + _indented(block.body[start:end], 2) + after, style="bold underline")
            done = end
        text.append(_indented(block.body[done:], 2))
        deep = "    " if block.faint else "  "
        yield Text(deep).append_text(text)


def _indented(text: str, columns: int) -> str:
    """Inert, with every line but the first one indented; blank ones stay blank."""
    return re.sub(r"\n(?=[^\n])", "\n" + " " * columns, inert(text))


def _ends(points: Sequence[tuple[float, float]]) -> tuple[object, object]:
    return (points[0][1], points[-1][1]) if points else (None, None)


def print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    for block in blocks:
        console.print(draw(block), soft_wrap=isinstance(block, Line | Heading | Quote | Diff | Marked))


def _table(block: Table) -> RichTable:
    table = RichTable(
        title=Text(inert(block.title)) if block.title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(block.columns),
    )
    for index, column in enumerate(block.columns):
        table.add_column(Text(inert(column)), justify="right" if index in block.numeric else "left", overflow="fold")
    for row in block.rows:
        table.add_row(*(Text(inert(number(cell))) for cell in row))
    return table


def _tree(block: Tree) -> RichTree:
    tree = RichTree(Text(inert(block.label), style=STYLES[block.style]), guide_style="dim")
    for child in block.children:
        tree.children.append(_tree(child))
    return tree


def _diff(block: Diff) -> ConsoleRenderable:
    lines = [Text(inert(block.title), style="bold")] if block.title else []
    for line in diff_lines(block.before, block.after):
        text = Text("  " + line.mark + " ", style=_DIFF_STYLES[line.mark])
        for piece, changed in line.pieces:
            text.append(inert(visible(piece) if changed else piece), style="reverse" if changed else "")
        lines.append(text)
    return Group(*(lines if len(lines) > bool(block.title) else [*lines, Text("  nothing changed", style="dim")]))


@dataclass(frozen=True)
class _MarkedView:
    """Pieces of a text in colours, or where there are none between signs."""

    block: Marked

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.block.title:
            yield Text(inert(self.block.title), style="bold")
        text = Text("  ")
        signs = _ASCII_SIGNS if options.ascii_only else _SIGNS
        for piece, ink in self.block.pieces:
            before, after = ("", "") if console.color_system else signs[ink]
            text.append((before + inert(piece) + after).replace("\n", "\n  "), style=_INKS[ink])
        yield text


@dataclass(frozen=True)
class _BarsView:
    """Bars as wide as the place they are drawn in leaves room for."""

    block: Bars

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        block = self.block
        if block.title:
            yield Text(inert(block.title), style="bold")
        legend = Text("  ")
        for name, sign, style in zip(block.names, _signs(options), ("cyan", "dim"), strict=True):
            if name:
                legend.append(sign, style=style).append(f" {inert(name)}  ")
        if legend.plain.strip():
            yield legend
        labels = [inert(label).replace("\n", " ") for label in block.labels]
        words = [quantity(value, block.unit) for value in block.values]
        wide = min(max(map(cell_len, labels), default=0), options.max_width // 3)
        figures = max(map(len, words), default=0)
        notes = [inert(note) for note in block.notes] or [""] * len(labels)
        behind = max((cell_len(note) + 1 for note in notes if note), default=0)
        room = min(max(options.max_width - wide - figures - behind - 5, _MIN_BAR), _MAX_BAR)
        scale = room / block.longest if block.longest else 0.0
        rest = block.rest or [0.0] * len(labels)
        for label, value, left, word, note in zip(labels, block.values, rest, words, notes, strict=True):
            line = Text(
                "  " + _fitted(label, wide) + " " + word.rjust(figures) + " ", no_wrap=True, overflow="ellipsis"
            )
            bar, paler = _bar(value * scale, left * scale, options)
            line.append(bar, style="cyan").append(paler, style="dim")
            yield line.append(" " * (room - cell_len(bar + paler)) + " " + note, style="dim") if note else line


def _signs(options: ConsoleOptions) -> tuple[str, str]:
    return ("#", ".") if options.ascii_only else ("█", "░")


def _fitted(label: str, width: int) -> str:
    """A label that fills exactly `width` columns."""
    return set_cell_size(label, width) if cell_len(label) <= width else set_cell_size(label, width - 1) + "…"


def _bar(length: float, rest: float, options: ConsoleOptions) -> tuple[str, str]:
    """A bar in eighths of a column, and the paler one behind it in whole ones; what is not nothing always shows."""
    full, faint = _signs(options)
    eighths = max(round(length * 8), 1) if length > 0 else 0
    if options.ascii_only:
        eighths = -(-eighths // 8) * 8
    bar = full * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    columns = round(length + rest) - len(bar)
    return bar, faint * max(columns, 1 if rest > 0 else 0)

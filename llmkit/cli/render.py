"""Blocks drawn for a terminal or a log. Text that is not ours is shown inert: no markup, no control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import indent

from rich import box
from rich.console import Console, ConsoleRenderable, Group
from rich.style import Style as RichStyle
from rich.table import Table as RichTable
from rich.text import Text
from rich.tree import Tree as RichTree

from llmkit.reporting.blocks import Block, Line, Quote, Style, Table, Tree

STYLES: dict[Style, str] = {"plain": "", "good": "green", "bad": "red", "dim": "dim", "heading": "bold cyan"}

# All that could move the cursor, ring, recolour or reorder: C0 and C1 but tab and newline, and the bidi overrides.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """`text` with every control character replaced by the replacement character."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def draw(block: Block) -> ConsoleRenderable:
    """A rich renderable for one block."""
    match block:
        case Line(text, style):
            return Text(inert(text), style=STYLES[style])
        case Quote(body, title, link):
            head = Text(inert(title), style=RichStyle(bold=True, link=link or None))
            quoted = Text(indent(inert(body), "  "))
            return Group(head, quoted) if title else quoted
        case Table():
            return _table(block)
        case Tree():
            return _tree(block)


def print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    for block in blocks:
        console.print(draw(block), soft_wrap=isinstance(block, Line | Quote))


def number(value: object) -> str:
    """A figure as people read it: thousands separated, four significant digits, nothing where there is nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or abs(value) == float("inf"):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 04 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _table(block: Table) -> RichTable:
    table = RichTable(
        title=block.title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(block.columns),
    )
    for index, column in enumerate(block.columns):
        table.add_column(column, justify="right" if index in block.numeric else "left", overflow="fold")
    for row in block.rows:
        table.add_row(*(Text(inert(number(cell))) for cell in row))
    return table


def _tree(block: Tree) -> RichTree:
    tree = RichTree(Text(inert(block.label), style=STYLES[block.style]), guide_style="dim")
    for child in block.children:
        tree.children.append(_tree(child))
    return tree

"""Text as HTML: escaped, inert, and unable to reorder what stands beside it."""

from __future__ import annotations

import html

from llmkit.reporting.inert import inert


def escaped(text: str) -> str:
    """`text` as HTML or SVG text, or as the value of an attribute in double quotes."""
    return html.escape(inert(text), quote=True)


def isolated(text: str) -> str:
    """`escaped`, and where it is not plain ASCII in an element of its own, so that its direction stays its own."""
    return escaped(text) if text.isascii() else f"<bdi>{escaped(text)}</bdi>"

"""The text of HTML that is wanted whole: of a chapter or a mail, where nothing is a menu, and of a short page."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Set as AbstractSet
from typing import Any

_BLOCK_NAMES = """
    address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
# Ruby gives the reading of a word beside the word: in a line of text it would stand in the sentence's way.
_SILENT = frozenset(["head", "script", "style", "template", "noscript", "rt", "rp", "svg", "math"])
FURNITURE = frozenset(["nav", "footer", "aside", "form", "button", "select", "dialog"])
"""What a page has around its text."""
_NAMED = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_NAMES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_SPACES = re.compile(r"[ \t\r\n\f]+")
_LINE_EDGES = re.compile(r" *\n *")
_BLANK_LINES = re.compile(r"\n{3,}")


def parse_page(page: str) -> Any:
    """The tree (lxml) of XHTML, or of HTML where it is not well-formed. No network, no entities of its own.

    Raises:
        ValueError, lxml.etree.LxmlError: for what is neither.
    """
    from lxml import etree
    from lxml import html as lxml_html

    page = _DECLARATION.sub("", page.lstrip("\ufeff"))
    strict = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(_NAMED.sub(_character, page).encode("utf-8", "replace"), strict)
    except etree.XMLSyntaxError:
        return lxml_html.document_fromstring(
            page.encode("utf-8", "replace"), parser=lxml_html.HTMLParser(encoding="utf-8")
        )


def page_text(root: Any, without: AbstractSet[str] = frozenset()) -> str:
    """The text below `root`: blocks on lines of their own, table cells with tabs between them.

    Args:
        root: an element, as `parse_page` gives it.
        without: names of elements that are left out with all they hold.
    """
    out: list[str] = []
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:  # not recursive: a page may be nested deeper than Python may call
        element, leaving = stack.pop()
        name = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
        if leaving:
            if name in _BLOCKS:
                out.append("\n\n" if name in ("p", "table", "blockquote") or name[:1] == "h" else "\n")
            elif name in ("td", "th"):
                out.append("\t")
            _append(out, element.tail)
        elif (
            not name or name in _SILENT or name in without
        ):  # a comment, an instruction or an entity that stays what it is
            _append(out, element.tail)
        else:
            if name in _BLOCKS or name == "br":
                out.append("\n")
            _append(out, element.text)
            stack.append((element, True))
            stack.extend((child, False) for child in reversed(element))
    text = "".join(out).replace("\t\n", "\n")
    return _BLANK_LINES.sub("\n\n", _LINE_EDGES.sub("\n", text)).strip()


def _append(out: list[str], text: str | None) -> None:
    if text:
        out.append(_SPACES.sub(" ", text))


def _character(match: re.Match[str]) -> str:
    point = None if match[1] in _XML_NAMES else html.entities.name2codepoint.get(match[1])
    return chr(point) if point else match[0]

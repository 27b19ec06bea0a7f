"""Web pages: their main text by trafilatura, or all of their text where they are short or have none."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from llmkit.data.readers.base import Item, ReadOptions, parsing, read_whole
from llmkit.data.readers.markup import FURNITURE, page_text, parse_page
from llmkit.data.readers.plain import decode_or_refuse, encoding_facts
from llmkit.text.document import Document

_SHORT_PAGE, _SHORT_TEXT = 50_000, 1_500
"""Characters of a page, and of its text, up to which all of the text is taken: trafilatura, which looks for the main
part by size, finds none in a short page, and then breaks its lines at every tag."""

_MAX_BYTES = 32 << 20
"""Building the tree of a page takes some 20 times its size in memory; pages written by people are far smaller."""

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([-_.:a-zA-Z0-9]+)", re.I)
# Attributes are looked for in one tag at a time, and a tag has bounded length: no page makes this slow.
_LANGUAGE = re.compile(r"<html\b[^>]{0,2000}?\blang\s*=\s*[\"']?([A-Za-z0-9-]+)", re.I)
_LINK = re.compile(r"<(?:a|link)\b[^>]{0,2000}>", re.I)
_IS_LICENSE = re.compile(r"\brel\s*=\s*(?:\"[^\"]*\blicense\b|'[^']*\blicense\b|license\b)", re.I)
_HREF = re.compile(r"\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.I)
_META = re.compile(r"<meta\b[^>]{0,2000}>", re.I)
_IS_RIGHTS = re.compile(r"\b(?:name|property)\s*=\s*[\"']?(?:dc\.rights|dc\.license|dcterms\.license|license)\b", re.I)
_CONTENT = re.compile(r"\bcontent\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.I)
_HEAD_CHARACTERS = 65536
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)


def read_html(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    data = read_whole(path, _MAX_BYTES)
    charset = _CHARSET.search(data[:4096])
    decoded = decode_or_refuse(data, charset[1].decode("ascii") if charset else None)
    meta = encoding_facts(decoded)
    meta |= _facts(decoded.text)
    yield Document(str(path), _main_text(decoded.text), media=media, meta=meta)


def _facts(page: str) -> dict[str, object]:
    """Title, language and licence, where the page states them."""
    facts: dict[str, object] = {}
    head = page[:_HEAD_CHARACTERS]
    if title := _TITLE.search(head):
        facts["title"] = " ".join(html.unescape(title[1]).split())
    if language := _LANGUAGE.search(head):
        facts["language"] = language[1]
    if licence := _license(page):
        facts["license"] = licence
    return facts


def _license(page: str) -> str | None:
    """The licence it links to (https://html.spec.whatwg.org/#link-type-license), else the rights its head states."""
    for found, marks, value in ((_LINK, _IS_LICENSE, _HREF), (_META, _IS_RIGHTS, _CONTENT)):
        for tag in found.finditer(page):
            if marks.search(tag[0]) and (stated := value.search(tag[0])):
                text = html.unescape(next(filter(None, stated.groups()), "")).strip()
                if text:
                    return text
    return None


def _main_text(page: str) -> str:
    # Imported here: it takes half a second, and worker processes that meet no web page should not pay for it.
    import trafilatura

    with parsing("the page"):
        if len(page) <= _SHORT_PAGE and len(whole := _all_text(page)) <= _SHORT_TEXT:
            return whole
        text: str = trafilatura.extract(page, include_comments=False) or _all_text(page)
    return text


def _all_text(page: str) -> str:
    return page_text(parse_page(page), without=FURNITURE)

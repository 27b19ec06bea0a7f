"""Web pages: their main text by trafilatura, or all of their text where it finds no main part."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions, UnreadableError, read_whole
from llmkit.data.readers.plain import decode_or_refuse, encoding_facts
from llmkit.text.document import Document

_MAX_BYTES = 32 << 20
"""Building the tree of a page takes some 20 times its size in memory; pages written by people are far smaller."""

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([-_.:a-zA-Z0-9]+)", re.I)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)


def read_html(path: Path, media: str, options: ReadOptions) -> Iterator[Document | Drop]:
    data = read_whole(path, _MAX_BYTES)
    charset = _CHARSET.search(data[:4096])
    decoded = decode_or_refuse(data, charset[1].decode("ascii") if charset else None)
    meta = encoding_facts(decoded)
    if title := _TITLE.search(decoded.text[:65536]):
        meta["title"] = " ".join(html.unescape(title[1]).split())
    yield Document(str(path), _main_text(decoded.text), media=media, meta=meta)


def _main_text(page: str) -> str:
    # Imported here: it takes half a second, and worker processes that meet no web page should not pay for it.
    import trafilatura

    try:
        text: str = trafilatura.extract(page, include_comments=False) or trafilatura.html2txt(page)
    except Exception as error:  # whatever its parsers raise on a broken page, the page is what is wrong
        raise UnreadableError("parse_error", f"the page cannot be parsed: {error}") from error
    return text

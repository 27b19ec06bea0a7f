"""Web archives: the pages among a crawl's responses, each as a part whose source is its URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmkit.data.drops import Drop
from llmkit.data.readers.base import Item, Part, ReadOptions, parsing
from llmkit.text.document import Document

_NAMES: Mapping[str, str] = {
    "text/html": "page.html",
    "application/xhtml+xml": "page.html",
    "text/plain": "page.txt",
    "text/markdown": "page.md",
    "application/pdf": "page.pdf",
}
"""The name that stands for each type of content that is read; its bytes can still say that it is another."""

_MAX_PAGE_BYTES = 64 << 20


def read_warc(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    """Responses become parts, the plain text of a crawl (WET) documents; what is no text becomes a drop."""
    from warcio.archiveiterator import ArchiveIterator

    with path.open("rb") as file:
        records = iter(ArchiveIterator(file, no_record_parse=False))
        while True:
            with parsing("the web archive"):
                record = next(records, None)
                if record is None:
                    return
                item = _item(record)
            if item is not None:
                yield item


def _item(record: Any) -> Item | None:
    url = record.rec_headers.get_header("WARC-Target-URI")
    if record.rec_type not in ("response", "resource", "conversion") or not url:
        return None
    url = url.strip("<>")
    number = (record.rec_headers.get_header("WARC-Record-ID") or "").strip("<>").rpartition(":")[2]
    meta = {"url": url, "retrieved": record.rec_headers.get_header("WARC-Date") or ""}
    status = record.http_headers.get_statuscode() if record.http_headers else "200"
    if status != "200":
        return Drop(url, "read", "not_ok", f"the server answered {status}", number)
    declared = record.http_headers.get_header("Content-Type") if record.http_headers else record.content_type
    content = (declared or "text/plain").partition(";")[0].strip().lower()
    name = _NAMES.get(content)
    if name is None:
        return Drop(url, "read", "not_a_page", f"it is {content}", number)
    data = record.content_stream().read(_MAX_PAGE_BYTES + 1)
    if len(data) > _MAX_PAGE_BYTES:
        return Drop(url, "read", "too_large", f"a page of more than {_MAX_PAGE_BYTES:,} bytes", number)
    if record.rec_type == "conversion" and content == "text/plain":
        return Document(url, data.decode("utf-8", "replace"), record=number, meta=meta)
    return Part(name, data, source=url, record=number, meta=meta)

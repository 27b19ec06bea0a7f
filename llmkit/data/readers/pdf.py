"""PDF: the text layer of each page by pypdfium2, with the offset at which each page begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pypdfium2

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions, UnreadableError, read_whole
from llmkit.text.document import Document

_BETWEEN_PAGES = "\n\n"


def read_pdf(path: Path, media: str, options: ReadOptions) -> Iterator[Document | Drop]:
    pages = _page_texts(read_whole(path))
    scans = sum(not page.strip() for page in pages)
    if scans == len(pages):
        raise UnreadableError("no_text", f"none of its {scans} pages has text: they may be scans, OCR them first")
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(_BETWEEN_PAGES)
    meta = {"pages_without_text": scans} if scans else {}
    yield Document(str(path), _BETWEEN_PAGES.join(pages), media=media, pages=tuple(starts), meta=meta)


def _page_texts(data: bytes) -> list[str]:
    try:
        with pypdfium2.PdfDocument(data) as pdf:
            return [_clean(_page_text(pdf, number)) for number in range(len(pdf))]
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise UnreadableError("encrypted", "the PDF asks for a password: save it without one") from error
        raise UnreadableError("parse_error", f"the PDF cannot be parsed: {error}") from error


def _page_text(pdf: pypdfium2.PdfDocument, number: int) -> str:
    page = pdf[number]
    try:
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_range()
        finally:
            text_page.close()
    finally:
        page.close()
    return text


def _clean(text: str) -> str:
    """PDFium writes U+FFFE where a hyphen broke a word at a line's end, and ends lines with CRLF."""
    return text.replace("\ufffe\r\n", "").replace("\ufffe", "").replace("\r\n", "\n").replace("\r", "\n")

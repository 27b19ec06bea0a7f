"""PDF: the text layer of each page by pypdfium2, by pypdf where that cannot open the file, and where pages begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmkit.data.readers.base import Item, ReadOptions, UnreadableError, check_size, one_line, paged, parsing
from llmkit.text.document import Document

_ENCRYPTED = UnreadableError("encrypted", "the PDF asks for a password: save it without one")


class _Parsed(NamedTuple):
    pages: list[str]
    title: str = ""
    author: str = ""


def read_pdf(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    """One document with the pages' text; `meta["pages_without_text"]` counts pages that are probably scans."""
    check_size(path)
    parsed = _parsed(path)
    scans = sum(not page.strip() for page in parsed.pages)
    if scans == len(parsed.pages):
        what = "its only page is a scan: OCR it first" if scans == 1 else f"{scans} pages are scans: OCR them first"
        raise UnreadableError("no_text", f"none of its pages has text; {what}" if scans else "it has no pages", scans)
    text, starts = paged(parsed.pages)
    meta: dict[str, object] = {name: value for name in ("title", "author") if (value := getattr(parsed, name))}
    if scans:
        meta["pages_without_text"] = scans
    yield Document(str(path), text, media=media, pages=starts, meta=meta)


def _parsed(path: Path) -> _Parsed:
    # Imported here: it loads PDFium, which the process that only sends files to be parsed does not need.
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(path) as pdf:
            pages = [_clean(_page_text(pdf, number)) for number in range(len(pdf))]
            return _Parsed(pages, *(_clean(pdf.get_metadata_value(key)).strip() for key in ("Title", "Author")))
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise _ENCRYPTED from error
        return _by_pypdf(path, error)


def _by_pypdf(path: Path, first: Exception) -> _Parsed:
    """The same by a parser that mends more (and is ten times slower): a table of objects that points nowhere."""
    # Imported here, as hardly any file needs it.
    import logging

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports each thing it mends
    with parsing(f"the PDF ({one_line(first)})"), pypdf.PdfReader(path, strict=False) as reader:
        if reader.is_encrypted and not reader.decrypt(""):
            raise _ENCRYPTED
        pages = [_clean(page.extract_text()) for page in reader.pages]
        facts = reader.metadata
        if not pages:
            raise UnreadableError("parse_error", f"the PDF cannot be parsed: {one_line(first)}")
        return _Parsed(pages, str((facts and facts.title) or ""), str((facts and facts.author) or ""))


def _page_text(pdf: Any, number: int) -> str:
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

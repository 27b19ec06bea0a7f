"""Which format a file is in: its content decides where it is unmistakable, else its name does."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from llmkit.data.media import media_of_name

Format = Literal["text", "html", "pdf", "docx", "jsonl", "json", "csv", "parquet"]

HEAD_BYTES = 4096
"""How much of a file `detect` wants to see."""

DOCX_MEDIA = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html[\s>])", re.I | re.S
)


class Detected(NamedTuple):
    format: Format
    media: str


_BY_SUFFIX: Mapping[str, Detected] = {
    ".jsonl": Detected("jsonl", "application/jsonl"),
    ".ndjson": Detected("jsonl", "application/jsonl"),
    ".json": Detected("json", "application/json"),
    ".csv": Detected("csv", "text/csv"),
    ".tsv": Detected("csv", "text/tab-separated-values"),
    ".html": Detected("html", "text/html"),
    ".htm": Detected("html", "text/html"),
    ".xhtml": Detected("html", "text/html"),
}


def detect(path: Path, head: bytes) -> Detected:
    """The format of the file at `path`, whose first `HEAD_BYTES` bytes are `head`.

    What is neither a known binary format nor a known name counts as text; reading it will show whether it is.
    """
    if head.startswith(b"%PDF-"):
        return Detected("pdf", "application/pdf")
    if head.startswith(b"PAR1"):
        return Detected("parquet", "application/vnd.apache.parquet")
    if head.startswith(b"PK\x03\x04") and _is_docx(path):
        return Detected("docx", DOCX_MEDIA)
    if by_suffix := _BY_SUFFIX.get(path.suffix.lower()):
        return by_suffix
    media = media_of_name(path)
    # A page saved as .txt is still a page; a template that begins with <html> but is named .vue or .md is not one.
    if media in (None, "text/plain") and _HTML_START.match(head):
        return Detected("html", "text/html")
    return Detected("text", media or "text/plain")


def _is_docx(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "word/document.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False

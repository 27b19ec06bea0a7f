"""The table of readers, and the one function that reads any file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.base import Reader, ReadOptions, UnreadableError
from llmkit.data.readers.detect import HEAD_BYTES, Format, detect
from llmkit.data.readers.docx import read_docx
from llmkit.data.readers.html import read_html
from llmkit.data.readers.pdf import read_pdf
from llmkit.data.readers.plain import read_text
from llmkit.data.readers.records import records_reader
from llmkit.text.document import Document

READERS: Mapping[Format, Reader] = {
    "text": read_text,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "jsonl": records_reader("jsonl"),
    "json": records_reader("json"),
    "csv": records_reader("csv"),
    "parquet": records_reader("parquet"),
}


def read_file(path: Path, options: ReadOptions | None = None) -> Iterator[Document | Drop]:
    """The documents of one file, not normalised; what cannot be used comes as a `Drop` with its reason.

    Raises nothing for a bad file: reasons are `unreadable`, `empty`, `binary`, `too_large`, `encrypted`, `no_text`,
    `parse_error`, and for records `bad_json`, `bad_csv`, `bad_encoding`, `not_an_object`, `no_text_field`,
    `text_field_not_text`.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        found = detect(path, head)
        for item in READERS[found.format](path, found.media, options or ReadOptions()):
            yield _usable(item) if isinstance(item, Document) else item
    except UnreadableError as error:
        yield Drop(source, "read", error.reason, error.detail)
    except OSError as error:
        yield Drop(source, "read", "unreadable", error.strerror or str(error))


def _usable(document: Document) -> Document | Drop:
    if not document.text or document.text.isspace():
        return Drop(document.source, "read", "empty", "it has no text", document.record)
    try:
        document.text.encode("utf-8")
    except UnicodeEncodeError:
        # JSON may hold half of a surrogate pair (`"\ud83d"`), which no UTF-8 file can.
        repaired = document.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return replace(document, text=repaired)
    return document

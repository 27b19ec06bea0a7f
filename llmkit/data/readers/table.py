"""The table of readers, and the functions that read any file, a part of one, or again what a document names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.base import Reader, ReadOptions
from llmkit.data.readers.detect import Format
from llmkit.data.readers.docx import read_docx
from llmkit.data.readers.eml import read_eml
from llmkit.data.readers.epub import read_epub
from llmkit.data.readers.html import read_html
from llmkit.data.readers.ipynb import read_ipynb
from llmkit.data.readers.pdf import read_pdf
from llmkit.data.readers.plain import read_text
from llmkit.data.readers.pptx import read_pptx
from llmkit.data.readers.reading import INSIDE, Reading
from llmkit.data.readers.records import range_reader, records_reader
from llmkit.data.readers.warc import read_warc
from llmkit.data.readers.xlsx import read_xlsx
from llmkit.data.rows import Range
from llmkit.text.document import Document

READERS: Mapping[Format, Reader] = {
    "text": read_text,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "pptx": read_pptx,
    "xlsx": read_xlsx,
    "epub": read_epub,
    "eml": read_eml,
    "ipynb": read_ipynb,
    "warc": read_warc,
    "jsonl": records_reader("jsonl"),
    "json": records_reader("json"),
    "csv": records_reader("csv"),
    "parquet": records_reader("parquet"),
}
"""Archives and compressed files are no readers: `reading` unpacks them and comes back here with what is in them."""


def read_file(
    path: Path, options: ReadOptions | None = None, *, source: str | None = None, name: str | None = None
) -> Iterator[Document | Drop]:
    """The documents of one file, not normalised; what cannot be used comes as a `Drop` with its reason.

    Raises nothing for a bad file. Reasons for a file: `unreadable`, `empty`, `binary`, `too_large`, `encrypted`,
    `no_text`, `parse_error`, `unsupported`, and from its parser's process `parser_timeout`, `parser_crashed`,
    `out_of_memory`. For records: `bad_json`, `bad_csv`, `bad_encoding`, `bad_id`, `not_an_object`, `no_text_field`,
    `text_field_not_text`. For archives and what is in them: `compression_bomb`, `too_many_members`, `too_deep`,
    `unsafe_path`, `not_a_file`, `repeated`, and the reasons of `skipping.Skip`. For web archives: `not_ok`,
    `not_a_page`.

    Args:
        source: what the documents name as their source, where that is not the path (a page that was downloaded).
        name: the name by which to judge the format, where it is not the path's.

    Raises:
        StorageError: there is no room to unpack an archive.
        RunError: no process for parsing can be started.
    """
    reading = Reading(READERS, options or ReadOptions())
    yield from reading.file(path, source or str(path), name or path.name)


def read_source(source: str, options: ReadOptions | None = None) -> Iterator[Document | Drop]:
    """Read again what a document's `source` names: a file, or with `!/` a member of an archive or mail.

    Yields an `unreadable` drop where there is no such file, and nothing where the archive has no such member.
    """
    outer = next((head for head in _prefixes(source) if Path(head).is_file()), source)
    reading = Reading(READERS, options or ReadOptions(), wanted=source)
    for item in reading.file(Path(outer), outer, Path(outer).name):
        if item.source == source:
            yield item


def read_range(
    path: Path, form: Format, part: Range, options: ReadOptions | None = None, source: str | None = None
) -> Iterator[Document | Drop]:
    """The documents of one range of a JSONL or parquet file: those of all its ranges together are `read_file`'s.

    Args:
        form: `jsonl` or `parquet`.
        part: one of `rows.jsonl_ranges` or `rows.parquet_ranges`.
    """
    reading = Reading(READERS, options or ReadOptions())
    yield from reading.range(path, form, range_reader(form, part), source or str(path))


def _prefixes(source: str) -> Iterator[str]:
    """The source up to each of its `!/`, shortest first, and the whole of it."""
    at = source.find(INSIDE)
    while at >= 0:
        yield source[:at]
        at = source.find(INSIDE, at + len(INSIDE))
    yield source

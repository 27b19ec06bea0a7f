"""Files of records (JSON Lines, JSON, CSV, TSV, parquet): each row is a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.base import Item, Reader, ReadOptions, check_size, read_whole
from llmkit.data.readers.detect import Format
from llmkit.data.readers.plain import decode_or_refuse, encoding_facts
from llmkit.data.rows import BadRow, Range, Row, read_row_range, read_rows
from llmkit.text.document import Document

USUAL_TEXT_FIELDS = ("text", "content", "body", "本文", "テキスト", "内容")
_META_FIELDS = ("title", "url", "language", "license", "author", "date")
_LICENCE = "licence"
"""The other spelling of a field that is `license` in `Document.meta`."""


def records_reader(form: Format) -> Reader:
    return partial(_read_records, form)


def range_reader(form: Format, part: Range) -> Reader:
    """A reader of the rows in a range of a JSONL or parquet file only."""
    return partial(_read_range, form, part)


def _read_range(form: Format, part: Range, path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    yield from _documents(path, media, read_row_range(path, form, part), options)


def _read_records(form: Format, path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    if form == "json":
        check_size(path)
    rows = read_rows(path, form)
    if form == "json":
        first = next(rows, None)
        if isinstance(first, Row) and options.text_field is None and not _text_field(first, options):
            # Settings and the like, not a collection of texts: the file itself is the text.
            decoded = decode_or_refuse(read_whole(path))
            yield Document(str(path), decoded.text, media=media, meta=encoding_facts(decoded))
            return
        if first is not None:
            yield _document(path, media, first, options)
    yield from _documents(path, media, rows, options)


def _documents(path: Path, media: str, rows: Iterable[Row | BadRow], options: ReadOptions) -> Iterator[Document | Drop]:
    for row in rows:
        yield _document(path, media, row, options)


def _document(path: Path, media: str, row: Row | BadRow, options: ReadOptions) -> Document | Drop:
    record = str(row.number)
    if isinstance(row, BadRow):
        return Drop(str(path), "read", row.reason, f"row {record}: {row.detail}", record)
    field = _text_field(row, options)
    if field is not None:
        text = row.fields[field]
        if not isinstance(text, str):
            detail = f"row {record}: field '{field}' is a {type(text).__name__}, not text"
            return Drop(str(path), "read", "text_field_not_text", detail, record)
    elif media.startswith("text/") and options.text_field is None:
        # A table of facts: one line per cell keeps each value beside the name of its column.
        text = "\n".join(f"{name}: {value}" for name, value in row.fields.items() if value != "")
    else:
        wanted = f"'{options.text_field}'" if options.text_field else " or ".join(f"'{n}'" for n in USUAL_TEXT_FIELDS)
        detail = f"row {record}: no field {wanted}; its fields are {', '.join(row.fields)}"
        return Drop(str(path), "read", "no_text_field", detail, record)
    if options.id_field is not None:
        if options.id_field not in row.fields:
            detail = f"row {record}: no field '{options.id_field}'; its fields are {', '.join(row.fields)}"
            return Drop(str(path), "read", "bad_id", detail, record)
        named = row.fields[options.id_field]
        if not isinstance(named, str | int) or isinstance(named, bool) or named == "":
            detail = f"row {record}: field '{options.id_field}' has no id (a text or a whole number)"
            return Drop(str(path), "read", "bad_id", detail, record)
        record = str(named)
    return Document(str(path), text, media="text/plain", record=record, meta=_facts(row, field, options))


def _facts(row: Row, text_field: str | None, options: ReadOptions) -> dict[str, object]:
    names = [name for name in row.fields if name != text_field] if options.all_fields else _META_FIELDS
    kinds = str | int | float if options.all_fields else str | int
    meta = {name: row.fields[name] for name in names if isinstance(row.fields.get(name), kinds)}
    if "license" not in meta and isinstance(licence := row.fields.get(_LICENCE), str):
        meta["license"] = licence
    return meta


def _text_field(row: Row, options: ReadOptions) -> str | None:
    names = (options.text_field,) if options.text_field else USUAL_TEXT_FIELDS
    return next((name for name in names if name in row.fields), None)

"""Rows of JSON Lines, JSON, CSV, TSV and parquet files, one after another, each with its place in the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.data.readers.detect import HEAD_BYTES, Format, detect
from llmkit.data.readers.encoding import NotTextError, decode

_MAX_CSV_FIELD = 64 << 20
"""Python's own limit for a field of a CSV is 128 kB, which a document in a cell easily exceeds."""

_CSV_SAMPLE_BYTES = 64 * 1024

ROW_FORMATS: frozenset[Format] = frozenset({"jsonl", "json", "csv", "parquet"})


@dataclass(frozen=True)
class Row:
    """`number` is 1-based: the line of a JSONL or CSV file, the position in a JSON list or a parquet table."""

    number: int
    fields: Mapping[str, object]


@dataclass(frozen=True)
class BadRow:
    number: int
    reason: str
    detail: str


def format_of(path: Path) -> Format:
    """The detected format of a file. Raises OSError."""
    with path.open("rb") as file:
        return detect(path, file.read(HEAD_BYTES)).format


def read_rows(path: Path, form: Format) -> Iterator[Row | BadRow]:
    """The rows of a file in one of `ROW_FORMATS`. A row that cannot be read is a `BadRow`; the rest are still read.

    Raises:
        OSError: if the file cannot be opened.
    """
    match form:
        case "jsonl":
            yield from _jsonl(path)
        case "csv":
            yield from _csv(path)
        case "parquet":
            yield from _parquet(path)
        case _:
            yield from _json(path)


def _jsonl(path: Path) -> Iterator[Row | BadRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _parsed(number, line)


def _parsed(number: int, line: bytes) -> Row | BadRow:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(number, "bad_encoding", f"not UTF-8: {error.reason} at byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return BadRow(number, "bad_json", f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return BadRow(number, "bad_json", f"not usable JSON: {error}")
    return _row(number, value)


def _row(number: int, value: object) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(number, value)
    return BadRow(number, "not_an_object", f"a {type(value).__name__}, and each row must be an object with fields")


def _json(path: Path) -> Iterator[Row | BadRow]:
    """A list of objects, an object that holds exactly one such list (`{"data": [...]}`), or one object: one row."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        yield BadRow(error.lineno, "bad_json", f"not JSON: {error.msg} at column {error.colno}")
        return
    except (ValueError, RecursionError) as error:
        yield BadRow(1, "bad_json", f"not usable JSON: {error}")
        return
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        value = lists[0] if len(lists) == 1 and len(value) <= 2 else [value]
    if not isinstance(value, list):
        value = [value]
    for number, item in enumerate(value, start=1):
        yield _row(number, item)


def _csv(path: Path) -> Iterator[Row | BadRow]:
    csv.field_size_limit(_MAX_CSV_FIELD)
    with path.open("rb") as raw:
        head = raw.read(_CSV_SAMPLE_BYTES)
        raw.seek(0)
        try:
            # Cut at a line's end, or the cut could fall inside a character and spoil the detection.
            sample = decode(head[: head.rfind(b"\n") + 1] or head)
        except NotTextError as error:
            yield BadRow(1, "binary", str(error))
            return
        with io.TextIOWrapper(raw, encoding=sample.encoding, newline="") as file:
            rows = csv.DictReader(file, delimiter=_delimiter(sample.text.partition("\n")[0]))
            try:
                for fields in rows:
                    yield _table_row(rows.line_num, fields)
            except UnicodeDecodeError as error:
                detail = f"not {sample.encoding}: {error.reason}; save the file as UTF-8"
                yield BadRow(rows.line_num + 1, "bad_encoding", detail)
            except csv.Error as error:
                yield BadRow(rows.line_num + 1, "bad_csv", str(error))


def _delimiter(header_line: str) -> str:
    return max("\t,;|", key=header_line.count) if header_line else ","


def _table_row(line: int, fields: Mapping[str | None, object]) -> Row | BadRow:
    if None in fields:
        return BadRow(line, "bad_csv", "more cells than the header has columns")
    return Row(line, {str(name): value for name, value in fields.items() if value is not None})


def _parquet(path: Path) -> Iterator[Row | BadRow]:
    # Imported here: worker processes read mostly other formats, and pyarrow takes 0.3 s.
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for fields in batch.to_pylist():
                number += 1
                yield Row(number, fields)
    except pyarrow.ArrowException as error:
        yield BadRow(number + 1, "parse_error", f"the parquet file is damaged: {error}")

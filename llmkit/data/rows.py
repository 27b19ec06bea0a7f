"""Rows of JSON Lines, JSON, CSV, TSV and parquet files, one after another, each with its place in the file."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llmkit.data.readers.detect import HEAD_BYTES, Format, detect
from llmkit.data.readers.encoding import NotTextError, decode

_MAX_CSV_FIELD = 64 << 20
"""Python's own limit for a field of a CSV is 128 kB, which a document in a cell easily exceeds."""

_CSV_SAMPLE_BYTES = 64 * 1024

_MAX_LINE_BYTES = 256 << 20
"""A line of a JSONL is in memory as one piece, and several times over once it is parsed."""

_COUNT_BYTES = 1 << 20

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


@dataclass(frozen=True)
class Range:
    """Consecutive rows of a file: half-open, in bytes of a JSONL (the lines that begin there) or row groups of a
    parquet file. `first_number` is the number of the first line that begins there, or of the first row: 1-based.
    """

    start: int
    end: int
    first_number: int


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


def read_row_range(path: Path, form: Format, part: Range) -> Iterator[Row | BadRow]:
    """The rows of one of `jsonl_ranges` or `parquet_ranges`. Raises OSError, and ValueError for any other format."""
    match form:
        case "jsonl":
            return read_jsonl_range(path, part.start, part.end, part.first_number)
        case "parquet":
            return _parquet(path, part)
    raise ValueError(f"a {form} file cannot be read in ranges")


def jsonl_ranges(path: Path, target_bytes: int) -> list[Range]:
    """Ranges that begin where a line does, each of the first such size that is at least `target_bytes`.

    Reads the file once, at the speed of the disk: only newlines are counted.
    """
    if target_bytes < 1:
        raise ValueError("ranges have at least one byte")
    ranges: list[Range] = []
    start, number, lines, position = 0, 1, 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_COUNT_BYTES):
            seen = 0
            # A cut is behind the first newline by which the range has its size.
            while (cut := chunk.find(b"\n", max(seen, start + target_bytes - 1 - position))) >= 0:
                lines += chunk.count(b"\n", seen, cut + 1)
                seen = cut + 1
                ranges.append(Range(start, position + seen, number))
                start, number, lines = position + seen, number + lines, 0
            lines += chunk.count(b"\n", seen)
            position += len(chunk)
    if position > start:
        ranges.append(Range(start, position, number))
    return ranges


def read_jsonl_range(path: Path, start: int, end: int, first_number: int) -> Iterator[Row | BadRow]:
    """The rows of the lines that begin at a byte in [start, end); a line is read whole, wherever it ends.

    Args:
        first_number: the 1-based number of the first line that begins there.
    """
    with path.open("rb") as file:
        if start > 0:
            file.seek(start - 1)
            _skip_line(file)
        yield from _lines(file, end, first_number)


def _jsonl(path: Path) -> Iterator[Row | BadRow]:
    with path.open("rb") as file:
        yield from _lines(file, None, 1)


def _lines(file: BinaryIO, end: int | None, first_number: int) -> Iterator[Row | BadRow]:
    position = file.tell()
    number = first_number
    while end is None or position < end:
        line = file.readline(_MAX_LINE_BYTES)
        if not line:
            return
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            yield BadRow(number, "too_large", f"a line of more than {_MAX_LINE_BYTES:,} bytes")
            _skip_line(file)
            position = file.tell()
        else:
            content = line.removeprefix(codecs.BOM_UTF8) if position == 0 else line
            if content.strip():
                yield _parsed(number, content)
            position += len(line)
        number += 1


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(_COUNT_BYTES)) and not rest.endswith(b"\n"):
        continue


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


def parquet_ranges(path: Path, target_bytes: int) -> list[Range]:
    """Ranges of whole row groups, by their uncompressed size; only the file's footer is read."""
    from pyarrow import parquet

    if target_bytes < 1:
        raise ValueError("ranges have at least one byte")
    ranges: list[Range] = []
    start, number, rows, size = 0, 1, 0, 0
    with parquet.ParquetFile(path) as file:
        groups = file.metadata.num_row_groups
        for group in range(groups):
            facts = file.metadata.row_group(group)
            rows += facts.num_rows
            size += facts.total_byte_size
            if size >= target_bytes or group == groups - 1:
                ranges.append(Range(start, group + 1, number))
                start, number, rows, size = group + 1, number + rows, 0, 0
    return ranges


def _parquet(path: Path, part: Range | None = None) -> Iterator[Row | BadRow]:
    # Imported here: worker processes read mostly other formats, and pyarrow takes 0.3 s.
    import pyarrow
    from pyarrow import parquet

    number = part.first_number - 1 if part else 0
    try:
        with parquet.ParquetFile(path) as file:
            groups = range(part.start, part.end) if part else None
            for batch in file.iter_batches(batch_size=1024, row_groups=groups, use_threads=False):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(number, fields)
    except pyarrow.ArrowException as error:
        yield BadRow(number + 1, "parse_error", f"the parquet file is damaged: {error}")
    except OSError as error:
        if error.errno is not None:
            raise
        yield BadRow(number + 1, "parse_error", f"the parquet file is damaged: {error}")

"""Spreadsheets: each sheet a page; a row as `name: value` lines under a header, else as cells with tabs between."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llmkit.data.readers.base import Item, ReadOptions, UnreadableError, paged, parsing
from llmkit.data.readers.zips import open_package
from llmkit.text.document import Document

_HEADER_WITHIN = 10
"""A header comes below a few lines of title at most."""

_MAX_CHARACTERS = 256 << 20
_DIGITS = ".15g"
"""What a spreadsheet shows of a number: 15 significant digits."""

Row = Sequence[str]


def read_xlsx(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    """One document. Of a formula it has the value that was computed when the file was saved, or nothing."""
    # Imported here, as it takes 0.2 s that workers without spreadsheets should not pay.
    import openpyxl

    with open_package(path):
        pass
    # As an open file, since openpyxl refuses a path by its suffix.
    with parsing("the workbook"), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # styles and extensions it does not know
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        try:
            sheets = [(sheet.title, _sheet(sheet)) for sheet in book.worksheets]
            title = book.properties.title
        finally:
            book.close()
    filled = [(name, text) for name, text in sheets if text]
    # With one sheet its name ("Sheet1") says nothing; with several they tell them apart.
    pages = [f"{name}\n{text}" for name, text in filled] if len(filled) > 1 else [text for _, text in filled]
    text, starts = paged(pages)
    meta: dict[str, object] = {"pages_are": "sheets"}
    if title:
        meta["title"] = title
    yield Document(str(path), text, media=media, pages=starts, meta=meta)


def _sheet(sheet: Any) -> str:
    # What a file says of its own extent may be wrong or absurd: go by the rows there are.
    sheet.reset_dimensions()
    rows = (filled for row in sheet.iter_rows() if any(filled := [_shown(cell) for cell in row]))
    first = [_trimmed(row) for row in islice(rows, _HEADER_WITHIN)]
    at = next((n for n, row in enumerate(first) if sum(map(bool, row)) > 1), None)
    header = first[at] if at is not None and _is_header(first[at], first[at + 1 : at + 2]) else None
    before = first[:at] if header is not None else []
    blocks = ["\t".join(row) for row in before]
    blocks += [_block(row, header) for row in first[len(before) + (header is not None) :]]
    size = 0
    for row in rows:
        block = _block(_trimmed(row), header)
        blocks.append(block)
        size += len(block)
        if size > _MAX_CHARACTERS:
            raise UnreadableError("too_large", f"a sheet has more than {_MAX_CHARACTERS:,} characters: save it as CSV")
    return ("\n\n" if header else "\n").join(blocks)


def _trimmed(row: Row) -> Row:
    last = max((n for n, cell in enumerate(row) if cell), default=-1)
    return row[: last + 1]


def _is_header(row: Row, following: Sequence[Row]) -> bool:
    """Whether a row names columns: different words, no numbers or dates, and below it a row that is no wider."""
    names = [cell for cell in row if cell]
    if not following or len(following[0]) > len(row) or len(set(names)) < len(names) or len(names) < len(row):
        return False
    return not any(cell[0].isdigit() or cell[0] in "-+" for cell in names)


def _block(row: Row, header: Row | None) -> str:
    if header is None:
        return "\t".join(row)
    names = [*header, *(f"column {n + 1}" for n in range(len(header), len(row)))]
    return "\n".join(f"{name}: {value}" for name, value in zip(names, row, strict=False) if value)


def _shown(cell: Any) -> str:
    """A cell as a person reads it: `2024-05-01`, `12.5%`, `3` and not `3.0`."""
    value = cell.value
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            if "%" in (cell.number_format or ""):
                return format(value * 100, _DIGITS) + "%"
            return format(value, _DIGITS) if isinstance(value, float) else str(value)
        case datetime.datetime():
            midnight = value.time() == datetime.time.min
            return value.date().isoformat() if midnight else value.isoformat(" ", "auto").removesuffix(":00")
        case datetime.time():
            return value.isoformat().removesuffix(":00")
    return str(value).strip()

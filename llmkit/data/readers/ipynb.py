"""Jupyter notebooks: cells in order, text as it is and code in fences. Outputs are left out: they repeat the data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmkit.data.readers.base import Item, ReadOptions, UnreadableError, read_whole
from llmkit.text.document import Document


def read_ipynb(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    try:
        notebook = json.loads(read_whole(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UnreadableError("bad_json", f"the notebook is not JSON: {error}") from error
    if not isinstance(notebook, dict):
        raise UnreadableError("parse_error", "the notebook is no object with cells")
    facts = notebook.get("metadata")
    language = _language(facts if isinstance(facts, dict) else {})
    blocks = [_block(cell, language) for cell in _cells(notebook) if isinstance(cell, dict)]
    meta = {"code_language": language} if language else {}
    yield Document(str(path), "\n\n".join(block for block in blocks if block), media=media, meta=meta)


def _cells(notebook: Mapping[str, object]) -> list[object]:
    cells = notebook.get("cells")
    if cells is None and isinstance(sheets := notebook.get("worksheets"), list):  # the format before 2015
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or ()]
    if not isinstance(cells, list):
        raise UnreadableError("parse_error", "the notebook has no cells")
    return cells


def _block(cell: Mapping[str, object], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    if not text.strip() or cell.get("cell_type") != "code":
        return text.strip("\n")
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _language(facts: Mapping[str, object]) -> str:
    for section, key in (("language_info", "name"), ("kernelspec", "language")):
        inner = facts.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            return str(inner[key])
    return ""

"""How documents stand in a dataset's table: the columns, and the way there and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from llmkit.data.example_tables import meta_json
from llmkit.text.document import Document

COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "record", "media", "text", "split", "cluster")),
        ("language", pa.string()),
        ("digest", pa.string()),
        ("pages", pa.list_(pa.int64())),
        ("line_map", pa.list_(pa.int64())),
        ("meta", pa.string()),
        ("facts", pa.string()),
    ]
)
"""`digest`: the first 16 hex digits of the sha256 of the text as it was read. `pages`, `line_map`: as in `Document`,
the pairs of the latter one after the other. `meta`, `facts`: JSON, what the reader knew and what the steps found."""


def document_row(document: Document, facts: Mapping[str, object], digest: str) -> dict[str, Any]:
    """The row of a document, all but what is decided over the whole set: its split and its cluster."""
    language = facts.get("language")
    return {
        "id": document.id,
        "source": document.source,
        "record": document.record,
        "media": document.media,
        "text": document.text,
        "language": language if isinstance(language, str) else "",
        "digest": digest,
        **place_columns(document),
        "meta": meta_json(document.meta),
        "facts": meta_json({name: fact for name, fact in facts.items() if name != "language"}),
    }


def place_columns(document: Document) -> dict[str, list[int]]:
    """The columns that lead from a position in the text back to its source."""
    return {
        "pages": list(document.pages),
        "line_map": [number for pair in document.line_map for number in pair],
    }


def document_of(row: Mapping[str, Any]) -> Document:
    """The document of a row; a table of an earlier version has no places."""
    flat = row.get("line_map") or []
    return Document(
        row["source"],
        row["text"],
        media=row["media"],
        record=row["record"],
        pages=tuple(row.get("pages") or ()),
        meta=json.loads(row["meta"]),
        line_map=tuple(zip(flat[::2], flat[1::2], strict=True)),
    )

"""Presentations: each slide a page, with its text, its tables and its notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llmkit.data.readers.base import Item, ReadOptions, paged, parsing
from llmkit.data.readers.zips import open_package
from llmkit.text.document import Document

_NOTES = "Notes: "


def read_pptx(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    # Imported here, as it takes 0.2 s that workers without presentations should not pay.
    import pptx

    with open_package(path):
        pass
    with parsing("the presentation"):
        parsed = pptx.Presentation(str(path))
        text, starts = paged([_slide(slide) for slide in parsed.slides])
        title = parsed.core_properties.title
    meta: dict[str, object] = {"pages_are": "slides"}
    # python-pptx's own template has a title that says nothing.
    if title and title != "PowerPoint Presentation":
        meta["title"] = title
    yield Document(str(path), text, media=media, pages=starts, meta=meta)


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    blocks = [title.text_frame.text] if title is not None and title.has_text_frame else []
    blocks += _texts(shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) and frame.text.strip():
        blocks.append(_NOTES + frame.text)
    # A line break within a paragraph is a vertical tab in python-pptx.
    return "\n".join(block.replace("\v", "\n").strip("\n") for block in blocks if block.strip())


def _texts(shapes: Iterable[Any]) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):  # a group
            yield from _texts(shape.shapes)
        elif getattr(shape, "has_table", False):
            rows = ([cell.text for cell in row.cells if not cell.is_spanned] for row in shape.table.rows)
            yield "\n".join("\t".join(row) for row in rows)
        elif shape.has_text_frame:
            yield shape.text_frame.text

"""Word documents: paragraphs and tables in their order, a table's row as one line with tabs between its cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.data.readers.base import Item, ReadOptions, parsing
from llmkit.data.readers.zips import open_package
from llmkit.text.document import Document

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def read_docx(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    # Imported here, as lxml and its templates take 0.1 s that workers without Word files should not pay.
    import docx
    from docx.table import Table

    with open_package(path):
        pass  # its size and its being open to read are checked before python-docx unpacks it
    with parsing("the document"):
        parsed = docx.Document(str(path))
        _unwrap_controls(parsed.element.body)
        blocks = [
            "\n".join("\t".join(_cells(row)) for row in block.rows) if isinstance(block, Table) else block.text
            for block in parsed.iter_inner_content()
        ]
        facts = {"title": parsed.core_properties.title, "author": parsed.core_properties.author}
    # python-docx's own template names it as the author of what it writes.
    meta = {name: value for name, value in facts.items() if value and value != "python-docx"}
    yield Document(str(path), "\n".join(blocks), media=media, meta=meta)


def _cells(row: Any) -> Iterator[str]:
    """The text of a row's cells; one that spans several columns comes once, and not once per column."""
    before = None
    for cell in row.cells:
        if cell._tc is not before:
            before = cell._tc
            yield cell.text


def _unwrap_controls(body: Any) -> None:
    """Put the content of form fields (content controls) in their place: python-docx passes over them and their text."""
    for control in list(body.iter(_WORD + "sdt")):
        parent, content = control.getparent(), control.find(_WORD + "sdtContent")
        at = parent.index(control)
        for child in reversed(list(content) if content is not None else []):
            parent.insert(at, child)
        parent.remove(control)

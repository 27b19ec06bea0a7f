"""Word documents: paragraphs and tables in their order, a table's row as one line with tabs between its cells."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions, UnreadableError
from llmkit.text.document import Document

_MAX_UNPACKED_BYTES = 512 << 20
"""A document that unpacks to more than this is taken for a decompression bomb."""


def read_docx(path: Path, media: str, options: ReadOptions) -> Iterator[Document | Drop]:
    # Imported here, as lxml and its templates take 0.1 s that workers without Word files should not pay.
    import docx
    from docx.table import Table

    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _MAX_UNPACKED_BYTES:
        raise UnreadableError("too_large", f"it unpacks to {unpacked:,} bytes")
    try:
        parsed = docx.Document(str(path))
        blocks = [
            "\n".join("\t".join(cell.text for cell in row.cells) for row in block.rows)
            if isinstance(block, Table)
            else block.text
            for block in parsed.iter_inner_content()
        ]
        title = parsed.core_properties.title
    except Exception as error:  # whatever python-docx and lxml raise on a broken file, the file is what is wrong
        raise UnreadableError("parse_error", f"the document cannot be parsed: {error}") from error
    yield Document(str(path), "\n".join(blocks), media=media, meta={"title": title} if title else {})

"""What all readers share: their signature, their options, and the way to refuse a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.text.document import Document

MAX_WHOLE_BYTES = 1 << 30
"""A file that has to be in memory as one piece may have this many bytes. Files of records are streamed: no limit."""


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
        text_field: the field of a record (JSON, JSONL, CSV, parquet) that holds its text; None means the usual names.
    """

    text_field: str | None = None


class UnreadableError(Exception):
    """Raised by a reader for a file it cannot use; `read_file` makes a `Drop` of it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


Reader = Callable[[Path, str, ReadOptions], Iterator[Document | Drop]]
"""`(path, media, options)` to the file's documents, in order. Raises OSError or UnreadableError for the whole file."""


def read_whole(path: Path, limit: int = MAX_WHOLE_BYTES) -> bytes:
    """The bytes of a file that may not have more than `limit` of them."""
    check_size(path, limit)
    return path.read_bytes()


def check_size(path: Path, limit: int = MAX_WHOLE_BYTES) -> None:
    size = path.stat().st_size
    if size > limit:
        raise UnreadableError(
            "too_large", f"{size:,} bytes, and at most {limit:,} are read as one piece: split the file"
        )

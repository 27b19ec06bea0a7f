"""Standard input as a file: what a pipe gives once is kept, so that it can be read like any other source."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from llmkit.data.sources.collect import SourceFile
from llmkit.errors import DataError, UsageError
from llmkit.registry.disk import writing

SOURCE = "stdin:"
"""What is recorded as the source of documents from standard input."""

_PIECE = 1 << 20


def spool_stdin(stream: BinaryIO, folder: Path) -> SourceFile:
    """Copy everything `stream` gives to a file in `folder` that is named by its content.

    Memory holds a megabyte of it at a time. The same content gives the same file; an interrupted copy leaves none.

    Raises:
        UsageError: the stream is a terminal, where nobody may know that input is waited for.
        DataError: it is empty.
        StorageError: `folder` cannot be written.
    """
    if stream.isatty():
        raise UsageError(
            "`-` reads standard input, and that is the terminal",
            where="-",
            mend="pipe something into the command (`cat notes.txt | llmkit ...`), or name a file",
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".stdin-", dir=folder)
    draft = Path(name)
    try:
        digest, size = _copy(stream, handle, folder)
        if not size:
            raise DataError(
                "standard input is empty", where="-", mend="check the command before the pipe: it printed nothing"
            )
        kept = folder / f"stdin-{digest}"
        with writing(folder):
            draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)
    return SourceFile(kept.absolute(), "stdin", size, source=SOURCE, meta={"sha256": digest})


def spooled(folder: Path) -> list[SourceFile]:
    """What earlier runs read from standard input and kept in `folder`, the latest first."""
    kept = sorted(folder.glob("stdin-*"), key=lambda path: (-path.stat().st_mtime_ns, path.name))
    return [
        SourceFile(
            path.absolute(), "stdin", path.stat().st_size, source=SOURCE, meta={"sha256": path.name[len("stdin-") :]}
        )
        for path in kept
    ]


def _copy(stream: BinaryIO, handle: int, folder: Path) -> tuple[str, int]:
    """The sha256 of what was copied, in hex, and its bytes."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(handle, "wb") as file:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            with writing(folder):
                file.write(piece)
        with writing(folder):
            file.flush()
    return digest.hexdigest(), size

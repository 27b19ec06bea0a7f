"""A file of documents on their way from one step to the next: appended once, then read in order or by index."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from llmkit.registry.disk import writing
from llmkit.text.document import Document


class Spool:
    """Documents on disk, so that memory holds one at a time; 8 bytes of index are kept for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("x+b")
        self._starts = array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, document: Document) -> None:
        head = (document.source, document.media, document.record, dict(document.meta), document.text)
        data = json.dumps(head, ensure_ascii=False).encode("utf-8", "surrogatepass")
        with writing(self._path):
            self._file.write(data)
        self._starts.append(self._starts[-1] + len(data))

    def __getitem__(self, index: int) -> Document:
        self._file.flush()
        start, end = self._starts[index], self._starts[index + 1]
        source, media, record, meta, text = json.loads(os.pread(self._file.fileno(), end - start, start))
        return Document(source, text, media=media, record=record, meta=meta)

    def __iter__(self) -> Iterator[Document]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

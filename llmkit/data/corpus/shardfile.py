"""What is left of a finished shard: a folder with its documents, their hashes, the drops, and the counts."""

from __future__ import annotations

import json
import shutil
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from llmkit.data.corpus.clusters import Hashes
from llmkit.data.document_table import COLUMNS as DOCUMENT_COLUMNS
from llmkit.data.document_table import document_row
from llmkit.data.drops import Drop
from llmkit.data.steps.dedup import BANDS, Sketch
from llmkit.registry.disk import sync_tree, writing
from llmkit.text.document import Document

DOCUMENTS, HASHES, DROPS, TALLY = "documents.arrow", "hashes.u64", "drops.jsonl", "tally.json"
LINES, LINE_COUNTS = "lines.u64", "lines.count.u64"

_WITHOUT = ("split", "cluster")
COLUMNS = pa.schema([*(field for field in DOCUMENT_COLUMNS if field.name not in _WITHOUT), ("origin", pa.string())])
"""A dataset's columns but for those that are decided later, and where the document comes from, for the report."""

_BATCH_ROWS = 256
_BATCH_CHARS = 2 << 20
_OPEN_SHARDS = 8
_HASHES_EACH = 2 + BANDS


@dataclass(frozen=True)
class Row:
    """One prepared document. `digest` is that of the text as it was read; `facts` what the steps found out."""

    document: Document
    digest: str
    origin: str
    facts: Mapping[str, object]


class ShardWriter:
    """Writes a shard into a folder of its own, which gets its final name when all is in it."""

    def __init__(self, folder: Path) -> None:
        self._final = folder
        self._building = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp"
        with writing(folder):
            self._building.mkdir(parents=True)
            self._sink = pa.OSFile(str(self._building / DOCUMENTS), "wb")
            self._table = ipc.new_file(self._sink, COLUMNS)
            self._drops = (self._building / DROPS).open("w", encoding="utf-8")
            self._hashes = (self._building / HASHES).open("wb")
            self._lines = (self._building / LINES).open("wb")
            self._counts = (self._building / LINE_COUNTS).open("wb")
        self._rows: list[Mapping[str, object]] = []
        self._chars = 0

    def add(self, row: Row, sketch: Sketch, lines: np.ndarray | None) -> None:
        self._rows.append({**document_row(row.document, row.facts, row.digest), "origin": row.origin})
        high, low = int.from_bytes(sketch.exact[:8], "big"), int.from_bytes(sketch.exact[8:], "big")
        with writing(self._final):
            self._hashes.write(np.asarray([high, low, *sketch.bands], dtype="<u8").tobytes())
            self._counts.write(np.asarray([0 if lines is None else len(lines)], dtype="<u8").tobytes())
            if lines is not None:
                self._lines.write(lines.astype("<u8").tobytes())
        self._chars += len(row.document.text)
        if len(self._rows) >= _BATCH_ROWS or self._chars >= _BATCH_CHARS:
            self._flush()

    def drop(self, drop: Drop) -> None:
        with writing(self._final):
            self._drops.write(json.dumps(vars(drop), ensure_ascii=False) + "\n")

    def finish(self, tally: Mapping[str, Any]) -> None:
        """Write what is left, and give the folder its name. A second finisher of the same shard is thrown away."""
        self._flush()
        with writing(self._final):
            self._close()
            (self._building / TALLY).write_text(json.dumps(tally, ensure_ascii=False), encoding="utf-8")
            sync_tree(self._building)
            try:
                self._building.rename(self._final)
            except OSError:
                if not self._final.is_dir():
                    raise
                shutil.rmtree(self._building)

    def abandon(self) -> None:
        """Remove what was written; does nothing after `finish`."""
        if self._building.exists():
            self._close()
            shutil.rmtree(self._building, ignore_errors=True)

    def _close(self) -> None:
        self._table.close()
        self._sink.close()
        for file in (self._drops, self._hashes, self._lines, self._counts):
            file.close()

    def _flush(self) -> None:
        if self._rows:
            with writing(self._final):
                self._table.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=COLUMNS))
            self._rows, self._chars = [], 0


class ShardSet:
    """The finished shards of a build: their documents by position, over all shards in order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        counts = [(folder / HASHES).stat().st_size // (8 * _HASHES_EACH) for folder in folders]
        self.starts = [0, *np.cumsum(counts, dtype=np.int64).tolist()]
        self._open: dict[int, _Batches] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, object]:
        return {"folders": self.folders, "starts": self.starts, "_open": {}}

    def __call__(self, index: int) -> str:
        """The text of the document at a position."""
        text: str = self.value(index, "text")
        return text

    def value(self, index: int, column: str) -> Any:
        number = bisect_right(self.starts, index) - 1
        return self._batches(number).value(index - self.starts[number], column)

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All documents in order, `(position of the first, batch)`."""
        for folder, start in zip(self.folders, self.starts, strict=False):
            with pa.memory_map(str(folder / DOCUMENTS)) as source:
                reader = ipc.open_file(source)
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    yield start, batch
                    start += batch.num_rows

    def drops(self) -> Iterator[Drop]:
        for folder in self.folders:
            with (folder / DROPS).open(encoding="utf-8") as file:
                for line in file:
                    yield Drop(**json.loads(line))

    def tallies(self) -> Iterator[Mapping[str, Any]]:
        for folder in self.folders:
            tally: Mapping[str, Any] = json.loads((folder / TALLY).read_text(encoding="utf-8"))
            yield tally

    def hashes(self, scratch: Path) -> Hashes:
        """All sketches as arrays on disk."""
        if not len(self):
            return Hashes(np.zeros((0, 2), np.uint64), np.zeros((BANDS, 0), np.uint64))
        exact = np.memmap(scratch / "exact.array", dtype=np.uint64, mode="w+", shape=(len(self), 2))
        bands = np.memmap(scratch / "bands.array", dtype=np.uint64, mode="w+", shape=(BANDS, len(self)))
        for folder, start in zip(self.folders, self.starts, strict=False):
            rows = _uint64(folder / HASHES).reshape(-1, _HASHES_EACH)
            exact[start : start + len(rows)] = rows[:, :2]
            bands[:, start : start + len(rows)] = rows[:, 2:].T
        return Hashes(exact, bands)

    def line_hashes(self, counted: np.ndarray) -> Iterator[np.ndarray]:
        """uint64, a shard at a time: the distinct line hashes of each document for which `counted` is true."""
        for folder, start in zip(self.folders, self.starts, strict=False):
            of_each = _uint64(folder / LINE_COUNTS)
            wanted = counted[start : start + len(of_each)]
            lines = _uint64(folder / LINES)
            yield lines if wanted.all() else np.asarray(lines[np.repeat(wanted, of_each.astype(np.int64))])

    def _batches(self, number: int) -> _Batches:
        if number not in self._open:
            if len(self._open) >= _OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
            self._open[number] = _Batches(self.folders[number] / DOCUMENTS)
        return self._open[number]


class _Batches:
    """Random access to the rows of one shard's documents, memory-mapped."""

    def __init__(self, path: Path) -> None:
        self._reader = ipc.open_file(pa.memory_map(str(path)))

    @cached_property
    def _starts(self) -> list[int]:
        rows = [self._reader.get_batch(number).num_rows for number in range(self._reader.num_record_batches)]
        return [0, *np.cumsum(rows, dtype=np.int64).tolist()]

    def value(self, row: int, column: str) -> Any:
        number = bisect_right(self._starts, row) - 1
        return self._reader.get_batch(number).column(column)[row - self._starts[number]].as_py()


def _uint64(path: Path) -> np.ndarray:
    return np.memmap(path, dtype="<u8", mode="r") if path.stat().st_size else np.zeros(0, dtype=np.uint64)

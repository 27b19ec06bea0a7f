"""Shards: the pieces in which preprocessing is done, each by one process, each whole or not there.

How the input is cut depends on the input alone. So the same shards arise for any number of workers, on one machine or
several, and a run that was killed goes on with those it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.data.dataset import Dataset
from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file, read_range
from llmkit.data.rows import Range, format_of, jsonl_ranges, parquet_ranges
from llmkit.data.sources.collect import SourceFile
from llmkit.text.document import Document

SHARD_BYTES = 2 << 20
"""Input of a shard: a second or two of work, so that little is lost by a kill and the progress bar moves."""

SHARD_FILES = 512
"""And files of a shard, where they are small."""


@dataclass(frozen=True)
class Unit:
    """A file, or a part of a large one that can be read by itself. `size` is in bytes."""

    file: SourceFile
    size: int
    part: Range | None = None


@dataclass(frozen=True)
class Shard:
    """Some units, read one after the other."""

    number: int
    units: tuple[Unit, ...]

    @property
    def name(self) -> str:
        return f"{self.number:06}"

    @property
    def size(self) -> int:
        return sum(unit.size for unit in self.units)


def plan_shards(files: Sequence[SourceFile]) -> list[Shard]:
    """Cut files into shards, in order.

    Files of JSON Lines and parquet are cut where they are large; any other file is read by one process.
    """
    shards: list[Shard] = []
    units: list[Unit] = []
    size = 0
    for unit in (unit for file in files for unit in _units(file)):
        if units and (size + unit.size > SHARD_BYTES or len(units) >= SHARD_FILES):
            shards.append(Shard(len(shards), tuple(units)))
            units, size = [], 0
        units.append(unit)
        size += unit.size
    if units:
        shards.append(Shard(len(shards), tuple(units)))
    return shards


def _units(file: SourceFile) -> Iterator[Unit]:
    parts = _parts(file) if file.form == "file" and file.size > SHARD_BYTES else []
    if parts:
        yield from parts
    else:
        yield Unit(file, file.size)


def _parts(file: SourceFile) -> list[Unit]:
    """The parts of a large file of records; none of any other, nor of one that is damaged: its reader says why."""
    from pyarrow import ArrowException

    try:
        match format_of(file.path):
            case "jsonl":
                return [Unit(file, part.end - part.start, part) for part in jsonl_ranges(file.path, SHARD_BYTES)]
            case "parquet":
                return [Unit(file, SHARD_BYTES, part) for part in parquet_ranges(file.path, SHARD_BYTES)]
            case _:
                return []
    except (OSError, ArrowException):
        return []


def read_unit(unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
    """The documents of a unit, with the facts that are known of its file."""
    file = unit.file
    for item in _read(unit, options):
        yield replace(item, meta={**file.meta, **item.meta}) if file.meta and isinstance(item, Document) else item


def _read(unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
    file = unit.file
    source = file.source or None
    if file.form == "dataset":
        yield from (each.document for each in Dataset.open(file.path).documents())
    elif unit.part is not None:
        yield from read_range(file.path, format_of(file.path), unit.part, options, source=source)
    else:
        yield from read_file(file.path, options, source=source, name=file.name if source else None)


def origin(file: SourceFile) -> str:
    """Where a file comes from, as coarsely as a report lists it: the folder below its root, the file, the host."""
    if file.source:
        scheme, _, rest = file.source.partition("://")
        return rest.split("/")[0] if rest else scheme
    if file.form == "dataset":
        return file.name
    top, _, below = file.name.partition("/")
    root = Path(str(file.path).removesuffix(file.name)).name
    return f"{root}/{top}" if below and root else root or top

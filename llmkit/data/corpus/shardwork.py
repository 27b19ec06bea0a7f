"""The work on one shard, done by one process: read its files, take documents through the steps, write what is left.

This is the part that runs on all cores, and on all machines: by our own worker processes, in the jobs of an array, or
as tasks of a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmkit.data.corpus.prepare import PrepareOptions, Step, facts_of, last_facts, prepare, steps_of
from llmkit.data.corpus.shardfile import Row, ShardWriter
from llmkit.data.corpus.shards import Shard, origin, read_unit
from llmkit.data.corpus.tally import EXCERPT_CHARS, Tally, excerpt
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.steps.dedup import line_hashes, sketch
from llmkit.data.steps.privacy.step import analyzer_for, replaced
from llmkit.errors import DataError, RunError
from llmkit.text.document import Document


@dataclass(frozen=True)
class ShardJob:
    """What is done to every shard of a build.

    Attributes:
        folder: where finished shards are, each in a folder of its own.
        lines: whether lines are counted, so that those which repeat can be removed.
        strict: stop at the first document that cannot be read.
    """

    folder: Path
    options: PrepareOptions
    lines: bool = False
    strict: bool = False


@dataclass(frozen=True)
class ShardDone:
    """`size` is the input in bytes."""

    number: int
    size: int


def work_shard(job: ShardJob, shard: Shard) -> ShardDone:
    """Do one shard, unless it is done; it is there afterwards.

    Raises:
        DataError: a document cannot be read, and the job is strict.
        StorageError: the folder cannot be written to.
    """
    folder = job.folder / shard.name
    if not folder.is_dir():
        writer = ShardWriter(folder)
        try:
            worker = _Worker(job, writer)
            for unit in shard.units:
                where = origin(unit.file)
                for item in read_unit(unit, job.options.read):
                    worker.take(item, where)
            writer.finish(worker.tally.to_json())
        finally:
            writer.abandon()
    return ShardDone(shard.number, shard.size)


def lost_shard(shard: Shard, why: str) -> ShardDone:
    """A process died over a shard although parsers run apart: nothing to do but to say so."""
    first, last = shard.units[0].file.path, shard.units[-1].file.path
    raise RunError(
        f"a process ended while it worked on '{first}'" + (f" to '{last}'" if last != first else "") + f": {why}",
        mend="if memory ran out use fewer --workers; run the same command again, and it goes on where it was",
    )


class _Worker:
    def __init__(self, job: ShardJob, writer: ShardWriter) -> None:
        self._job = job
        self._writer = writer
        self._steps: Sequence[tuple[str, Step]] = steps_of(job.options)
        self.tally = Tally()

    def take(self, item: Document | Drop, where: str) -> None:
        if isinstance(item, Drop):
            self._drop(item, "")
            return
        self.tally.passed("read", len(item.text), utf8_size(item.text))
        self._count_scans(item.meta)
        way = prepare(item, self._steps)
        before = item
        for stage in way:
            if isinstance(stage.result, Drop):
                self._drop(stage.result, self._excerpt(before.text))
                return
            before = stage.result.document
            self.tally.passed(stage.step, len(before.text), utf8_size(before.text))
            self.tally.changed(stage.step, stage.result.changes)
        facts = facts_of(way)
        self._count_pii(facts.get("pii"))
        facts.update(last_facts(before, self._job.options))
        lines = line_hashes(before.text) if self._job.lines and not is_code(before.media) else None
        self._writer.add(Row(before, item.digest[:16], where, facts), sketch(before.text), lines)

    def _drop(self, drop: Drop, sample: str) -> None:
        if self._job.strict and drop.step == "read":
            raise unreadable(drop)
        if drop.pages:
            self.tally.scans.update(files=1, pages=drop.pages)
        self._writer.drop(drop)
        self.tally.dropped(drop, sample)

    def _count_scans(self, meta: Mapping[str, object]) -> None:
        pages = meta.get("pages_without_text")
        if isinstance(pages, int) and pages:
            self.tally.scans.update(files=1, pages=pages)

    def _count_pii(self, found: object) -> None:
        if isinstance(found, Mapping):
            self.tally.found_pii(found)

    def _excerpt(self, text: str) -> str:
        """The beginning of a text, without personal data where those are to be kept out."""
        beginning = text[: 2 * EXCERPT_CHARS]
        if self._job.options.privacy.pii in ("replace", "drop"):
            matches = analyzer_for(self._job.options.privacy)(beginning, code=False)
            beginning = replaced(beginning, matches)
        return excerpt(beginning)


def unreadable(drop: Drop) -> DataError:
    """The error for a document that cannot be read, where none may be lost."""
    place = f"{drop.source}:{drop.record}" if drop.record else drop.source
    return DataError(
        f"it cannot be used ({drop.reason.replace('_', ' ')}): {drop.detail}",
        where=place,
        mend="mend or exclude it, or go on without such documents: leave --strict out",
    )


def utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""From files to a dataset: read, clean, deduplicate, split; every document is either in it or among its drops."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llmkit.config.sections import SplitOptions
from llmkit.data.clean import Rule
from llmkit.data.collect import Collected
from llmkit.data.dataset import DatasetWriter
from llmkit.data.dedup import Clusters, Dropped, Sketch, find_duplicates
from llmkit.data.drops import Drop
from llmkit.data.engine import ordered_map
from llmkit.data.prepare import PreparedFile, PrepareOptions, lost_file, prepare_file
from llmkit.data.split import SPLITS, Split, Splits, split_clusters
from llmkit.data.spool import Spool
from llmkit.errors import DataError
from llmkit.reporting.reporter import Reporter
from llmkit.text.document import Document

_WORTH_WORKERS = 16 << 20
"""Bytes of input below which worker processes cost more time to start (0.7 s) than they save (at some 6 MB/s)."""

_FRAGILE_SUFFIXES = frozenset({".pdf", ".docx"})
"""Their parsers are native code, and a broken file may take the whole process down: better a worker's than ours."""


@dataclass(frozen=True)
class CorpusOptions:
    """`drop_duplicates`: which duplicates are dropped. Clusters are found in any case, as the split needs them."""

    prepare: PrepareOptions = field(default_factory=PrepareOptions)
    drop_duplicates: Dropped = "near"
    similarity: float = 0.8
    split: SplitOptions = field(default_factory=SplitOptions)
    seed: int = 0


@dataclass(frozen=True)
class DatasetResult:
    """What a build made. `report` is the content of report.json; `missing` the splits that got nothing."""

    rows: Mapping[Split, int]
    missing: Sequence[Split]
    report: Mapping[str, object]


def build_corpus(
    collected: Collected, out: Path, options: CorpusOptions, *, workers: int, reporter: Reporter
) -> DatasetResult:
    """Make a dataset of texts in the folder `out`. The result does not depend on the number of workers.

    Raises:
        DataError: if no document is left; it says what they were dropped for.
        StorageError: if `out` cannot be written.
    """
    with DatasetWriter(out, "text") as writer, Spool(out / ".spool") as spool:
        tally = _Tally()
        sketches = _prepare(collected, options, workers, reporter, _Sinks(writer, spool, tally))
        if not spool:
            raise _nothing_left(collected, tally)
        clusters = find_duplicates(sketches, lambda index: spool[index].text, threshold=options.similarity)
        kept = _without_duplicates(spool, clusters, options.drop_duplicates, writer, tally)
        splits = _split(spool, kept, clusters, options)
        with reporter.progress("writing documents", len(kept), unit="documents") as progress:
            for index in kept:
                document, split = spool[index], splits.of[clusters.ids[index]]
                writer.document(document, split, clusters.ids[index])
                tally.split(split, document.text)
                progress.advance()
        report = tally.report(collected, splits)
        writer.finish(report)
    return DatasetResult({split: tally.splits[split]["documents"] for split in SPLITS}, splits.missing, report)


@dataclass(frozen=True)
class _Sinks:
    writer: DatasetWriter
    spool: Spool
    tally: _Tally

    def take(self, prepared: PreparedFile) -> list[Sketch]:
        self.tally.read(prepared)
        for drop in prepared.drops:
            self.writer.drop(drop)
            self.tally.drop(drop)
        for each in prepared.documents:
            self.spool.append(each.document)
            self.tally.cleaned(each.document, each.changes)
        return [each.sketch for each in prepared.documents]


def _prepare(
    collected: Collected, options: CorpusOptions, workers: int, reporter: Reporter, sinks: _Sinks
) -> list[Sketch]:
    sketches: list[Sketch] = []
    fragile = any(file.path.suffix.lower() in _FRAGILE_SUFFIXES for file in collected.files)
    workers = workers if fragile or collected.bytes >= _WORTH_WORKERS else 1
    work = partial(prepare_file, options.prepare)
    with reporter.progress("reading and cleaning", collected.bytes, unit="B") as progress:
        for prepared in ordered_map(work, collected.files, workers=workers, lost=lost_file):
            sketches += sinks.take(prepared)
            progress.advance(prepared.size)
    return sketches


def _without_duplicates(
    spool: Spool, clusters: Clusters, dropped: Dropped, writer: DatasetWriter, tally: _Tally
) -> list[int]:
    """The indices of the documents that stay; the others are recorded, each with the document it repeats."""
    kept: list[int] = []
    for index, original in enumerate(clusters.original):
        exact = clusters.exact[index]
        if original is None or dropped == "none" or (dropped == "exact" and not exact):
            kept.append(index)
            continue
        document, first = spool[index], spool[original]
        place = f"{first.source} (record {first.record})" if first.record else first.source
        reason, what = ("exact_duplicate", "the same text as") if exact else ("near_duplicate", "nearly the text of")
        drop = Drop(document.source, "dedup", reason, f"{what} {place}", document.record)
        writer.drop(drop)
        tally.drop(drop)
        tally.duplicate(document)
    return kept


def _split(spool: Spool, kept: Sequence[int], clusters: Clusters, options: CorpusOptions) -> Splits:
    sizes: Counter[str] = Counter()
    for index in kept:
        sizes[clusters.ids[index]] += len(spool[index].text)
    return split_clusters(sizes, options.split, options.seed)


class _Tally:
    """What goes into the report: documents and characters after each step, drops by reason, changes by rule."""

    def __init__(self) -> None:
        self.splits: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self._steps: dict[str, Counter[str]] = {step: Counter() for step in ("read", "clean", "dedup")}
        self._drops: dict[str, Counter[str]] = defaultdict(Counter)
        self._changed: dict[Rule, Counter[str]] = defaultdict(Counter)
        self.first_drop: Drop | None = None

    def read(self, prepared: PreparedFile) -> None:
        self._steps["read"] += Counter(documents=prepared.read_documents, characters=prepared.read_characters)

    def cleaned(self, document: Document, changes: Mapping[Rule, int]) -> None:
        count = Counter(documents=1, characters=len(document.text))
        self._steps["clean"] += count
        self._steps["dedup"] += count
        for rule, times in changes.items():
            self._changed[rule] += Counter(documents=1, changes=times)

    def duplicate(self, document: Document) -> None:
        self._steps["dedup"] -= Counter(documents=1, characters=len(document.text))

    def drop(self, drop: Drop) -> None:
        self.first_drop = self.first_drop or drop
        self._drops[drop.step][drop.reason] += 1

    def split(self, split: Split, text: str) -> None:
        self.splits[split] += Counter(documents=1, characters=len(text), bytes=len(text.encode("utf-8")))

    def reasons(self) -> str:
        counts = sum(self._drops.values(), Counter[str]())
        return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.most_common())

    def report(self, collected: Collected, splits: Splits) -> dict[str, object]:
        return {
            "schema": "text",
            "steps": [
                {"step": "collect", "files": len(collected.files), "bytes": collected.bytes},
                *({"step": step, **count} for step, count in self._steps.items()),
            ],
            "skipped": dict(sorted(collected.skipped.items())),
            "drops": {step: dict(sorted(reasons.items())) for step, reasons in self._drops.items()},
            "changes": {rule: dict(count) for rule, count in sorted(self._changed.items())},
            "splits": {
                split: {name: count[name] for name in ("documents", "characters", "bytes")}
                for split, count in self.splits.items()
            },
            "missing_splits": list(splits.missing),
        }


def _nothing_left(collected: Collected, tally: _Tally) -> DataError:
    drop = tally.first_drop
    because = f"; '{drop.source}' was dropped: {drop.detail}" if drop else ""
    return DataError(
        f"no text is left of {len(collected.files)} files ({tally.reasons()})",
        where=drop.source if drop else None,
        mend=f"name files that hold text, or change what is asked of them{because}",
    )

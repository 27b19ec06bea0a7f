"""From files to a dataset: each document through the steps, all of them compared, what is left split and written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, cast

from llmkit.config.sections import DedupOptions, SplitOptions
from llmkit.data.corpus.documents import DocumentsWriter
from llmkit.data.corpus.prepare import PrepareOptions, step_names
from llmkit.data.corpus.selection import Selection, SelectOptions, cluster_report, select
from llmkit.data.corpus.shardfile import ShardSet
from llmkit.data.corpus.shards import Shard, plan_shards
from llmkit.data.corpus.shardwork import ShardDone, ShardJob, lost_shard, unreadable, work_shard
from llmkit.data.corpus.tally import Tally, waterfall
from llmkit.data.dataset import DatasetResult, DatasetWriter
from llmkit.data.engine import ordered_map
from llmkit.data.sources.collect import Collected
from llmkit.data.split import SPLITS
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.decontamination.step import contamination_report
from llmkit.errors import DataError, NotFoundError
from llmkit.registry.disk import writing
from llmkit.reporting.reporter import Reporter

_WORTH_WORKERS = 4 << 20
"""Bytes of input below which worker processes cost more time to start (0.7 s) than they save (at some 2 MB/s)."""

SHARDS, SCRATCH = "shards", "scratch"
CONTAMINATION = "contamination.json"
"""Which items of evaluation sets were met in the text, and whether the documents that hold them were dropped."""

RunShards = Callable[[ShardJob, Sequence[Shard]], Iterator[ShardDone]]
"""Does shards, in any order; yields each as it is done."""


@dataclass(frozen=True)
class CorpusOptions:
    """All that decides what the dataset holds."""

    prepare: PrepareOptions = field(default_factory=PrepareOptions)
    dedup: DedupOptions = field(default_factory=DedupOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    seed: int = 0
    strict: bool = False


@dataclass(frozen=True)
class Engine:
    """Who does the work: it changes nothing about the result."""

    workers: int = 1
    kind: Literal["local", "ray"] = "local"


def build_corpus(
    collected: Collected, out: Path, options: CorpusOptions, *, work: Path, engine: Engine, reporter: Reporter
) -> DatasetResult:
    """Make a dataset of texts in the folder `out`. The result does not depend on the engine.

    Args:
        work: a folder that survives an interruption: shards that are done in it are not done again.

    Raises:
        DataError: if no document is left; it says what they were dropped for. If a document cannot be read, and the
            options are strict.
        StorageError: if `out` or `work` cannot be written.
        RunError: a worker process died.
    """
    shards = prepare_shards(collected, options, work=work, engine=engine, reporter=reporter)
    tally = Tally()
    for drop in collected.drops:
        tally.dropped(drop)
    tally.skipped(collected.examples)
    for counts in shards.tallies():
        tally.merge(counts)
    if not len(shards):
        raise _nothing_left(collected, tally)
    scratch = _fresh(work / SCRATCH)
    least = options.prepare.clean.min_chars
    chosen = SelectOptions(options.dedup, options.prepare.decontaminate, options.split, options.seed, least)
    selection = select(shards, scratch, chosen, workers=engine.workers, reporter=reporter)
    with DatasetWriter(out, "text") as writer:
        for drop in (*collected.drops, *shards.drops()):
            writer.drop(drop)
        documents = DocumentsWriter(shards, selection, writer, tally, options.prepare)
        with reporter.progress("writing documents", len(shards), unit="documents") as progress:
            documents.write(progress)
        if not any(counts["documents"] for counts in documents.splits.values()):
            raise _nothing_left(collected, tally)
        report = _report(collected, options, shards, selection, documents, tally)
        if (grams := options.prepare.grams) is not None:
            report["contamination"] = _contamination(out, grams, options.prepare, documents)
        writer.finish(report)
    rows = {split: documents.splits[split]["documents"] for split in SPLITS}
    return DatasetResult(rows, selection.missing, report)


def prepare_shards(
    collected: Collected,
    options: CorpusOptions,
    *,
    work: Path,
    engine: Engine,
    reporter: Reporter,
    part: tuple[int, int] | None = None,
) -> ShardSet:
    """Do the shards that are not done yet.

    Args:
        part: `(i, n)` does every n-th shard from the i-th on (1-based), for the jobs of an array; the set that is
            returned then holds those alone.

    Raises:
        As `build_corpus`.
    """
    if options.strict and collected.drops:
        raise unreadable(collected.drops[0])
    shards = plan_shards(collected.files)
    if part is not None:
        shards = shards[part[0] - 1 :: part[1]]
    folder = work / SHARDS
    folder.mkdir(parents=True, exist_ok=True)
    job = ShardJob(folder, options.prepare, lines=options.dedup.repeated_lines > 0, strict=options.strict)
    todo = [shard for shard in shards if not (folder / shard.name).is_dir()]
    done = sum(shard.size for shard in shards) - sum(shard.size for shard in todo)
    with reporter.progress("reading and cleaning", done + sum(s.size for s in todo), unit="B", done=done) as progress:
        for each in _runner(engine)(job, todo):
            progress.advance(each.size)
    return ShardSet([folder / shard.name for shard in shards])


def require_shards(collected: Collected, work: Path) -> None:
    """Check that every shard is done, as the merge of an array's parts asks for.

    Raises:
        NotFoundError: some are missing; it says how many.
    """
    shards = plan_shards(collected.files)
    missing = [shard for shard in shards if not (work / SHARDS / shard.name).is_dir()]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of {len(shards)} shards are not done: {', '.join(shard.name for shard in missing[:5])}"
            + (" …" if len(missing) > 5 else ""),
            where=str(work / SHARDS),
            mend="let all parts end (the same command with --shard 1/n to --shard n/n), then merge; "
            "or leave --shard out, and this run does what is missing",
        )


def _runner(engine: Engine) -> RunShards:
    if engine.kind == "ray":
        from llmkit.data.corpus.ray_engine import run_with_ray

        return run_with_ray
    return partial(_run_here, engine.workers)


def _run_here(workers: int, job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardDone]:
    worth = sum(shard.size for shard in shards) >= _WORTH_WORKERS
    yield from ordered_map(partial(work_shard, job), shards, workers=workers if worth else 1, lost=lost_shard, batch=1)


def _report(
    collected: Collected,
    options: CorpusOptions,
    shards: ShardSet,
    selection: Selection,
    documents: DocumentsWriter,
    tally: Tally,
) -> dict[str, object]:
    after = ["dedup"]
    after += ["lines"] if selection.lines is not None else []
    after += ["decontaminate"] if options.prepare.decontaminate.against else []
    counts = tally.to_json()
    steps = waterfall(counts.pop("steps"), ["read", *step_names(options.prepare), *after])
    report: dict[str, object] = {
        "schema": "text",
        "steps": [{"step": "collect", "files": len(collected.files), "bytes": collected.bytes}, *steps],
        "skipped": dict(sorted(collected.skipped.items())),
        **counts,
        "pii_mode": options.prepare.privacy.pii,
        **documents.contents.to_json(),
        "clusters": cluster_report(shards, selection.clusters),
        "splits": {
            split: {name: count[name] for name in ("documents", "characters", "bytes")}
            for split, count in documents.splits.items()
        },
        "missing_splits": list(selection.missing),
    }
    return report


def _contamination(
    out: Path, grams: EvalGrams, options: PrepareOptions, documents: DocumentsWriter
) -> dict[str, object]:
    """Record the evaluation items that were met, and return the counts of them by set."""
    found = contamination_report(grams, documents.contaminated)
    record = {"documents": options.decontaminate.contaminated, **found}
    with writing(out):
        text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
        (out / CONTAMINATION).write_text(text, encoding="utf-8")
    sets = cast("Mapping[str, Mapping[str, object]]", found["sets"])
    return {name: {key: value for key, value in counts.items() if key != "hits"} for name, counts in sets.items()}


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _nothing_left(collected: Collected, tally: Tally) -> DataError:
    first = next((samples[0] for samples in tally.samples.values() if samples), None)
    because = f"; '{first['source']}' was dropped: {first['detail']}" if first else ""
    return DataError(
        f"no text is left of {len(collected.files)} file{'s' * (len(collected.files) != 1)} ({tally.reasons()})",
        where=first["source"].rstrip(":") if first else None,
        mend=f"name files that hold text, or change what is asked of them{because}",
    )

"""`llmkit index`: documents made searchable, and kept in step with their files."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.config.trust import leaves_this_machine, user_file
from llmkit.errors import ConfigError, DataError, UnavailableError, UsageError
from llmkit.registry.values import digest_of
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.reporter import Reporter
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage
from llmkit.stages.documents import LeftOut, documents
from llmkit.stages.knowledge import INDEX_FILE, MANIFEST_FILE
from llmkit.stages.models import require_schema
from llmkit.stages.sources import (
    Fetched,
    SourcesConfig,
    as_inputs,
    collect_files,
    content_digest,
    fetch_inputs,
    find_datasets,
    name_from_inputs,
    read_options,
    with_datasets,
)

if TYPE_CHECKING:
    from llmkit.data.sources.collect import Collected
    from llmkit.registry.store import Registry
    from llmkit.retrieval.embed import Embedder
    from llmkit.retrieval.sharing import SharingEmbedder
    from llmkit.retrieval.store import View
    from llmkit.retrieval.sync import Item, Step
    from llmkit.retrieval.writer import Change, Writer
    from llmkit.stages.encoders import Encoder
    from llmkit.stages.watching import FileChanges

NONE = "none"
MORE_ROUNDS = 2
"""How often files that change while they are read are read again."""
SIZE = 254
"""Tokens of a chunk: what MiniLM reads, less its two marks."""
SAMPLE = 200
"""Chunks on which the encoder's knowledge of the language is measured."""


class IndexConfig(SourcesConfig):
    """Options of `llmkit index`."""

    embedder: str | None = option(
        None,
        "Folder, artifact, Hub id, alias or openai:URL#MODEL; none: words only. Else all-MiniLM-L6-v2.",
        command_line_only=leaves_this_machine,
    )
    store: str | None = option(
        None,
        "http://host:port of a Chroma server, else one embedded in the store.",
        command_line_only=leaves_this_machine,
    )
    chunker: Literal["structure", "sentences", "tokens"] = option(
        "structure", "Cut at headings, functions and paragraphs; after whole sentences; or every so many tokens."
    )
    chunk_size: int | None = option(
        None, "Most tokens of a chunk, in the embedder's tokens; else 254, or as many as it reads.", ge=16
    )
    overlap: int = option(32, "Tokens that a chunk repeats of the one before it.", ge=0)
    rebuild: bool = option(False, "Take every document as new: the way to another embedder or chunks.", keyed=False)
    watch: bool = option(
        False, "Stay, and index again whenever a file changes, until Ctrl-C.", keyed=False, command_line_only=bool
    )


def inputs(cfg: IndexConfig, registry: Registry, fetched: Fetched | None = None) -> Inputs:
    """Files and datasets of texts, and the encoder; where none can be had the index is of the words only."""
    if cfg.watch and cfg.rebuild:
        raise UsageError(
            "--watch with --rebuild would take every document as new at each change",
            mend="run it once with --rebuild, then with --watch",
        )
    datasets = find_datasets(cfg.inputs, registry)
    for artifact in datasets.values():
        require_schema(artifact, "text")
    files = collect_files(cfg, registry, with_datasets(fetched or Fetched(), datasets))
    return as_inputs(datasets).joined(Inputs(raw={"files": files})).joined(_find_embedder(cfg, registry))


def _size(cfg: IndexConfig, embedder: Embedder | None) -> int:
    if embedder is None:
        return cfg.chunk_size or SIZE
    if cfg.chunk_size is not None and cfg.chunk_size > embedder.max_tokens:
        raise ConfigError(
            f"chunks of {cfg.chunk_size} tokens are longer than the {embedder.max_tokens} that {embedder.name} reads",
            mend=f"use --chunk-size {embedder.max_tokens} or less: what is past the limit would not be found",
        )
    return cfg.chunk_size or min(SIZE, embedder.max_tokens)


def _find_embedder(cfg: IndexConfig, registry: Registry) -> Inputs:
    if cfg.embedder == NONE:
        return _no_encoder()
    from llmkit.stages import encoders

    try:
        return encoders.find(cfg.embedder, registry)
    except UnavailableError as error:
        if cfg.embedder is not None:
            raise
        return _no_encoder(error)


def run(cfg: IndexConfig, found: Inputs, ctx: Context) -> Outcome:
    """Bring the store in step with the files, measure what searching it needs, publish a version of it."""
    from llmkit.retrieval.chunk import ChunkSettings
    from llmkit.retrieval.store import View
    from llmkit.retrieval.sync import sync
    from llmkit.retrieval.writer import open_writer

    if cfg.store:
        from llmkit.retrieval.vectors import check_server

        check_server(cfg.store)  # before hours of embedding
    encoder = _encoder(found, ctx)
    name = cfg.name or default_name(cfg, found)
    embedder = _embedder(encoder, name, ctx)
    size = _size(cfg, embedder)
    settings = ChunkSettings(size=size, overlap=cfg.overlap, merge=min(64, size), chunker=cfg.chunker)
    collected: Collected = found.raw["files"].value
    left_out = LeftOut(ctx.reporter)
    with (
        ctx.registry.store(name) as folder,
        open_writer(folder, embedder, settings, rebuild=cfg.rebuild) as writer,
    ):
        read = _in_step(cfg, found, ctx, left_out, (writer, lambda items: sync(writer, items, embedder, settings)))
        view = View(folder, writer.version, unfinished=True)
        count, chunks = view.counts
        if not chunks:
            raise _nothing(collected, left_out.counts)
        info = _measured(cfg, view, embedder)
        change = writer.change()
        version = writer.publish(info).version
        if embedder is not None:
            _fill_chroma(cfg, folder, embedder, ctx.reporter)
    payload = {
        "change": _told(change),
        "documents": count,
        "chunks": chunks,
        "embedder": None if embedder is None else embedder.name,
        "shared": 0 if embedder is None else embedder.found,
        **left_out.told(collected),
    }
    out = ctx.work / "index"
    opening = {
        "version": version,
        "store": view.store,
        "server": cfg.store,
        "digest": encoder.digest if encoder else digest_of(NONE),
        "encoder": encoder.lasting if encoder else None,
    }
    _write(out, view, {**info, **opening}, payload)
    metrics = {"documents": count, "chunks": chunks, "abstention": info["abstention"]}
    return Outcome([Made("index", out)], metrics, payload, inputs=read)


def _told(change: Change) -> dict[str, int]:
    return {
        "added": change.added,
        "changed": change.changed,
        "removed": change.removed,
        "same": change.unchanged,
    }


def _in_step(
    cfg: IndexConfig,
    found: Inputs,
    ctx: Context,
    left_out: LeftOut,
    target: tuple[Writer, Callable[[Iterable[Item]], Iterator[Step]]],
) -> Inputs | None:
    """Take the files in; and again what changed meanwhile, until the index holds what one moment held.

    Args:
        target: the writer, and what takes items into it.

    Returns:
        what was found in the end, where that is not what was found at first.
    """
    writer, taking_in = target
    raw = found.raw["files"]
    files = raw.value.files
    before = raw.digest
    for label in ("indexing", *["files changed meanwhile"] * MORE_ROUNDS):
        left_out.again(raw.value.drops)
        incoming = documents(files, read_options(cfg, all_fields=True), writer.files(), left_out)
        with ctx.reporter.progress(label, len(files), unit="files") as bar:
            done, embedded = 0, 0
            for step in taking_in(incoming):
                done, embedded = done + step.documents, embedded + step.embedded
                left_out.repeated(step.repeated)
                bar.advance(step.files, documents=done, embedded=embedded)
        now = content_digest(raw.value, ctx.registry)
        if now == before:
            break
        before = now
    else:
        ctx.reporter.warn("files kept changing while they were read; the next run reads them again")
        before = digest_of([now, time.time_ns()])
    return None if before == raw.digest else found.joined(Inputs(raw={"files": replace(raw, digest=before)}))


def _no_encoder(error: UnavailableError | None = None) -> Inputs:
    return Inputs(raw={"embedder": Raw(NONE, digest_of(NONE), error)})


def _encoder(found: Inputs, ctx: Context) -> Encoder | None:
    from llmkit.stages.encoders import of

    raw = found.raw.get("embedder")
    if raw is None or raw.ref != NONE:
        return of(found, ctx.registry)
    if raw.value is not None:
        ctx.reporter.warn(f"searching by words only: {raw.value.message}; {raw.value.mend}")
    return None


def _embedder(encoder: Encoder | None, name: str, ctx: Context) -> SharingEmbedder | None:
    """The encoder, opened; what another index of the registry has embedded it does not embed again."""
    if encoder is None:
        return None
    from llmkit.retrieval.sharing import SharingEmbedder

    stores = ctx.registry.layout.stores
    others = sorted(stores.iterdir()) if stores.is_dir() else []
    if leaves_this_machine(encoder.lasting):
        ctx.reporter.warn(
            f"these texts go to {encoder.lasting}; for questions to go there too, `llmkit ask` wants its address under "
            f"allow_endpoints in {user_file()}"
        )
    return SharingEmbedder(encoder.open(), [folder for folder in others if folder.name != name])


def _measured(cfg: IndexConfig, view: View, embedder: Embedder | None) -> dict[str, Any]:
    """What searching needs to know of this version: how far to trust the encoder, and when to say nothing."""
    from llmkit.answering.abstain import calibrate
    from llmkit.retrieval.language import Fusion, measure_fusion
    from llmkit.retrieval.search import Searcher

    fusion = Fusion()
    if embedder is not None:
        fusion = measure_fusion(embedder, [chunk.embedded for chunk in view.sample(SAMPLE, cfg.seed)])
    searcher = Searcher(view, embedder, fusion)
    return {"fusion": fusion.to_json(), "abstention": calibrate(searcher, seed=cfg.seed).to_json()}


def _fill_chroma(cfg: IndexConfig, folder: Path, embedder: Embedder, reporter: Reporter) -> None:
    from llmkit.retrieval.vectors import ChromaVectors

    chroma = ChromaVectors(folder, embedder.digest, server=cfg.store)
    try:
        with reporter.progress("vectors into Chroma", unit="vectors") as bar:
            for sent in chroma.catch_up():
                bar.advance(sent)
    finally:
        chroma.close()


def _write(out: Path, view: View, info: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    body = {**info, "embedder": payload["embedder"], "documents": payload["documents"], "chunks": payload["chunks"]}
    (out / INDEX_FILE).write_text(json.dumps(body, indent=1), encoding="utf-8")
    with (out / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        for row in view.manifest():
            file.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")


def _nothing(collected: Collected, drops: Counter[str]) -> DataError:
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in drops.most_common())
    return DataError(
        f"no text in {len(collected.files)} files" + (f" ({reasons})" if reasons else ""),
        mend="name files that hold text",
    )


def watch(cfg: IndexConfig, registry: Registry) -> AbstractContextManager[FileChanges] | None:
    """What tells of changed files, where that is asked for."""
    if not cfg.watch:
        return None
    from llmkit.stages.watching import watched

    return watched(cfg.inputs, [registry.home])


def default_name(cfg: IndexConfig, found: Inputs) -> str:
    """The dataset's name, or the first input's, as an index."""
    name = found.artifacts["data"].name if "data" in found.artifacts else name_from_inputs(cfg)
    return f"{name}-index"


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """`+3 ~1 -2 =4,512`, what it holds, and what was left out."""
    change = payload["change"]
    words = f"+{change['added']:,} ~{change['changed']:,} -{change['removed']:,} ={change['same']:,} documents"
    how = f"embedded by {payload['embedder']}" if payload["embedder"] else "words only, no vectors"
    if payload.get("shared"):
        how += f" ({payload['shared']:,} vectors were in another index)"
    blocks: list[Block] = [Line(f"{words}; {payload['chunks']:,} chunks, {how}")]
    examples = payload["examples"]
    counts = Counter(payload["skipped"]) + Counter(payload["drops"])
    left = [(reason.replace("_", " "), count, examples.get(reason, "")) for reason, count in sorted(counts.items())]
    if left:
        blocks.append(Table(("left out", "count", "for example"), left, "", frozenset({1})))
    return blocks


def unchanged(payload: Mapping[str, Any], found: Inputs) -> Mapping[str, Any]:
    """The same, when nothing had to be done: every document is as it was. What is skipped today is counted today."""
    change = {"added": 0, "changed": 0, "removed": 0, "same": payload["documents"]}
    return {**payload, "change": change, "skipped": dict(found.raw["files"].value.skipped)}


def headline(payload: Mapping[str, Any]) -> str:
    """`163 documents, 4,512 chunks`."""
    return f"{payload['documents']:,} documents, {payload['chunks']:,} chunks"


STAGE = Stage(
    name="index",
    version=2,
    kind="index",
    config=IndexConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
    unchanged=unchanged,
    fetch=fetch_inputs,
    watch=watch,
    renamable=False,
)

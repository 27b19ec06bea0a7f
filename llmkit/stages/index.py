"""`llmkit index`: documents made searchable, and kept in step with their files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.base import option
from llmkit.errors import ConfigError, DataError, UnavailableError
from llmkit.registry.digests import DIGEST_AREA
from llmkit.registry.values import digest_of
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.reporter import Reporter
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage
from llmkit.stages.knowledge import INDEX_FILE, MANIFEST_FILE
from llmkit.stages.sources import FilesConfig, collect_files, name_from_inputs

if TYPE_CHECKING:
    from llmkit.data.sources.collect import Collected
    from llmkit.registry.store import Registry
    from llmkit.retrieval.embed import Embedder
    from llmkit.retrieval.store import View
    from llmkit.retrieval.sync import Incoming, Unchanged
    from llmkit.retrieval.writer import Writer
    from llmkit.text.document import Document

NONE = "none"
SAMPLE = 200
"""Chunks on which the encoder's knowledge of the language is measured."""


class IndexConfig(FilesConfig):
    """Options of `llmkit index`."""

    embedder: str | None = option(
        None, "A sentence-transformers folder or Hub id; none: full text only. Else all-MiniLM-L6-v2."
    )
    store: str | None = option(
        None, "http://host:port of a Chroma server, else one embedded in the store.", keyed=False
    )
    chunk_size: int = option(254, "Most tokens of a chunk, in the embedder's tokens.", ge=16)
    overlap: int = option(32, "Tokens that a chunk repeats of the one before it.", ge=0)
    rebuild: bool = option(False, "Take every document as new: the way to another embedder or chunk size.", keyed=False)


def inputs(cfg: IndexConfig, registry: Registry) -> Inputs:
    """The files, and the encoder; where none can be had the index is of the words only."""
    files = collect_files(cfg, registry)
    if cfg.embedder == NONE:
        return Inputs(raw={"files": files, "embedder": _no_encoder()})
    from llmkit.retrieval.embed import find_encoder

    try:
        found = find_encoder(_lasting(cfg.embedder), cache=_digest_memory(registry))
    except UnavailableError as error:
        if cfg.embedder is not None:
            raise
        return Inputs(raw={"files": files, "embedder": _no_encoder(error)})
    return Inputs(raw={"files": files, "embedder": Raw(found.name, found.digest, _lasting(cfg.embedder))})


def run(cfg: IndexConfig, found: Inputs, ctx: Context) -> Outcome:
    """Bring the store in step with the files, measure what searching it needs, publish a version of it."""
    from llmkit.retrieval.chunk import ChunkSettings
    from llmkit.retrieval.store import View
    from llmkit.retrieval.sync import sync
    from llmkit.retrieval.writer import open_writer

    embedder = _embedder(found, ctx)
    if embedder is not None and cfg.chunk_size > embedder.max_tokens:
        raise ConfigError(
            f"chunks of {cfg.chunk_size} tokens are longer than the {embedder.max_tokens} that {embedder.name} reads",
            mend=f"use --chunk-size {embedder.max_tokens} or less: what is past the limit would not be found",
        )
    settings = ChunkSettings(size=cfg.chunk_size, overlap=cfg.overlap, merge=min(64, cfg.chunk_size))
    collected: Collected = found.raw["files"].value
    drops: Counter[str] = Counter()
    with (
        ctx.registry.store(cfg.name or default_name(cfg, found)) as folder,
        open_writer(folder, embedder, settings, rebuild=cfg.rebuild) as writer,
    ):
        incoming = _incoming(cfg, collected, writer, drops, ctx.reporter)
        with ctx.reporter.progress("indexing", len(collected.files), unit="documents") as bar:
            embedded = 0
            for step in sync(writer, incoming, embedder, settings):
                embedded += step.embedded
                bar.advance(step.documents, embedded=embedded)
        view = View(folder, writer.version, unfinished=True)
        documents, chunks = view.counts
        if not chunks:
            raise _nothing(collected, drops)
        info = _measured(cfg, view, embedder)
        change = writer.change()
        version = writer.publish(info).version
        if embedder is not None:
            _fill_chroma(cfg, folder, embedder, ctx.reporter)
    payload = {
        "change": {
            "added": change.added,
            "changed": change.changed,
            "removed": change.removed,
            "same": change.unchanged,
        },
        "documents": documents,
        "chunks": chunks,
        "embedder": None if embedder is None else embedder.name,
        "skipped": dict(collected.skipped),
        "drops": dict(drops),
    }
    out = ctx.work / "index"
    encoder = found.raw["embedder"]
    opening = {"version": version, "server": cfg.store, "digest": encoder.digest, "encoder": None}
    if embedder is not None:
        opening["encoder"] = encoder.value
    _write(out, view, {**info, **opening}, payload)
    return Outcome([Made("index", out)], {"documents": documents, "chunks": chunks}, payload)


def _no_encoder(error: UnavailableError | None = None) -> Raw:
    return Raw(NONE, digest_of(NONE), error)


def _embedder(found: Inputs, ctx: Context) -> Embedder | None:
    raw = found.raw["embedder"]
    if raw.ref != NONE:
        from llmkit.retrieval.embed import open_embedder

        return open_embedder(raw.value, cache=_digest_memory(ctx.registry))
    if raw.value is not None:
        ctx.reporter.warn(f"searching by words only: {raw.value.message}; {raw.value.mend}")
    return None


def _lasting(ref: str | None) -> str | None:
    """An encoder's reference that means the same from any directory."""
    return str(Path(ref).expanduser().resolve()) if ref and Path(ref).expanduser().is_dir() else ref


def _digest_memory(registry: Registry) -> Path | None:
    return registry.layout.cache / DIGEST_AREA if registry.home.is_dir() else None


def _incoming(
    cfg: IndexConfig, collected: Collected, writer: Writer, drops: Counter[str], reporter: Reporter
) -> Iterator[Incoming | Unchanged]:
    """Every document, read anew only where its file's stamp says that it may have changed."""
    from llmkit.data.drops import Drop
    from llmkit.data.readers.base import ReadOptions
    from llmkit.data.readers.table import read_file
    from llmkit.retrieval.sync import Incoming, Unchanged, unchanged_sources
    from llmkit.retrieval.writer import UNKNOWN, Stamp

    known = {} if cfg.rebuild else unchanged_sources(writer)
    for file in collected.files:
        source, stamp = str(file.path), Stamp.of(str(file.path))
        if stamp != UNKNOWN and stamp == known.get(source):
            yield Unchanged(source)
            continue
        for item in read_file(file.path, ReadOptions(cfg.text_field)):
            if isinstance(item, Drop):
                drops[item.reason] += 1
                if item.reason != "empty":  # nobody misses those; they are counted
                    reporter.warn(f"{item.source}: {item.detail}")
            else:
                yield Incoming(_with_language(item), stamp)


def _with_language(document: Document) -> Document:
    """The document with its language among its facts: as its record says, else as its text tells; of code, none."""
    from llmkit.data.media import is_code
    from llmkit.data.steps.language import KNOWN_LANGUAGES, identify
    from llmkit.retrieval.facts import LANGUAGE

    if is_code(document.media):
        return document
    said = document.meta.get("language")
    language = said if said in KNOWN_LANGUAGES else identify(document.text).language
    return replace(document, meta={**document.meta, LANGUAGE: language})


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


def default_name(cfg: IndexConfig, found: Inputs) -> str:
    """The first input's name, as an index."""
    return f"{name_from_inputs(cfg)}-index"


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """`+3 ~1 -2 =4,512`, what it holds, and what was left out."""
    change = payload["change"]
    words = f"+{change['added']:,} ~{change['changed']:,} -{change['removed']:,} ={change['same']:,} documents"
    how = f"embedded by {payload['embedder']}" if payload["embedder"] else "words only, no vectors"
    blocks: list[Block] = [Line(f"{words}; {payload['chunks']:,} chunks, {how}")]
    left = [
        (reason.replace("_", " "), count) for part in ("skipped", "drops") for reason, count in payload[part].items()
    ]
    if left:
        blocks.append(Table(("left out", "count"), left, "", frozenset({1})))
    return blocks


def headline(payload: Mapping[str, Any]) -> str:
    """`163 documents, 4,512 chunks`."""
    return f"{payload['documents']:,} documents, {payload['chunks']:,} chunks"


STAGE = Stage(
    name="index",
    version=1,
    kind="index",
    config=IndexConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
    renamable=False,
)

"""A published index, opened for searching: its version of the store, its encoder, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from llmkit.answering.abstain import Calibration
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.retrieval.embed import Embedder
    from llmkit.retrieval.search import Nearest, Searcher
    from llmkit.retrieval.store import View
    from llmkit.retrieval.where import Where

INDEX_FILE = "index.json"
"""In an index artifact: the store's version, the encoder's digest, fusion weights, the abstention threshold."""
MANIFEST_FILE = "documents.jsonl"
"""In an index artifact: every document with the digests of its text and chunks."""


@dataclass(frozen=True)
class Knowledge:
    """An open index."""

    artifact: Artifact
    searcher: Searcher
    calibration: Calibration


@contextmanager
def opened(artifact: Artifact, registry: Registry, *, where: str | None = None) -> Iterator[Knowledge]:
    """The index, until the block ends.

    Args:
        where: a filter; only the chunks that fulfil it are searched.

    Raises:
        UsageError: `where` is no filter, or asks for a field that no document has.
        DataError: its store is damaged, or the installed encoder is not the one it was built with.
        NotFoundError: its store is gone, or no document fulfils the filter.
    """
    from llmkit.answering.abstain import Calibration
    from llmkit.retrieval.language import Fusion
    from llmkit.retrieval.search import Searcher
    from llmkit.retrieval.store import View
    from llmkit.retrieval.where import parse

    wanted = None if where is None else parse(where)
    info = _info(artifact)
    folder = registry.store_path(artifact.name)
    embedder = _embedder(info, artifact, registry)
    notes: list[str] = []
    with ExitStack() as stack:
        view = View(folder, info["version"])
        stack.callback(view.close)
        if info.get("store", view.store) != view.store:
            raise DataError(
                f"{artifact.ref} belongs to a store that is gone; the one here was made after it",
                where=str(folder),
                mend=f"ask a newer version of {artifact.name}, and remove this one: llmkit registry rm {artifact.ref}",
            )
        searcher = Searcher(
            view,
            embedder,
            Fusion.from_json(info["fusion"]),
            near=lambda: _near(folder, embedder, info, stack, notes),
            where=wanted,
            notes=notes,
        )
        if wanted is not None and not searcher.count:
            raise _nothing_left(wanted, view, artifact)
        yield Knowledge(artifact, searcher, Calibration.from_json(info["abstention"]))


def narrowed(knowledge: Knowledge) -> list[str]:
    """Where a filter left documents out, that it did, in words: what was asked may stand in those."""
    searcher = knowledge.searcher
    if searcher.where is None:
        return []
    documents, chunks = searcher.view.counts
    return [
        f"only {searcher.count:,} of {chunks:,} chunks of {documents:,} documents were searched: "
        f"--where {searcher.where.text}"
    ]


def rows_as_published(artifact: Artifact, store: Path) -> list[str]:
    """What of an index version's rows is not as it was published, in words; empty where all are."""
    from llmkit.retrieval.store import View

    lines = (artifact.path / MANIFEST_FILE).read_text(encoding="utf-8").splitlines()
    recorded = {row["document"]: row for row in map(json.loads, lines)}
    view = View(store, _info(artifact)["version"])
    try:
        stored = {row.document: row._asdict() for row in view.manifest()}
    finally:
        view.close()
    wrong = [row["source"] for key, row in recorded.items() if stored.get(key) != row]
    extra = [row["source"] for key, row in stored.items() if key not in recorded]
    return [f"rows of {source} are not as published" for source in wrong] + [f"{source} was added" for source in extra]


def _info(artifact: Artifact) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((artifact.path / INDEX_FILE).read_text(encoding="utf-8"))
    return info


def _embedder(info: dict[str, Any], artifact: Artifact, registry: Registry) -> Embedder | None:
    if info["embedder"] is None:
        return None
    from llmkit.stages.encoders import reopened

    return reopened(info["encoder"], info["digest"], artifact.ref, registry)


def _near(
    folder: Path, embedder: Embedder | None, info: dict[str, Any], stack: ExitStack, notes: list[str]
) -> Nearest | None:
    """Chroma, for an index too large to compare every vector; None where it is not in step (then all are compared)."""
    if embedder is None:
        return None
    from llmkit.retrieval.vectors import ChromaVectors

    chroma = ChromaVectors(folder, embedder.digest, server=info["server"])
    stack.callback(chroma.close)
    if chroma.in_step():
        return chroma
    what = f"the Chroma server at {info['server']}" if info["server"] else "Chroma"
    notes.append(
        f"{what} does not hold this index's vectors: every vector in SQLite was compared instead (slower, not worse); "
        "`llmkit index repair` brings it back"
    )
    return None


def _nothing_left(where: Where, view: View, artifact: Artifact) -> NotFoundError:
    """What to say of a filter that no document fulfils: which values there are instead."""
    from llmkit.retrieval.where import compares

    fields = dict.fromkeys(part.field for part in compares(where.condition))
    said = []
    for field in list(fields)[:3]:
        values = [f"{'(none)' if value is None else value} ({count:,})" for value, count in view.values_of(field)]
        said.append(f"{field}: {', '.join(values)}")
    return NotFoundError(
        f"no document of {artifact.ref} fulfils {where.text}",
        where="--where",
        mend="the most frequent values, each with its number of documents: " + "; ".join(said),
    )

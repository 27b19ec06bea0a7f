"""A published index, opened for searching: its version of the store, its encoder, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError
from llmkit.registry.digests import DIGEST_AREA

if TYPE_CHECKING:
    from llmkit.answering.abstain import Calibration
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.retrieval.embed import Embedder
    from llmkit.retrieval.search import Nearest, Searcher

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
def opened(artifact: Artifact, registry: Registry) -> Iterator[Knowledge]:
    """The index, until the block ends.

    Raises:
        DataError: its store is damaged, or the installed encoder is not the one it was built with.
        NotFoundError: its store is gone.
    """
    from llmkit.answering.abstain import Calibration
    from llmkit.retrieval.language import Fusion
    from llmkit.retrieval.search import Searcher
    from llmkit.retrieval.store import View

    info = _info(artifact)
    folder = registry.store_path(artifact.name)
    embedder = _embedder(info, artifact, registry)
    view = View(folder, info["version"])
    try:
        searcher = Searcher(
            view, embedder, Fusion.from_json(info["fusion"]), near=lambda: _near(folder, embedder, info)
        )
        yield Knowledge(artifact, searcher, Calibration.from_json(info["abstention"]))
    finally:
        view.close()


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
    from llmkit.retrieval.embed import open_embedder

    cache = registry.layout.cache / DIGEST_AREA
    embedder = open_embedder(info["encoder"], cache=cache)
    if embedder.digest != info["digest"]:
        raise DataError(
            f"{artifact.ref} was built with another {info['embedder']} than the one that is here",
            mend="build it again: `llmkit index ... --rebuild`, or bring back the encoder it was built with",
        )
    return embedder


def _near(folder: Path, embedder: Embedder | None, info: dict[str, Any]) -> Nearest | None:
    """Chroma, for an index too large to compare every vector; None where it is not in step (then all are compared)."""
    if embedder is None:
        return None
    from llmkit.retrieval.vectors import ChromaVectors

    chroma = ChromaVectors(folder, embedder.digest, server=info["server"])
    return chroma if chroma.in_step() else None

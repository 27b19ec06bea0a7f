"""The real encoder, and a small real corpus indexed once."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.embed import Embedder, Role, Vectors, open_embedder
from llmkit.retrieval.sync import Incoming, sync
from llmkit.retrieval.writer import Change, open_writer
from llmkit.text.document import Document

MODULES = (
    "hashlib",
    "bisect",
    "textwrap",
    "shlex",
    "glob",
    "fnmatch",
    "colorsys",
    "sched",
    "nturl2path",
    "keyword",
    "this",
)


def module(name: str) -> Document:
    path = Path(sysconfig.get_path("stdlib"), f"{name}.py")
    return Document(str(path), path.read_text(encoding="utf-8"), "text/x-python")


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    return open_embedder()


class Hashed:
    """Bags of hashed words: the counting and the shape of an encoder, where its knowledge does not matter."""

    name, digest, dimension, max_tokens = "hashed", "0" * 64, 32, 254

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        self.texts += texts
        out = np.full((len(texts), self.dimension), 1e-3, dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.lower().split():
                row[sum(word.encode("utf-8", "replace")) % self.dimension] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def unknown_tokens(self, texts: Sequence[str]) -> int:
        return 0


@pytest.fixture
def hashed() -> Hashed:
    return Hashed()


def build(folder: Path, documents: Iterable[Document], embedder: Embedder | None, *, rebuild: bool = False) -> Change:
    """One run of an index over all its documents, published."""
    settings = ChunkSettings()
    with open_writer(folder, embedder, settings, rebuild=rebuild) as writer:
        for _ in sync(writer, (Incoming(document) for document in documents), embedder, settings):
            pass
        change = writer.change()
        if change:
            writer.publish({"fusion": {"spaced": 0.5, "unspaced": 0.5}})
        return change


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Path:
    """An index of some modules of the standard library."""
    folder = tmp_path_factory.mktemp("library")
    build(folder, [module(name) for name in MODULES], minilm)
    return folder

"""A small real corpus in files of its own, indexed with the real encoder and calibrated."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmkit.answering.abstain import Calibration, calibrate
from llmkit.errors import NotFoundError
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.embed import open_embedder
from llmkit.retrieval.language import Fusion, measure_fusion
from llmkit.retrieval.search import Searcher
from llmkit.retrieval.store import View
from llmkit.retrieval.sync import Incoming, sync
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

MODULES = ("hashlib", "bisect", "textwrap", "shlex", "glob", "fnmatch", "colorsys", "sched", "heapq", "keyword")
TEMPLE = """東大寺の歴史

東大寺は、奈良県奈良市にある寺院である。聖武天皇が国力を尽くして建立した。本尊の盧舎那仏は「奈良の大仏」として知られる。
大仏の高さは約15メートルである。1180年に平重衡の兵火で焼失し、重源が再建を進めた。1567年にも松永久秀の戦いで焼けた。

正倉院には、聖武天皇の遺品が収められている。宝物の点検は毎年秋に行われる。
"""


@dataclass(frozen=True)
class Corpus:
    folder: Path
    searcher: Searcher
    calibration: Calibration


def read(source: str, record: str) -> Document:
    path = Path(source)
    if not path.is_file():
        raise NotFoundError(f"no such file: {source}")
    media = "text/x-python" if path.suffix == ".py" else "text/plain"
    return Document(source, path.read_text(encoding="utf-8"), media, record)


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Corpus]:
    def make(files: dict[str, str]) -> Corpus:
        folder = tmp_path_factory.mktemp("corpus")
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        documents = [read(str(folder / name), "") for name in files]
        embedder, settings = open_embedder(), ChunkSettings()
        with open_writer(folder / "index", embedder, settings) as writer:
            for _ in sync(writer, [Incoming(document) for document in documents], embedder, settings):
                pass
            writer.publish({})
        view = View(folder / "index")
        fusion = measure_fusion(embedder, [chunk.embedded for chunk in view.sample(50, 0)])
        searcher = Searcher(view, embedder, fusion)
        return Corpus(folder, searcher, calibrate(searcher, seed=0))

    return make


@pytest.fixture(scope="session")
def library(make_corpus) -> Corpus:
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = {f"{name}.py": (stdlib / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    return make_corpus({**files, "temple.txt": TEMPLE})


@pytest.fixture
def lexical(library: Corpus) -> Searcher:
    return Searcher(library.searcher.view, None, Fusion())

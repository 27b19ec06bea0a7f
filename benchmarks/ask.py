"""How quick is asking an index of 100,000 chunks: its searches, and one cold `llmkit ask` as a whole process.

Run from the repository's root: `python benchmarks/ask.py [--chunks N] [--keep FOLDER] [--repeat N]`. Texts are real:
whatever of ../shared/data is there (SciFact, SQuAD, JaQuAD, WikiText, Gutenberg), the standard library's source, then
that of installed packages until there are enough. The index is made by `llmkit index` itself.

Only one thing is not what a user gets: the chunks' vectors are the means of MiniLM's input embeddings of their tokens,
which takes a minute where the whole encoder takes twenty. They are as long, as many and as crowded as real ones, so
times, memory and sizes are those of a real index; what is found by them is not, and no quality is measured here (that
is retrieval.py). `--real` embeds with the whole encoder.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from side_by_side import hardware, watched

from llmkit.registry.disk import tree_size
from llmkit.registry.store import Registry
from llmkit.retrieval import embed
from llmkit.retrieval.embed import Embedder, Role, Vectors
from llmkit.retrieval.search import Mode
from llmkit.stages.knowledge import Knowledge, opened

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NAME = "bench"
CHUNK_TOKENS = 96
MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid")
QUESTIONS = 200
SEED = 0


class Pooled:
    """MiniLM's token embeddings, averaged: a real encoder's first layer. It passes for the encoder (same digest)."""

    def __init__(self, encoder: Embedder) -> None:
        from safetensors.numpy import load_file

        folder = embed.find_encoder(None).path
        self.name, self.digest = encoder.name, encoder.digest
        self.dimension, self.max_tokens = encoder.dimension, encoder.max_tokens
        self.count_tokens, self.unknown_tokens = encoder.count_tokens, encoder.unknown_tokens
        self._tokenizer: Any = encoder._tokenizer  # type: ignore[attr-defined]  # the benchmark knows that it is a BERT
        table = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
        self._table = (table - table.mean(axis=0)).astype(np.float32)

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, encoding in zip(out, self._tokenizer.encode_batch_fast(list(texts)), strict=True):
            row[:] = self._table[encoding.ids].mean(axis=0)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def texts() -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Sets of documents as `(name, kind, rows)`, real data first."""
    if (folder := DATA / "scifact").is_dir():
        with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
            yield "scifact", "jsonl", [{"title": r["title"], "text": r["text"]} for r in map(json.loads, file)]
    for name in ("squad", "jaquad"):
        for file_ in sorted((DATA / name).glob("*.json")):
            articles = json.loads(file_.read_text(encoding="utf-8"))["data"]
            rows = [{"title": a["title"], "text": p["context"]} for a in articles for p in a["paragraphs"]]
            yield file_.stem, "jsonl", rows
    for pattern in ("wikitext2/*.txt", "gutenberg/*.txt", "shakespeare/*.txt"):
        for file_ in sorted(DATA.glob(pattern)):
            yield file_.stem, "txt", [{"text": file_.read_text(encoding="utf-8", errors="replace")}]
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    for root in roots:
        for file_ in sorted(root.rglob("*.py")):
            inside = file_.relative_to(root)
            if "site-packages" in inside.parts or "test" in inside.as_posix():
                continue
            yield inside.as_posix().replace("/", "__"), "py", [{"text": file_.read_text("utf-8", errors="replace")}]


def gather(folder: Path, chunks: int) -> None:
    """Writes as many texts as give about so many chunks, most of 3.6 characters a token and filled to 80%."""
    folder.mkdir(parents=True)
    left = chunks * CHUNK_TOKENS * 3.1
    for name, kind, rows in texts():
        if left <= 0:
            return
        left -= sum(len(row["text"]) for row in rows)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows] if kind == "jsonl" else [rows[0]["text"]]
        (folder / f"{name.removesuffix('.py')}.{kind}").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    print("all installed source is in it, and it is not as much as asked for")


def build(place: Path, chunks: int, *, real: bool) -> None:
    """`llmkit index` over the gathered texts, into a registry of its own."""
    from llmkit.cli.app import main

    gather(place / "texts", chunks)
    if not real:
        pooled = Pooled(embed.open_embedder())
        embed.open_folder = lambda *args, **more: pooled
    started = time.perf_counter()
    if main(["index", str(place / "texts"), "--name", NAME, "--chunk-size", str(CHUNK_TOKENS), "--overlap", "8"]):
        raise SystemExit("the index could not be built")
    print(f"built in {time.perf_counter() - started:.0f} s ({'MiniLM' if real else 'token means of MiniLM'})\n")


def questions(knowledge: Knowledge) -> list[str]:
    """Sentences of the indexed texts, as a user asks: half of a dozen words each, common ones among them."""
    asked = []
    for chunk in knowledge.searcher.view.sample(QUESTIONS * 2, SEED):
        words = chunk.text.split()
        if len(words) > 12:
            asked.append("How does " + " ".join(words[2:12]) + "?")
    return asked[:QUESTIONS]


class Remembered:
    """The index's encoder, asked for each question before the clock starts."""

    def __init__(self, encoder: Embedder, asked: Sequence[str]) -> None:
        self.name, self.digest = encoder.name, encoder.digest
        self.dimension, self.max_tokens = encoder.dimension, encoder.max_tokens
        self.count_tokens, self.unknown_tokens = encoder.count_tokens, encoder.unknown_tokens
        self._known = {text: encoder.encode([text], role="query")[0] for text in asked}

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        return np.stack([self._known[text] for text in texts])


def search(knowledge: Knowledge, asked: Sequence[str], repeat: int) -> None:
    searcher = replace(knowledge.searcher, embedder=Remembered(Pooled(embed.open_embedder()), asked))
    print(f"\n{len(asked)} questions, the vector of each already made; milliseconds, the best of {repeat} rounds")
    for exact, how in ((10**9, "every vector compared"), (0, "by Chroma, which llmkit asks only above 250,000 chunks")):
        one = replace(searcher, exact=exact)
        for mode in MODES if exact else MODES[1:]:
            one.search(asked[0], mode=mode)  # opens what is opened once
            rounds = [[timed(partial(one.search, q, most=10, mode=mode)) for q in asked] for _ in range(repeat)]
            best = np.min(np.array(rounds), axis=0) * 1000
            p50, p95 = np.percentile(best, [50, 95])
            print(f"  {mode:8} p50 {p50:6.2f}  p95 {p95:6.2f}   {how if mode != 'lexical' else ''}", flush=True)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cold(asked: Sequence[str], home: Path, repeat: int) -> None:
    """One whole `llmkit ask` after another, each a process of its own."""
    command = [sys.executable, "-m", "llmkit", "ask", "--index", NAME, "--json", "--no-log"]
    known = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, check=True).stdout
    command = command if "--no-log" in known else command[:-1]
    os.environ["LLMKIT_HOME"] = str(home)
    seconds, peaks = [], []
    for question in asked[:repeat]:
        started = time.perf_counter()
        _, peak = watched([*command, question], home)
        seconds.append(time.perf_counter() - started)
        peaks.append(peak)
    said = f"median {statistics.median(seconds):.2f} s of {repeat}, worst {max(seconds):.2f} s"
    print(f"\none cold `llmkit ask`: {said}, peak memory {max(peaks):.0f} MiB")


def memory(knowledge: Knowledge, question: str) -> None:
    """What a process keeps of an index once it has searched it."""
    searcher = replace(knowledge.searcher, embedder=Remembered(Pooled(embed.open_embedder()), [question]))
    before = psutil.Process().memory_info().rss
    searcher.search(question)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    print(f"  memory of a searching process {grown * 100_000 / knowledge.searcher.view.counts[1]:.0f} MiB")


def sizes(knowledge: Knowledge, store: Path) -> None:
    documents, chunks = knowledge.searcher.view.counts
    share = 100_000 / chunks
    print(f"{chunks:,} chunks of {documents:,} documents; per 100,000 chunks:")
    for name, path in (("SQLite", store / "index.sqlite"), ("Chroma", store / "chroma")):
        print(f"  {name} on disk {tree_size(path) * share / 2**20:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="keep the index here, and use it if it is there")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    place = options.keep or Path(tempfile.mkdtemp())
    home = place / "home"
    os.environ["LLMKIT_HOME"] = str(home)
    try:
        print(f"{hardware()}")
        if not (home / "artifacts").is_dir():
            build(place, options.chunks, real=options.real)
        registry = Registry(home)
        with opened(registry.resolve(NAME, "index"), registry) as knowledge:
            asked = questions(knowledge)
            sizes(knowledge, registry.store_path(NAME))
            memory(knowledge, asked[0])
            search(knowledge, asked, options.repeat)
        cold(asked, home, options.repeat)
    finally:
        if not options.keep:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()

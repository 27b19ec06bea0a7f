"""How good is retrieval, beside Chroma and BM25 as they come; do quotes verify; does the index know what it lacks?

Run from the repository's root: `python benchmarks/retrieval.py [scifact|squad|jaquad|abstention ...]`. Reads real data
from ../shared/data, which is not part of the repository; a set that is not there is skipped. What is llmkit's goes
through its own chunker, index and search, as a user's documents do. Beside it, on the same documents and questions:

    words only   llmkit's index where no encoder can be had (no extra installed)
    Chroma       a collection with its defaults, chunks of 1,000 characters that overlap by 200, vectors of the same
                 all-MiniLM-L6-v2
    BM25         bm25s with its defaults over whole documents, and over pairs of characters where a language writes no
                 spaces; of the `dev` extra, else it is left out

Titles belong to the text for all of them. Quotes are those of `llmkit ask` without a model: each must stand at its
place in its document, word for word.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmkit.answering.abstain import calibrate, evidence
from llmkit.answering.compose import answer
from llmkit.models.sentence_files import Role
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.embed import Embedder, Vectors, open_embedder
from llmkit.retrieval.language import Fusion, measure_fusion
from llmkit.retrieval.lexical import has_unspaced
from llmkit.retrieval.search import Mode, Searcher
from llmkit.retrieval.store import View
from llmkit.retrieval.sync import Incoming, sync
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid")
SEED = 0
QUOTED = 300
"""Questions of a set whose quotes are looked up."""
PLAIN_CHUNK, PLAIN_OVERLAP = 1000, 200
"""Characters: what most tutorials for Chroma cut."""
BARS = {"scifact": 0.72, "squad": 0.90, "jaquad": 0.90}
"""nDCG@10 that is promised; of Japanese, with no extra installed."""


class Benchmark(NamedTuple):
    """Documents, and questions with the ids of their relevant documents (grade 1)."""

    documents: list[Document]
    questions: list[tuple[str, frozenset[str]]]


class Remembering:
    """An embedder that embeds all questions at once, so that the modes are compared on the same vectors."""

    def __init__(self, embedder: Embedder, questions: Sequence[str]) -> None:
        self.name, self.digest = embedder.name, embedder.digest
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens
        self.count_tokens, self.unknown_tokens = embedder.count_tokens, embedder.unknown_tokens
        self._embedder = embedder
        self._known = dict(zip(questions, embedder.encode(questions, role="query"), strict=True))

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        if all(text in self._known for text in texts):
            return np.stack([self._known[text] for text in texts])
        return self._embedder.encode(texts, role=role)


def scifact() -> Benchmark:
    folder = DATA / "scifact"
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    documents = [Document(f"scifact:{row['_id']}", row["text"], meta={"title": row["title"]}) for row in rows]
    ids = {row["_id"]: document.id for row, document in zip(rows, documents, strict=True)}
    relevant: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels_test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant[query].add(ids[document])
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    return Benchmark(
        documents, [(row["text"], frozenset(relevant[row["_id"]])) for row in queries if row["_id"] in relevant]
    )


def squad() -> Benchmark:
    return _paragraphs([DATA / "squad" / "squad2_16_articles.json"])


def jaquad() -> Benchmark:
    return _paragraphs(sorted((DATA / "jaquad").glob("jaquad_dev_*.json")))


def _paragraphs(files: Sequence[Path], *, articles: slice = slice(None)) -> Benchmark:
    """Each paragraph a document; its answerable questions ask for it."""
    documents, questions = [], []
    entries = [article for file in files for article in json.loads(file.read_text(encoding="utf-8"))["data"]]
    for number, article in enumerate(entries[articles]):
        for place, paragraph in enumerate(article["paragraphs"]):
            document = Document(f"squad:{number}.{place}", paragraph["context"], record=f"{number}.{place}")
            documents.append(document)
            answerable = [row for row in paragraph["qas"] if not row.get("is_impossible")]
            questions += [(row["question"], frozenset([document.id])) for row in answerable]
    return Benchmark(documents, questions)


def index(folder: Path, documents: Sequence[Document], embedder: Embedder | None) -> Searcher:
    settings = ChunkSettings()
    with open_writer(folder, embedder, settings) as writer:
        for _ in sync(writer, (Incoming(document) for document in documents), embedder, settings):
            pass
        view = View(folder, writer.version, unfinished=True)
        fusion = (
            measure_fusion(embedder, [chunk.embedded for chunk in view.sample(200, SEED)]) if embedder else Fusion()
        )
        writer.publish({"fusion": fusion.to_json()})
        if embedder:
            chroma = ChromaVectors(folder, embedder.digest)
            list(chroma.catch_up())
            chroma.close()
    return Searcher(View(folder), embedder, fusion)


def ranked(searcher: Searcher, question: str, mode: Mode) -> list[str]:
    """Document ids, best first, ten of them."""
    hits = searcher.search(question, most=40, mode=mode)
    return list(dict.fromkeys(hit.chunk.document for hit in hits))[:10]


def ndcg(ranking: Sequence[str], relevant: frozenset[str]) -> float:
    """nDCG@10 with grades of 0 and 1 (Jarvelin and Kekalainen 2002)."""
    gain = sum(1 / math.log2(place + 2) for place, document in enumerate(ranking[:10]) if document in relevant)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(relevant))))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a positive's score is above a negative's, ties counted half (Mann-Whitney U)."""
    scores = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def whole(document: Document) -> str:
    """A document with its title, as all contestants read it."""
    title = str(document.meta.get("title") or "")
    return f"{title}\n{document.text}" if title else document.text


def chroma_defaults(data: Benchmark, embedder: Embedder) -> float:
    """nDCG@10 of a Chroma collection as it comes, with plain chunks."""
    import chromadb

    chunks = [(document.id, piece) for document in data.documents for piece in plain_chunks(whole(document))]
    vectors = embedder.encode([text for _, text in chunks])
    client = chromadb.EphemeralClient(settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("plain", embedding_function=None)
    for start in range(0, len(chunks), 5000):
        part = chunks[start : start + 5000]
        rows = [str(start + n) for n in range(len(part))]
        collection.add(ids=rows, embeddings=vectors[start : start + 5000], documents=[text for _, text in part])
    scores = []
    for start in range(0, len(data.questions), 500):
        asked = data.questions[start : start + 500]
        found = collection.query(
            query_embeddings=embedder.encode([text for text, _ in asked], role="query"), n_results=40, include=[]
        )
        for (_, relevant), rows in zip(asked, found["ids"], strict=True):
            scores.append(ndcg(list(dict.fromkeys(chunks[int(row)][0] for row in rows))[:10], relevant))
    client.delete_collection("plain")
    return float(np.mean(scores))


def plain_chunks(text: str) -> Iterator[str]:
    for start in range(0, max(1, len(text) - PLAIN_OVERLAP), PLAIN_CHUNK - PLAIN_OVERLAP):
        yield text[start : start + PLAIN_CHUNK]


def bm25_peer(data: Benchmark, *, bigrams: bool = False) -> float:
    """nDCG@10 of bm25s as it comes, which cuts at what is no letter; or over the pairs of characters of each such word,
    for scripts that write no spaces."""
    import bm25s

    def tokens(texts: Sequence[str]) -> Any:
        if not bigrams:
            return bm25s.tokenize(list(texts), show_progress=False)
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        return [[word[at : at + 2] for word in row for at in range(max(1, len(word) - 1))] for row in words]

    ranker = bm25s.BM25()
    ranker.index(tokens([whole(document) for document in data.documents]), show_progress=False)
    asked = tokens([text for text, _ in data.questions])
    found, _ = ranker.retrieve(asked, k=10, show_progress=False)
    rankings = ([data.documents[n].id for n in row] for row in found)
    return float(np.mean([ndcg(rank, relevant) for rank, (_, relevant) in zip(rankings, data.questions, strict=True)]))


def quotes(data: Benchmark, searcher: Searcher) -> tuple[int, int, int]:
    """Quotes in the answers to some questions, how many stand at their place, and how many questions were answered."""
    held = {(document.source, document.record): document for document in data.documents}
    calibration = calibrate(searcher, seed=SEED)
    pick = np.random.default_rng(SEED).permutation(len(data.questions))[:QUOTED]
    given = right = answered = 0
    for question in (data.questions[n][0] for n in pick):
        said = answer(searcher, question, calibration, lambda source, record: held[source, record])
        answered += not said.abstained
        for each in said.citations:
            text = held[each.source, each.record].text
            given += 1
            right += bool(each.quote) and text[each.start : each.end] == each.quote
    return given, right, answered


def retrieval(name: str, data: Benchmark, embedder: Embedder) -> None:
    remembering = Remembering(embedder, [question for question, _ in data.questions])
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        searcher = index(Path(folder) / "all", data.documents, remembering)
        built = time.perf_counter() - started
        for mode in MODES:
            scores[f"llmkit, {mode}"] = _mean(searcher, data, mode)
        print(
            f"{name}: {len(data.documents):,} documents, {len(data.questions):,} questions; BM25's weight "
            f"{searcher.fusion.bm25_weight(data.questions[0][0])}, built in {built:.0f} s",
            flush=True,
        )
        given, right, answered = quotes(data, searcher)
        scores["llmkit, words only"] = _mean(index(Path(folder) / "words", data.documents, None), data, "hybrid")
    scores["Chroma, defaults"] = chroma_defaults(data, remembering)
    if find_spec("bm25s"):
        scores["BM25 (bm25s), defaults"] = bm25_peer(data)
        if has_unspaced(data.questions[0][0]):
            scores["BM25 (bm25s), bigrams"] = bm25_peer(data, bigrams=True)
    for who, score in scores.items():
        print(f"    {who:24} nDCG@10 {score:.3f}")
    best = scores["llmkit, words only" if name == "jaquad" else "llmkit, hybrid"]
    print(f"    bar {BARS[name]:.2f}: {'met' if best >= BARS[name] else 'MISSED'}")
    asked = min(QUOTED, len(data.questions))
    print(f"    quotes: {right} of {given} verify, in {answered} answers to {asked} questions", flush=True)


def _mean(searcher: Searcher, data: Benchmark, mode: Mode) -> float:
    return float(np.mean([ndcg(ranked(searcher, text, mode), relevant) for text, relevant in data.questions]))


def abstention(embedder: Embedder) -> None:
    """Half of the articles indexed: questions on the other half are off topic, in the same style by the same people."""
    for name, files in (
        ("SQuAD", [DATA / "squad" / "squad2_16_articles.json"]),
        ("JaQuAD", sorted((DATA / "jaquad").glob("jaquad_dev_*.json"))),
    ):
        if not files or not files[0].is_file():
            print(f"{name:12} skipped: {DATA / name.lower()} is not there")
            continue
        inside, outside = _paragraphs(files, articles=slice(0, None, 2)), _paragraphs(files, articles=slice(1, None, 2))
        _separate(f"{name} half", inside, [text for text, _ in outside.questions], embedder)


def _separate(name: str, inside: Benchmark, off_topic: Sequence[str], embedder: Embedder) -> None:
    pick = np.random.default_rng(SEED)
    asked = [inside.questions[n][0] for n in pick.permutation(len(inside.questions))[:600]]
    off = [off_topic[n] for n in pick.permutation(len(off_topic))[:600]]
    with tempfile.TemporaryDirectory() as folder:
        searcher = index(Path(folder), inside.documents, Remembering(embedder, [*asked, *off]))
        operating = calibrate(searcher, seed=SEED)
        scores = {text: evidence(searcher, text, searcher.search(text)) for text in [*asked, *off]}
    print_separation(name, scores, asked, off, operating.threshold)


def print_separation(
    name: str, scores: Mapping[str, object], asked: Sequence[str], off: Sequence[str], threshold: float
) -> None:
    def parts(texts: Sequence[str], part: str) -> list[float]:
        return [float(getattr(scores[text], part)) for text in texts]

    figures = "  ".join(
        f"{part} {auroc(parts(asked, part), parts(off, part)):.3f}" for part in ("cosine", "coverage", "score")
    )
    kept = np.mean([value >= threshold for value in parts(asked, "score")])
    refused = np.mean([value < threshold for value in parts(off, "score")])
    print(f"{name:12} abstention AUROC  {figures}  at its own threshold: {kept:.0%} answered, {refused:.0%} refused")


def main(chosen: Sequence[str]) -> None:
    embedder = open_embedder()
    for name, read in (("scifact", scifact), ("squad", squad), ("jaquad", jaquad)):
        if chosen and name not in chosen:
            continue
        if not (DATA / name).is_dir():
            print(f"{name:12} skipped: {DATA / name} is not there")
            continue
        retrieval(name, read(), embedder)
    if not chosen or "abstention" in chosen:
        abstention(embedder)


if __name__ == "__main__":
    main(sys.argv[1:])

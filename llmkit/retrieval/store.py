"""What an index holds, seen through one of its versions. SQLite is the truth; all else can be rebuilt from it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import NotFoundError
from llmkit.retrieval.chunk import embedded_text
from llmkit.retrieval.embed import Vectors
from llmkit.retrieval.lexical import Stemmer, match_query
from llmkit.retrieval.schema import VISIBLE, connect, guarded, stored
from llmkit.text.document import Span

HEADING_WEIGHT = 1.0
"""Of a word in the heading against one in the body, in BM25."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class VersionInfo:
    """A finished version. `info` is what was measured when it was built: JSON values."""

    version: int
    created: str
    documents: int
    chunks: int
    info: Mapping[str, Any]


class StoredChunk(NamedTuple):
    """A chunk with its document, as indexed. `digest` is that of the whole document's text then."""

    row: int
    document: str
    source: str
    record: str
    media: str
    digest: str
    span: Span
    line: int
    page: int | None
    heading: str
    text: str

    @property
    def embedded(self) -> str:
        """What the encoder read."""
        return embedded_text(self.heading, self.text)


class ManifestRow(NamedTuple):
    """One document of a version: what an index artifact lists and `verify` compares."""

    document: str
    source: str
    digest: str
    chunks: str
    """sha256 over the spans and texts of its chunks."""


class View:
    """One version of an index, for reading. It never changes, whatever a writer does meanwhile."""

    def __init__(self, folder: Path, version: int | None = None, *, unfinished: bool = False) -> None:
        """
        Args:
            folder: the index's folder.
            version: a version; the latest finished one if None.
            unfinished: also accept a version that its writer has not published yet.

        Raises:
            NotFoundError: no index, or no such version.
            DataError: the index is damaged.
        """
        self.folder = folder
        self._db = connect(folder, write=False)
        self._stemmer = Stemmer()
        with guarded(folder):
            finished = {info.version: info for info in versions(self._db)}
            self.version = version if version is not None else max(finished, default=0)
            if self.version not in finished and not unfinished:
                raise NotFoundError(
                    f"no version {self.version} in this index" if finished else "no finished version in this index",
                    where=str(folder),
                    mend="run `llmkit index` again: it goes on where it stopped",
                )
            self.info = finished[self.version].info if self.version in finished else {}

    def close(self) -> None:
        self._db.close()

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Documents and chunks."""
        with guarded(self.folder):
            return count_rows(self._db, self.version)

    @cached_property
    def source_count(self) -> int:
        sql = f"SELECT count(DISTINCT d.source) FROM documents d WHERE {VISIBLE}"  # noqa: S608
        with guarded(self.folder):
            return int(self._db.execute(sql, {"version": self.version}).fetchone()[0])

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """The terms that the index's tokenizer makes of texts."""
        return self._stemmer.terms(texts)

    def frequencies(self, terms: Collection[str]) -> dict[str, int]:
        """In how many chunks each term stands."""
        with guarded(self.folder):
            self._db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, words, row)")
            found = dict.fromkeys(terms, 0)
            for term in found:
                row = self._db.execute("SELECT doc FROM temp.vocabulary WHERE term = ?", (term,)).fetchone()
                found[term] = int(row[0]) if row else 0
            return found

    def lexical(self, words: Sequence[str], most: int) -> dict[int, float]:
        """BM25 of the best chunks that hold any of `words`, best first (FTS5's: k1 1.2, b 0.75)."""
        if not words:
            return {}
        sql = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
        fetch = most
        with guarded(self.folder):
            while True:
                query = (match_query(words), f"bm25({HEADING_WEIGHT}, 1.0)", fetch)
                scored = dict(self._db.execute(sql, query).fetchall())
                seen = self._visible(list(scored))
                # Rows of other versions are in the same table: look further until enough of this one are found.
                if len(seen) >= most or len(scored) < fetch:
                    return {row: score for row, score in scored.items() if row in seen}
                fetch *= 4

    def word_scores(self, words: Sequence[str], rows: Sequence[int]) -> dict[int, dict[str, float]]:
        """What each word adds to the BM25 of each row, as `lexical` sums it; words that a row lacks are left out."""
        found: dict[int, dict[str, float]] = {row: {} for row in rows}
        sql = "SELECT rowid, -bm25(words, ?, 1.0) FROM words WHERE words MATCH ? AND rowid IN ({})"
        with guarded(self.folder):
            for word in words:
                for marks, part in _in_parts(rows):
                    query = (HEADING_WEIGHT, match_query([word]), *part)
                    for row, score in self._db.execute(sql.format(marks), query):
                        found[row][word] = score
        return found

    @cached_property
    def vectors(self) -> tuple[Rows, Vectors]:
        """Chunk rows [n] and their vectors, float32 [n, d]; n is 0 for an index without an encoder."""
        sql = f"""SELECT c.row, v.data FROM documents d JOIN chunks c ON c.document = d.row
            JOIN vectors v ON v.row = c.vector WHERE {VISIBLE}"""  # noqa: S608
        with guarded(self.folder):
            found = self._db.execute(sql, {"version": self.version}).fetchall()
        rows = np.fromiter((row for row, _ in found), dtype=np.int64, count=len(found))
        halves = np.frombuffer(b"".join(data for _, data in found), dtype=np.float16)
        return rows, halves.astype(np.float32).reshape(len(found), -1 if found else 0)

    def vectors_of(self, rows: Sequence[int]) -> tuple[Rows, Vectors]:
        """As `vectors`, of some chunks; those that have none are left out."""
        found: list[tuple[int, bytes]] = []
        sql = "SELECT c.row, v.data FROM chunks c JOIN vectors v ON v.row = c.vector WHERE c.row IN ({})"
        with guarded(self.folder):
            for marks, part in _in_parts(rows):
                found += self._db.execute(sql.format(marks), part).fetchall()
        halves = np.frombuffer(b"".join(data for _, data in found), dtype=np.float16)
        ids = np.array([row for row, _ in found], dtype=np.int64)
        return ids, halves.astype(np.float32).reshape(len(found), -1 if found else 0)

    def chunks_with(self, vectors: Sequence[int]) -> dict[int, list[int]]:
        """Visible chunk rows by vector row: texts that stand in several places share one vector."""
        found: dict[int, list[int]] = {}
        sql = f"""SELECT c.vector, c.row FROM chunks c JOIN documents d ON d.row = c.document
            WHERE c.vector IN ({{}}) AND {VISIBLE.replace(":version", str(int(self.version)))}"""  # noqa: S608
        with guarded(self.folder):
            for marks, part in _in_parts(vectors):
                for vector, row in self._db.execute(sql.format(marks), part):
                    found.setdefault(vector, []).append(row)
        return found

    def chunks(self, rows: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks by row."""
        found: dict[int, StoredChunk] = {}
        sql = """SELECT c.row, d.id, d.source, d.record, d.media, d.digest, c.start, c.stop, c.line, c.page, c.heading,
            c.text FROM chunks c JOIN documents d ON d.row = c.document WHERE c.row IN ({})"""
        with guarded(self.folder):
            for marks, part in _in_parts(rows):
                for row in self._db.execute(sql.format(marks), part):
                    found[row[0]] = StoredChunk._make([*row[:6], Span(row[6], row[7]), *row[8:]])
        return found

    def sources_of(self, rows: Sequence[int]) -> dict[int, str]:
        """Source by chunk row."""
        found: dict[int, str] = {}
        sql = "SELECT c.row, d.source FROM chunks c JOIN documents d ON d.row = c.document WHERE c.row IN ({})"
        with guarded(self.folder):
            for marks, part in _in_parts(rows):
                found.update(self._db.execute(sql.format(marks), part).fetchall())
        return found

    def sources(self, most: int) -> list[tuple[str, int]]:
        """Up to `most` sources, each with the row of its first chunk."""
        sql = f"""SELECT d.source, min(c.row) FROM documents d JOIN chunks c ON c.document = d.row WHERE {VISIBLE}
            GROUP BY d.source ORDER BY 2 LIMIT :most"""  # noqa: S608
        with guarded(self.folder):
            return self._db.execute(sql, {"version": self.version, "most": most}).fetchall()

    def sample(self, most: int, seed: int) -> list[StoredChunk]:
        """A random sample of chunks that depends on their content and the seed alone, not on how they came in."""
        sql = f"""SELECT c.row, d.id, c.start FROM documents d JOIN chunks c ON c.document = d.row
            WHERE {VISIBLE}"""  # noqa: S608
        with guarded(self.folder):
            rows = self._db.execute(sql, {"version": self.version}).fetchall()
        rows.sort(key=lambda row: hashlib.sha256(f"{seed}\0{row[1]}\0{row[2]}".encode()).digest())
        chosen = [row for row, _, _ in rows[:most]]
        chunks = self.chunks(chosen)
        return [chunks[row] for row in chosen]

    def manifest(self) -> Iterator[ManifestRow]:
        """Every document of this version with digests of what is stored of it, in the order of their ids."""
        documents = f"SELECT d.row, d.id, d.source, d.digest FROM documents d WHERE {VISIBLE} ORDER BY d.id"  # noqa: S608
        chunks = "SELECT start, stop, heading, text FROM chunks WHERE document = ? ORDER BY start, stop"
        with guarded(self.folder):
            for row, document, source, digest in self._db.execute(documents, {"version": self.version}).fetchall():
                sha = hashlib.sha256()
                for start, stop, heading, text in self._db.execute(chunks, (row,)):
                    sha.update(stored(f"{start}\0{stop}\0{heading}\0{len(text)}\0{text}"))
                yield ManifestRow(document, source, digest, sha.hexdigest())

    def _visible(self, rows: Sequence[int]) -> set[int]:
        seen: set[int] = set()
        sql = f"""SELECT c.row FROM chunks c JOIN documents d ON d.row = c.document
            WHERE c.row IN ({{}}) AND {VISIBLE.replace(":version", str(int(self.version)))}"""  # noqa: S608
        for marks, part in _in_parts(rows):
            seen.update(row for (row,) in self._db.execute(sql.format(marks), part))
        return seen


def versions(db: sqlite3.Connection) -> list[VersionInfo]:
    """Finished versions, oldest first."""
    rows = db.execute("SELECT version, created, documents, chunks, info FROM versions ORDER BY version")
    return [VersionInfo(n, made, documents, chunks, json.loads(info)) for n, made, documents, chunks, info in rows]


def count_rows(db: sqlite3.Connection, version: int) -> tuple[int, int]:
    """Documents and chunks that a version shows."""
    at = {"version": version}
    documents = db.execute(f"SELECT count(*) FROM documents d WHERE {VISIBLE}", at).fetchone()[0]  # noqa: S608
    sql = f"SELECT count(*) FROM documents d JOIN chunks c ON c.document = d.row WHERE {VISIBLE}"  # noqa: S608
    return int(documents), int(db.execute(sql, at).fetchone()[0])


def _in_parts(values: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Values in parts that SQLite takes as parameters, with a `?` for each."""
    for start in range(0, len(values), 500):
        part = [int(value) for value in values[start : start + 500]]
        yield ",".join("?" * len(part)), part

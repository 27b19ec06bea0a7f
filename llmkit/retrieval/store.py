"""What an index holds, seen through one of its versions. SQLite is the truth; all else can be rebuilt from it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import NotFoundError
from llmkit.retrieval.chunk import embedded_text
from llmkit.retrieval.embed import Vectors
from llmkit.retrieval.lexical import Stemmer, match_query
from llmkit.retrieval.postings import Segment, scores, segments
from llmkit.retrieval.schema import VISIBLE, connect, guarded, in_parts, stored
from llmkit.retrieval.where import Where, field_sql
from llmkit.text.document import Span

HEADING_WEIGHT = 1.0
"""Of a word in the heading against one in the body, in BM25."""

Rows = NDArray[np.int64]
Halves = NDArray[np.float16]
Shown = NDArray[np.bool_]
"""By chunk row: whether it may be found. Rows beyond its end may not."""


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
        self._segments: list[Segment] = []
        self._reading = Lock()
        with guarded(folder):
            finished = {info.version: info for info in versions(self._db)}
            self.version = version if version is not None else max(finished, default=0)
            if self.version not in finished and not unfinished:
                raise NotFoundError(
                    f"no version {self.version} in this index" if finished else "no finished version in this index",
                    where=str(folder),
                    mend="run `llmkit index` again: it goes on where it stopped",
                )
            self.finished = self.version in finished
            self.info = finished[self.version].info if self.finished else {}

    def close(self) -> None:
        self._db.close()

    @cached_property
    def store(self) -> str:
        """The id of the store, which no other has."""
        with guarded(self.folder):
            return str(self._db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()[0])

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Documents and chunks."""
        with guarded(self.folder):
            return count_rows(self._db, self.version)

    def source_count(self, where: Where | None = None) -> int:
        """How many sources this version has, or has of a filter."""
        condition, values = where.sql() if where else ("1", {})
        chunks = "JOIN chunks c ON c.document = d.row" if where else ""
        sql = f"SELECT count(DISTINCT d.source) FROM documents d {chunks} WHERE {VISIBLE} AND {condition}"  # noqa: S608
        with guarded(self.folder):
            return int(self._db.execute(sql, {"version": self.version, **values}).fetchone()[0])

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

    def lexical(self, words: Sequence[str], most: int, shown: Shown | None = None) -> dict[int, float]:
        """BM25 of the best chunks that hold any of `words`, best first (k1 1.2, b 0.75).

        Args:
            shown: what `chosen` gave for a filter; else all of this version.
        """
        if not words:
            return {}
        shown = self.shown if shown is None else shown
        if not self.finished:
            return self._lexical_by_fts5(words, most, shown)
        terms = [term for found in self._stemmer.stems(words) for term in found]
        with guarded(self.folder), self._reading, _snapshot(self._db):
            self._segments = segments(self._db, self._segments)
            rows, values = scores(self._db, self._segments, terms)
        rows, values = _kept(shown, rows, values)
        if len(rows) > most:
            best = np.argpartition(-values, most)[:most]
            rows, values = rows[best], values[best]
        order = np.lexsort((rows, -values))
        return dict(zip(rows[order].tolist(), values[order].tolist(), strict=True))

    def _lexical_by_fts5(self, words: Sequence[str], most: int, shown: Shown) -> dict[int, float]:
        """The same of a version that is not published, whose chunks are in no segment yet."""
        sql = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?"
        fetch = most
        with guarded(self.folder):
            while True:
                query = (match_query(words), f"bm25({HEADING_WEIGHT}, 1.0)", fetch)
                found = self._db.execute(sql, query).fetchall()
                seen = [(row, score) for row, score in found if row < len(shown) and shown[row]]
                # Rows of other versions are in the same table: look further until enough of this one are found.
                if len(seen) >= most or len(found) < fetch:
                    return dict(seen[:most])
                fetch *= 4

    @cached_property
    def shown(self) -> Shown:
        """The chunks of this version."""
        hidden = f"SELECT c.row FROM documents d JOIN chunks c ON c.document = d.row WHERE NOT ({VISIBLE})"  # noqa: S608
        with guarded(self.folder), self._reading, _snapshot(self._db):
            last = self._db.execute("SELECT max(row) FROM chunks").fetchone()[0] or 0
            rows = self._db.execute(hidden, {"version": self.version}).fetchall()
        flags = np.ones(last + 1, dtype=np.bool_)
        flags[[row for (row,) in rows]] = False
        return flags

    def chosen(self, where: Where) -> Shown:
        """The chunks of this version that fulfil a filter.

        Raises:
            UsageError: it asks for a field that no document has.
        """
        if where.facts:
            where.check_fields(self.facts)
        condition, values = where.sql()
        sql = f"""SELECT c.row FROM documents d JOIN chunks c ON c.document = d.row
            WHERE {VISIBLE} AND {condition}"""  # noqa: S608
        with guarded(self.folder):
            rows = [row for (row,) in self._db.execute(sql, {"version": self.version, **values})]
        flags = np.zeros(max(rows, default=0) + 1, dtype=np.bool_)
        flags[rows] = True
        return flags

    @cached_property
    def facts(self) -> frozenset[str]:
        """The names of all facts that documents of this version have."""
        sql = f"SELECT DISTINCT j.key FROM documents d, json_each(d.meta) j WHERE {VISIBLE}"  # noqa: S608
        with guarded(self.folder):
            return frozenset(key for (key,) in self._db.execute(sql, {"version": self.version}))

    def values_of(self, field: str, most: int = 5) -> list[tuple[str | None, int]]:
        """The most frequent values of a filter's field, each with the number of documents; None: it has none."""
        value, values = field_sql(field)
        sql = f"""SELECT {value}, count(DISTINCT d.row) FROM documents d JOIN chunks c ON c.document = d.row
            WHERE {VISIBLE} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT :most"""  # noqa: S608
        with guarded(self.folder):
            return self._db.execute(sql, {"version": self.version, "most": most, **values}).fetchall()

    @property
    def vectors(self) -> tuple[Rows, Vectors]:
        """Chunk rows [n] and their vectors, float32 [n, d]; n is 0 for an index without an encoder."""
        rows, halves = self.halves()
        return rows, halves.astype(np.float32)

    def halves(self, where: Where | None = None) -> tuple[Rows, Halves]:
        """Chunk rows [n] and their vectors as they are stored, float16 [n, d]."""
        condition, values = where.sql() if where else ("1", {})
        sql = f"""SELECT c.row, v.data FROM documents d JOIN chunks c ON c.document = d.row
            JOIN vectors v ON v.row = c.vector WHERE {VISIBLE} AND {condition}"""  # noqa: S608
        with guarded(self.folder):
            found = self._db.execute(sql, {"version": self.version, **values}).fetchall()
        rows = np.fromiter((row for row, _ in found), dtype=np.int64, count=len(found))
        halves = np.frombuffer(b"".join(data for _, data in found), dtype=np.float16)
        return rows, halves.reshape(len(found), -1 if found else 0)

    def vectors_of(self, rows: Sequence[int]) -> tuple[Rows, Vectors]:
        """As `vectors`, of some chunks; those that have none are left out."""
        found: list[tuple[int, bytes]] = []
        sql = "SELECT c.row, v.data FROM chunks c JOIN vectors v ON v.row = c.vector WHERE c.row IN ({})"
        with guarded(self.folder):
            for marks, part in in_parts(rows):
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
            for marks, part in in_parts(vectors):
                for vector, row in self._db.execute(sql.format(marks), part):
                    found.setdefault(vector, []).append(row)
        return found

    def chunks(self, rows: Sequence[int]) -> dict[int, StoredChunk]:
        """Chunks by row."""
        found: dict[int, StoredChunk] = {}
        sql = """SELECT c.row, d.id, d.source, d.record, d.media, d.digest, c.start, c.stop, c.line, c.page, c.heading,
            c.text FROM chunks c JOIN documents d ON d.row = c.document WHERE c.row IN ({})"""
        with guarded(self.folder):
            for marks, part in in_parts(rows):
                for row in self._db.execute(sql.format(marks), part):
                    found[row[0]] = StoredChunk._make([*row[:6], Span(row[6], row[7]), *row[8:]])
        return found

    def sources_of(self, rows: Sequence[int]) -> dict[int, str]:
        """Source by chunk row."""
        found: dict[int, str] = {}
        sql = "SELECT c.row, d.source FROM chunks c JOIN documents d ON d.row = c.document WHERE c.row IN ({})"
        with guarded(self.folder):
            for marks, part in in_parts(rows):
                found.update(self._db.execute(sql.format(marks), part).fetchall())
        return found

    def sources(self, most: int, where: Where | None = None) -> list[tuple[str, int]]:
        """Up to `most` sources (of a filter), each with the row of its first chunk."""
        condition, values = where.sql() if where else ("1", {})
        sql = f"""SELECT d.source, min(c.row) FROM documents d JOIN chunks c ON c.document = d.row
            WHERE {VISIBLE} AND {condition} GROUP BY d.source ORDER BY 2 LIMIT :most"""  # noqa: S608
        with guarded(self.folder):
            return self._db.execute(sql, {"version": self.version, "most": most, **values}).fetchall()

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

    def digests_of(self, source: str) -> set[str]:
        """Of the texts of one source's documents, as indexed."""
        sql = f"SELECT d.digest FROM documents d WHERE d.source = CAST(:source AS TEXT) AND {VISIBLE}"  # noqa: S608
        with guarded(self.folder):
            rows = self._db.execute(sql, {"version": self.version, "source": stored(source)})
            return {digest for (digest,) in rows}

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


def _kept(shown: Shown, rows: Rows, values: Vectors) -> tuple[Rows, Vectors]:
    inside = rows < len(shown)
    inside[inside] = shown[rows[inside]]
    return rows[inside], values[inside]


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """What is read in the block is of one moment, whatever a writer commits meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")

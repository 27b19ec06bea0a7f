"""Changing an index: one writer at a time, one transaction per batch, and a version that is seen when it is whole."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmkit.errors import DataError
from llmkit.registry.digests import RACY_NS
from llmkit.registry.disk import writing
from llmkit.registry.locks import held
from llmkit.retrieval import postings
from llmkit.retrieval.chunk import Chunk, ChunkSettings
from llmkit.retrieval.embed import Embedder, Vectors, text_key
from llmkit.retrieval.facts import facts_of
from llmkit.retrieval.lexical import indexed_form
from llmkit.retrieval.pruning import prune
from llmkit.retrieval.schema import LOCK, VISIBLE, connect, guarded, stored, transaction
from llmkit.retrieval.store import VersionInfo, count_rows, versions
from llmkit.text.document import Document


class Stamp(NamedTuple):
    """Size and time of a source file: equal stamps mean it need not be read again. Take it before reading."""

    size: int
    changed_ns: int

    @classmethod
    def of(cls, source: str) -> Stamp:
        """The stamp of a file now; `UNKNOWN` for what is no file, and for one that may be changing right now."""
        try:
            stat = os.stat(source)  # noqa: PTH116 # a Path per file is slow
        except (OSError, ValueError):
            return UNKNOWN
        # The change time catches what sets the modification time back (cp -p, rsync -t).
        changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
        return cls(stat.st_size, changed) if time.time_ns() - changed > RACY_NS else UNKNOWN


UNKNOWN = Stamp(-1, -1)
"""No file has it: what carries it is read again."""


class FileState(NamedTuple):
    """How a file was when it was read to its end; `read_as` digests what else decides what is read of it."""

    stamp: Stamp
    read_as: str = ""
    drops: Mapping[str, int] = {}
    """What of it could not be used, by reason."""

    def same_as(self, other: FileState) -> bool:
        """Whether reading it again would give the same."""
        return self.stamp != UNKNOWN and (self.stamp, self.read_as) == (other.stamp, other.read_as)


class Live(NamedTuple):
    """What the newest state of the store knows of a document."""

    row: int
    digest: str
    file: str
    meta: str


@dataclass(frozen=True)
class Change:
    """Documents that came, changed, went and stayed."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"+{self.added:,} ~{self.changed:,} -{self.removed:,} ={self.unchanged:,}"


class NewDocument(NamedTuple):
    document: Document
    file: str
    chunks: Iterable[Chunk]


@contextmanager
def open_writer(
    folder: Path, embedder: Embedder | None, settings: ChunkSettings, *, rebuild: bool = False
) -> Iterator[Writer]:
    """The one writer of an index.

    Args:
        embedder: whose vectors the chunks get; None for a lexical index.
        rebuild: take every document as changed; the only way to another embedder or other chunks.

    Raises:
        BusyError: another process writes, and which.
        DataError: the index was built with another embedder or other settings.
        StorageError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder / LOCK, what=f"the index {folder.name}", wait=False):
        db = connect(folder, write=True)
        try:
            yield Writer(folder, db, embedder, settings, rebuild=rebuild)
        finally:
            with suppress(sqlite3.Error):  # without it the log stays as long as the index until the next run
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()


class Writer:
    """Builds the next version. Until `publish` readers see nothing of it; a killed writer's successor goes on."""

    def __init__(
        self,
        folder: Path,
        db: sqlite3.Connection,
        embedder: Embedder | None,
        settings: ChunkSettings,
        *,
        rebuild: bool,
    ) -> None:
        self.folder = folder
        self.db = db
        with guarded(folder):
            last = db.execute("SELECT max(version) FROM versions").fetchone()[0] or 0
            self.version = int(last) + 1
            made_by = _recipe(embedder, settings)
            recorded = db.execute("SELECT value FROM meta WHERE key = 'recipe'").fetchone()
            if recorded and json.loads(recorded[0]) != made_by and not rebuild:
                raise _mismatch(json.loads(recorded[0]), made_by, folder)
        with transaction(db, folder):
            db.execute("INSERT OR REPLACE INTO meta VALUES ('recipe', ?)", (json.dumps(made_by, sort_keys=True),))
            self.space = _space(db, embedder)
            if rebuild:
                db.execute("UPDATE documents SET removed = ? WHERE removed IS NULL", (self.version,))
                db.execute("DELETE FROM files")

    def live(self) -> dict[str, Live]:
        """Every document of the newest state, by its id."""
        sql = "SELECT id, row, digest, file, meta FROM documents WHERE removed IS NULL"
        with guarded(self.folder):
            return {document: Live(*rest) for document, *rest in self.db.execute(sql)}

    def files(self) -> dict[str, FileState]:
        """The files that were read to their end, as they were then."""
        sql = "SELECT file, size, changed_ns, read_as, drops FROM files"
        with guarded(self.folder):
            rows = self.db.execute(sql).fetchall()
        return {file: FileState(Stamp(size, ns), read_as, json.loads(drops)) for file, size, ns, read_as, drops in rows}

    def without_vector(self, texts: Sequence[str]) -> list[str]:
        """Those of `texts` that were never embedded, each once."""
        found: dict[bytes, str] = dict(zip(text_key(texts), texts, strict=True))
        with guarded(self.folder):
            for key in list(found):
                if self._vector(key) is not None:
                    del found[key]
        return list(found.values())

    def add(self, documents: Sequence[NewDocument], embedded: Mapping[str, Vectors]) -> None:
        """New and changed documents, in one transaction: a changed one's new rows come in before its old ones go out.

        Args:
            embedded: vector [d] by text, for the texts that `without_vector` named.
        """
        with transaction(self.db, self.folder):
            self._add_vectors(embedded)
            for new in documents:
                # The index on live ids wants the old row out of the way; nobody sees it before the commit.
                self.db.execute(
                    "UPDATE documents SET removed = ? WHERE id = ? AND removed IS NULL", (self.version, new.document.id)
                )
                self._add_chunks(self._add_document(new), new.chunks)

    def finish(self, gone: Collection[int], states: Mapping[str, FileState], kept: Collection[str]) -> None:
        """Everything has come: documents (by row) that are gone go out, and the files are remembered as read.

        Both in one transaction: a file that counts as read has nothing in the store that it no longer holds.

        Args:
            states: the files that were read.
            kept: those that were not, because nothing had changed. All others are forgotten.
        """
        with transaction(self.db, self.folder):
            self.db.executemany("UPDATE documents SET removed = ? WHERE row = ?", ((self.version, n) for n in gone))
            known = [file for (file,) in self.db.execute("SELECT file FROM files")]
            lost = ((stored(file),) for file in known if file not in kept)
            self.db.executemany("DELETE FROM files WHERE file = CAST(? AS TEXT)", lost)
            rows = (
                (stored(file), *state.stamp, state.read_as, json.dumps(dict(state.drops)))
                for file, state in states.items()
            )
            self.db.executemany("INSERT OR REPLACE INTO files VALUES (CAST(? AS TEXT), ?, ?, ?, ?)", rows)

    def publish(self, info: Mapping[str, Any]) -> VersionInfo:
        """Makes the version visible. `info` is stored with it: JSON values."""
        with transaction(self.db, self.folder):
            documents, chunks = count_rows(self.db, self.version)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            row = (self.version, created, documents, chunks, json.dumps(info, sort_keys=True, allow_nan=False))
            self.db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?)", row)
            postings.extend(self.db)
        self.version += 1
        return VersionInfo(row[0], created, documents, chunks, info)

    def change(self) -> Change:
        """What the version being built shows against the one before it, whichever runs did the work."""
        sql = f"SELECT d.id, d.digest, d.meta FROM documents d WHERE {VISIBLE}"  # noqa: S608
        with guarded(self.folder):
            before = {row[0]: row[1:] for row in self.db.execute(sql, {"version": self.version - 1})}
            now = {row[0]: row[1:] for row in self.db.execute(sql, {"version": self.version})}
        stayed = [before[document] == content for document, content in now.items() if document in before]
        gone = sum(document not in now for document in before)
        return Change(len(now) - len(stayed), stayed.count(False), gone, stayed.count(True))

    def finished(self) -> list[VersionInfo]:
        """Versions that readers see, oldest first."""
        with guarded(self.folder):
            return versions(self.db)

    def prune(self, keep: Collection[int]) -> int:
        """Forgets all versions but `keep`, and every row that only they showed; how many chunks that were."""
        return prune(self.db, self.folder, {*keep, self.version})

    def _add_vectors(self, embedded: Mapping[str, Vectors]) -> None:
        for key, vector in zip(text_key(list(embedded)), embedded.values(), strict=True):
            # Half precision changes a cosine by some 1e-5 and halves the file.
            data = vector.astype(np.float16).tobytes()
            row = (self.space, key, data)
            at = self.db.execute("INSERT INTO vectors (space, key, data) VALUES (?, ?, ?)", row).lastrowid
            self.db.execute("INSERT INTO journal VALUES (?, ?, 'add')", (at, self.space))

    def _add_document(self, new: NewDocument) -> int:
        document = new.document
        cursor = self.db.execute(
            "INSERT INTO documents (id, source, record, media, meta, digest, file, added) "
            "VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, CAST(? AS TEXT), ?, CAST(? AS TEXT), ?)",
            (
                document.id,
                stored(document.source),
                stored(document.record),
                document.media,
                stored(facts_of(document)),
                document.digest,
                stored(new.file),
                self.version,
            ),
        )
        return int(cursor.lastrowid or 0)

    def _add_chunks(self, document: int, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            vector = self._vector(text_key([chunk.embedded])[0]) if self.space is not None else None
            place = (document, *chunk.span, chunk.line, chunk.page)
            cursor = self.db.execute(
                "INSERT INTO chunks (document, start, stop, line, page, heading, text, vector) "
                "VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?)",
                (*place, stored(chunk.heading), stored(chunk.text), vector),
            )
            words = (cursor.lastrowid, indexed_form(chunk.heading), indexed_form(chunk.text))
            self.db.execute("INSERT INTO words (rowid, heading, body) VALUES (?, ?, ?)", words)

    def _vector(self, key: bytes) -> int | None:
        sql = "SELECT row FROM vectors WHERE space = ? AND key = ?"
        row = self.db.execute(sql, (self.space, key)).fetchone()
        return int(row[0]) if row else None


def _recipe(embedder: Embedder | None, settings: ChunkSettings) -> dict[str, object]:
    made_by = {"name": embedder.name, "digest": embedder.digest} if embedder else None
    return {"embedder": made_by, "chunks": asdict(settings)}


def _space(db: sqlite3.Connection, embedder: Embedder | None) -> int | None:
    if embedder is None:
        return None
    row = (embedder.name, embedder.digest, embedder.dimension)
    db.execute("INSERT OR IGNORE INTO spaces (name, digest, dimension) VALUES (?, ?, ?)", row)
    return int(db.execute("SELECT space FROM spaces WHERE digest = ?", (embedder.digest,)).fetchone()[0])


def _mismatch(recorded: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> DataError:
    def said(recipe: Mapping[str, Any]) -> dict[str, str]:
        embedder = recipe["embedder"]
        name = f"{embedder['name']} ({embedder['digest'][:12]})" if embedder else "no embedder (lexical only)"
        chunks = ChunkSettings(**recipe["chunks"])
        return {"embedder": name, "chunks": str(chunks), "rules": f"version {chunks.rules} of the rules of cutting"}

    was, now = said(recorded), said(wanted)
    differ = [part for part in was if was[part] != now[part]]
    return DataError(
        f"this index was built with {', '.join(was[part] for part in differ)}; "
        f"{', '.join(now[part] for part in differ)} is asked for now",
        where=str(folder),
        mend="use what it was built with, build under another --name, or build all of it again with --rebuild",
    )

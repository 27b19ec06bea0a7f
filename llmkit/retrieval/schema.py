"""The SQLite file of an index: its tables, how it is opened, and what its failures mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmkit.errors import DataError, LlmkitError, NotFoundError, StorageError
from llmkit.registry.disk import all_or_nothing
from llmkit.retrieval.lexical import TOKENIZER

FILE = "index.sqlite"
CHROMA = "chroma"
LOCK = "writer.lock"
SCHEMA_VERSION = 3

# A version is a view: a row is seen by the versions from `added` up to, not including, `removed`. Rows never change
# otherwise, so what a version shows never does. Chunks live as long as their document. `documents.meta` is the
# JSON object of `facts.facts_of`; `documents.file` is what it was read from: for a member of an archive, the archive.
# `files` says in which state each was read to its end, so that it need not be read again. It is of no version.
TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (version INTEGER PRIMARY KEY, created TEXT NOT NULL, documents INTEGER NOT NULL,
    chunks INTEGER NOT NULL, info TEXT NOT NULL);
CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL, record TEXT NOT NULL,
    media TEXT NOT NULL, meta TEXT NOT NULL, digest TEXT NOT NULL, file TEXT NOT NULL, added INTEGER NOT NULL,
    removed INTEGER);
CREATE UNIQUE INDEX live_documents ON documents (id) WHERE removed IS NULL;
CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    read_as TEXT NOT NULL, drops TEXT NOT NULL);
CREATE TABLE spaces (space INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL);
CREATE TABLE vectors (row INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER NOT NULL REFERENCES spaces,
    key BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (space, key));
CREATE TABLE chunks (row INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents, start INTEGER NOT NULL,
    stop INTEGER NOT NULL, line INTEGER NOT NULL, page INTEGER, heading TEXT NOT NULL, text TEXT NOT NULL,
    vector INTEGER REFERENCES vectors);
CREATE INDEX chunks_of_document ON chunks (document);
CREATE INDEX chunks_of_vector ON chunks (vector);
CREATE VIRTUAL TABLE words USING fts5 (heading, body, content='', tokenize='{TOKENIZER}');
CREATE TABLE segments (segment INTEGER PRIMARY KEY AUTOINCREMENT, last INTEGER NOT NULL, rows BLOB NOT NULL,
    lengths BLOB NOT NULL);
CREATE TABLE postings (term TEXT NOT NULL, segment INTEGER NOT NULL REFERENCES segments, data BLOB NOT NULL,
    PRIMARY KEY (term, segment)) WITHOUT ROWID;
CREATE TABLE journal (vector INTEGER PRIMARY KEY, space INTEGER NOT NULL, op TEXT NOT NULL);
"""

VISIBLE = "d.added <= :version AND (d.removed IS NULL OR d.removed > :version)"
"""Which documents `d` a version shows."""


def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
    """The index's database. A writer makes it where there is none.

    Raises:
        NotFoundError: a reader found none.
        DataError: it is no index, a damaged one, or a newer llmkit's.
        StorageError: it cannot be written.
    """
    path = folder / FILE
    with guarded(folder):
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _create(db)
        else:
            if not path.is_file():
                raise NotFoundError("no index here", where=str(folder), mend="build one with `llmkit index`")
            db = _open_to_read(path)
        _check(db, path)
    # Lone surrogates (undecodable file names) are valid in Python and not in SQLite: text goes in as `stored` bytes,
    # which the statements cast, and comes out here.
    db.text_factory = lambda data: data.decode("utf-8", "surrogatepass")
    return db


def stored(text: str) -> bytes:
    """Any Python string as the bytes that `CAST (? AS TEXT)` keeps."""
    return text.encode("utf-8", "surrogatepass")


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        for statement in TABLES.split(";\n"):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('schema', ?), ('uuid', lower(hex(randomblob(8))))", (SCHEMA_VERSION,))
    db.execute("COMMIT")


def _open_to_read(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    try:
        db = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # On a read-only disk WAL's shared memory cannot be made; nobody writes there either.
        db = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA mmap_size = 1073741824")
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    row = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    found = int(row[0]) if row else 0
    if found != SCHEMA_VERSION:
        older = found < SCHEMA_VERSION
        raise DataError(
            f"an index of schema {found or '?'}, made by {'an older' if older else 'a newer'} llmkit; "
            f"this one reads {SCHEMA_VERSION}",
            where=str(path),
            mend="build it again under another --name: everything in it is made from your documents"
            if older
            else "use the llmkit that made it, or build it again under another --name",
        )


def in_parts(values: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Values in parts that SQLite takes as parameters, with a `?` for each."""
    for start in range(0, len(values), 500):
        part = [int(value) for value in values[start : start + 500]]
        yield ",".join("?" * len(part)), part


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turns SQLite's failures into errors that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(error, folder) from error


@contextmanager
def transaction(db: sqlite3.Connection, folder: Path) -> Iterator[None]:
    """All of the block's rows, or none of them; failures as `guarded` tells them."""
    with guarded(folder), all_or_nothing(db):
        yield


def _translated(error: sqlite3.DatabaseError, folder: Path) -> LlmkitError:
    what = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(
        sign in what for sign in ("full", "readonly", "unable to open", "disk I/O", "locked")
    ):
        return StorageError(
            f"the index cannot be written ({what})",
            where=str(folder),
            mend="free space or give write permission, then run again; nothing that was indexed before is lost",
        )
    return DataError(
        f"the index is damaged ({what})",
        where=str(folder / FILE),
        mend="remove this folder and run `llmkit index` again: everything in it is made from your documents",
    )

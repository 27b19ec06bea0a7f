"""The SQLite file of the traces: its tables, how it is opened, and what its failures mean.

One file for all that ask, chat and serve answer, so that a rating refers to an answer wherever it was given. WAL lets
readers and one writer work at once; writers wait for each other. A transaction that was acknowledged survives the death
of its process.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmkit.errors import DataError, LlmkitError, StorageError
from llmkit.registry.disk import all_or_nothing

FILE = "traces.sqlite"
"""Below the registry's home."""
SCHEMA_VERSION = 1
WAIT = 10.0
"""Seconds that a writer waits for another one."""

# A trace's `id` is what is handed out; whatever refers to a trace (a rating, a correction) does so by its row, and goes
# with it: ON DELETE CASCADE.
TABLES = """
CREATE TABLE traces (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, asked TEXT NOT NULL,
    command TEXT NOT NULL, session TEXT, question TEXT NOT NULL, answer TEXT NOT NULL, abstained INTEGER NOT NULL,
    seconds REAL NOT NULL, scrubbed INTEGER NOT NULL, details TEXT NOT NULL);
CREATE INDEX traces_by_time ON traces (asked);
CREATE TABLE used (trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, role TEXT NOT NULL, ref TEXT NOT NULL,
    digest TEXT NOT NULL, PRIMARY KEY (trace, role)) WITHOUT ROWID;
CREATE TABLE passages (trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, rank INTEGER NOT NULL,
    source TEXT NOT NULL, record TEXT NOT NULL, digest TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    score REAL NOT NULL, cited INTEGER NOT NULL, PRIMARY KEY (trace, rank)) WITHOUT ROWID
"""


def connect(path: Path, *, write: bool) -> sqlite3.Connection | None:
    """The database; None for a reader where there is none yet. A writer makes it, for its owner only (mode 0600).

    Raises:
        StorageError: it cannot be made or written.
        DataError: it is damaged, or a newer llmkit's.
    """
    with guarded(path):
        if not write:
            if not path.is_file():
                return None
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT, isolation_level=None)
        else:
            # SQLite gives its own files beside this one the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            _prepare(db)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            db.close()
            raise DataError(
                f"recorded questions of schema {version}, and this llmkit reads {SCHEMA_VERSION}",
                where=str(path),
                mend="use the llmkit that wrote them, or move the file away",
            )
        if version == 0 and not write:
            db.close()
            return None
        db.row_factory = sqlite3.Row
        return db


def _prepare(db: sqlite3.Connection) -> None:
    _into_wal(db)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    if db.execute("PRAGMA user_version").fetchone()[0]:
        return
    db.execute("BEGIN IMMEDIATE")
    if not db.execute("PRAGMA user_version").fetchone()[0]:
        for statement in TABLES.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _into_wal(db: sqlite3.Connection) -> None:
    """SQLite does not wait for others when it changes the journal's mode: several first writers would fail."""
    end = time.monotonic() + WAIT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turns the failures of SQLite and of the disk into errors that say what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _translated(error, path) from error


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the block's rows, or none of them; failures as `guarded` tells them."""
    with guarded(path), all_or_nothing(db):
        yield


def _translated(error: Exception, path: Path) -> LlmkitError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return DataError(f"the record of questions is damaged ({error})", where=str(path), mend="move the file away")
    return StorageError(
        f"the record of questions cannot be used ({error})",
        where=str(path),
        mend="free space or give write permission, or use --no-log",
    )

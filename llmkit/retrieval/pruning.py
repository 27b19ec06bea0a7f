"""Forgetting versions: rows that no version shows any more go, and the file gets smaller."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from llmkit.retrieval import postings
from llmkit.retrieval.lexical import indexed_form
from llmkit.retrieval.schema import guarded, transaction


def dead_documents(db: sqlite3.Connection, keep: Collection[int]) -> list[int]:
    """Rows of documents that none of these versions shows, nor the next one would."""
    return [
        row
        for row, added, removed in db.execute("SELECT row, added, removed FROM documents")
        if removed is not None and not any(added <= version < removed for version in keep)
    ]


def prune(db: sqlite3.Connection, folder: Path, keep: Collection[int]) -> int:
    """Forgets all versions but `keep`, and every row that only they showed; how many chunks that were.

    Vectors that no chunk has any more are journalled, for Chroma to forget them too.
    """
    with transaction(db, folder):
        chunks = sum(_forget(db, document) for document in dead_documents(db, keep))
        db.execute(
            "INSERT OR REPLACE INTO journal SELECT row, space, 'remove' FROM vectors "
            "WHERE row NOT IN (SELECT vector FROM chunks WHERE vector IS NOT NULL)"
        )
        db.execute("DELETE FROM vectors WHERE row IN (SELECT vector FROM journal WHERE op = 'remove')")
        marks = ",".join("?" * len(keep))
        db.execute(f"DELETE FROM versions WHERE version NOT IN ({marks})", sorted(keep))  # noqa: S608 # only marks
        if chunks:
            db.execute("INSERT INTO words (words) VALUES ('optimize')")  # what it was told to forget goes only now
            postings.rebuild(db)
    return chunks


def shrink(db: sqlite3.Connection, folder: Path) -> None:
    """Gives the pages that became free back to the disk. Readers go on; none of ours holds a snapshot for long.

    Raises:
        StorageError: there is no space for the copy that SQLite makes. Everything is as it was.
    """
    with guarded(folder):
        if db.execute("PRAGMA freelist_count").fetchone()[0]:
            db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint (TRUNCATE)").fetchone()


def _forget(db: sqlite3.Connection, document: int) -> int:
    rows = db.execute("SELECT row, heading, text FROM chunks WHERE document = ?", (document,)).fetchall()
    for row, heading, text in rows:
        # A table without content must be told what it is to forget.
        words = (row, indexed_form(heading), indexed_form(text))
        db.execute("INSERT INTO words (words, rowid, heading, body) VALUES ('delete', ?, ?, ?)", words)
    db.execute("DELETE FROM chunks WHERE document = ?", (document,))
    db.execute("DELETE FROM documents WHERE row = ?", (document,))
    return len(rows)

"""Recording questions with their answers, reading them again, and deleting them."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmkit.traces.schema import connect, guarded, transaction


@dataclass(frozen=True)
class Used:
    """An artifact (index, model, adapter, reader) that an answer was made with."""

    role: str
    ref: str
    digest: str


@dataclass(frozen=True)
class Passage:
    """A passage that was found: code points `start` to `end` of a document, whose text then had this sha256."""

    source: str
    record: str
    digest: str
    start: int
    end: int
    score: float
    cited: bool


@dataclass(frozen=True)
class Trace:
    """A question and what was said to it.

    Attributes:
        seconds: from the question to the whole answer.
        details: whatever else is known, JSON values: evidence, timings, tokens, the model's prompt.
        scrubbed: personal data were replaced before it was handed over.
        session: turns of one conversation share it.
        id, asked: given by the log (16 hex digits, at random; UTC).
    """

    command: str
    question: str
    answer: str
    abstained: bool
    seconds: float
    used: tuple[Used, ...] = ()
    passages: tuple[Passage, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    scrubbed: bool = False
    session: str | None = None
    id: str = ""
    asked: datetime | None = None


@dataclass(frozen=True)
class Retention:
    """How long traces are kept, by age and by number; 0 sets no limit."""

    days: float = 0
    count: int = 0


class TraceLog:
    """The traces below a registry's home. Each call opens the file and closes it; several processes may do so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, trace: Trace, retention: Retention | None = None) -> str:
        """Keep a trace, and delete those that are past the retention; returns its id.

        Raises:
            StorageError: the file cannot be written.
            DataError: it is damaged, or a newer llmkit's.
        """
        identity = secrets.token_hex(8)
        asked = trace.asked or datetime.now(UTC)
        with closing(_existing(connect(self.path, write=True))) as db, transaction(db, self.path):
            row = db.execute(
                "INSERT INTO traces (id, asked, command, session, question, answer, abstained, seconds, scrubbed,"
                " details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    identity,
                    _stamp(asked),
                    trace.command,
                    trace.session,
                    _plain(trace.question),
                    _plain(trace.answer),
                    trace.abstained,
                    trace.seconds,
                    trace.scrubbed,
                    json.dumps(trace.details, allow_nan=False),
                ),
            ).lastrowid
            used = [(row, each.role, each.ref, each.digest) for each in trace.used]
            db.executemany("INSERT INTO used VALUES (?, ?, ?, ?)", used)
            places = [
                (row, n, _plain(p.source), _plain(p.record), p.digest, p.start, p.end, p.score, p.cited)
                for n, p in enumerate(trace.passages)
            ]
            db.executemany("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", places)
            _retain(db, retention or Retention(), datetime.now(UTC))
        return identity

    def traces(self, most: int | None = None, *, abstained: bool | None = None) -> list[Trace]:
        """The latest traces, latest first."""
        where = "" if abstained is None else f"WHERE abstained = {int(abstained)}"
        limit = -1 if most is None else most
        return self._read(f"SELECT * FROM traces {where} ORDER BY row DESC LIMIT ?", limit)  # noqa: S608  # no user text

    def find(self, identity: str) -> Trace | None:
        """The trace with this id, or None."""
        return next(iter(self._read("SELECT * FROM traces WHERE id = ?", identity)), None)

    def clear(self, before: datetime | None = None) -> int:
        """Delete all traces, or those asked before a time; returns how many. Nothing of them stays in the file.

        Raises:
            StorageError, DataError: as `record`.
        """
        if not self.path.is_file():
            return 0
        with closing(_existing(connect(self.path, write=True))) as db:
            with transaction(db, self.path):
                until = _stamp(before) if before else "~"
                deleted = db.execute("DELETE FROM traces WHERE asked < ?", (until,)).rowcount
            with guarded(self.path):
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint (TRUNCATE)")
        return int(deleted)

    def _read(self, sql: str, value: object) -> list[Trace]:
        db = connect(self.path, write=False)
        if db is None:
            return []
        with closing(db), guarded(self.path):
            return [_trace(db, row) for row in db.execute(sql, (value,)).fetchall()]


def to_json(trace: Trace) -> dict[str, Any]:
    """JSON values, as `llmkit questions` prints them."""
    return {
        "id": trace.id,
        "asked": trace.asked.isoformat() if trace.asked else None,
        "command": trace.command,
        "session": trace.session,
        "question": trace.question,
        "answer": trace.answer,
        "abstained": trace.abstained,
        "seconds": round(trace.seconds, 4),
        "scrubbed": trace.scrubbed,
        "used": [vars(each) for each in trace.used],
        "passages": [vars(each) for each in trace.passages],
        **trace.details,
    }


def _existing(db: sqlite3.Connection | None) -> sqlite3.Connection:
    assert db is not None  # noqa: S101  # a writer makes it
    return db


def _trace(db: sqlite3.Connection, row: sqlite3.Row) -> Trace:
    used = db.execute("SELECT role, ref, digest FROM used WHERE trace = ? ORDER BY role", (row["row"],))
    found = db.execute(
        "SELECT source, record, digest, start, stop AS end, score, cited FROM passages WHERE trace = ? ORDER BY rank",
        (row["row"],),
    )
    return Trace(
        row["command"],
        row["question"],
        row["answer"],
        bool(row["abstained"]),
        row["seconds"],
        tuple(Used(*each) for each in used),
        tuple(Passage(**{**dict(each), "cited": bool(each["cited"])}) for each in found),
        json.loads(row["details"]),
        bool(row["scrubbed"]),
        row["session"],
        row["id"],
        datetime.fromisoformat(row["asked"]),
    )


def _retain(db: sqlite3.Connection, retention: Retention, now: datetime) -> None:
    if retention.days:
        db.execute("DELETE FROM traces WHERE asked < ?", (_stamp(now - timedelta(days=retention.days)),))
    if retention.count:
        oldest = "SELECT row FROM traces ORDER BY row DESC LIMIT 1 OFFSET ?"
        db.execute(f"DELETE FROM traces WHERE row <= ({oldest})", (retention.count,))  # noqa: S608  # no user text


def _stamp(when: datetime) -> str:
    """UTC, of one length, so that texts compare as times do."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _plain(text: str) -> str:
    """Text that SQLite keeps: a file's name may hold lone surrogates, which are no UTF-8."""
    return text.encode("utf-8", "replace").decode()

"""What a model answered to what: kept in the registry's cache, so that a killed evaluation goes on where it was.

One SQLite file for each model (its digest, the device and the version of the scoring code); a row is keyed by what the
model was asked, down to the last character, and how. What decides the answer is in the key, and what does not (a
metric, the order of the data, the size of batches) is not. WAL lets processes share it; every second what is new is
written in one transaction, so a process may die at any moment.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from llmkit.registry.values import digest_of

VERSION = 1
"""Of the code that scores and writes: another one asks the models again."""
_WAIT = 30.0
_EVERY = 1.0
"""Seconds of work that a killed process loses at most, one batch besides."""

Answer = Callable[[Sequence[Any]], Iterator[tuple[int, Any]]]
"""Requests -> (number, answer as JSON) as they are found."""


class KeptAnswers:
    """The answers of one model. A cache that cannot be used is done without."""

    def __init__(self, folder: Path | None) -> None:
        self._db = _open(folder) if folder is not None else None
        self.found = self.asked = 0

    def answers(self, how: str, requests: Sequence[JsonValue], answer: Answer) -> list[Any]:
        """The answer to each request: what is kept, and the rest by asking.

        Args:
            how: what else decides the answer (the operation and its options).
            requests: JSON values.
        """
        keys = [digest_of([how, request]) for request in requests]
        known = self._read(keys)
        missing = [at for at, key in enumerate(keys) if key not in known]
        self.found += len(requests) - len(missing)
        self.asked += len(missing)
        new: dict[str, Any] = {}
        written = time.monotonic()
        try:
            for number, value in answer([requests[at] for at in missing]) if missing else ():
                new[keys[missing[number]]] = known[keys[missing[number]]] = value
                if time.monotonic() - written > _EVERY:
                    self._write(new)
                    written = time.monotonic()
        finally:
            self._write(new)
        return [known[key] for key in keys]

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _read(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._db is None:
            return found
        for begin in range(0, len(keys), 500):
            part = keys[begin : begin + 500]
            marks = ",".join("?" * len(part))
            for key, value in self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part):  # noqa: S608  # only question marks
                found[key] = json.loads(value)
        return found

    def _write(self, new: dict[str, Any]) -> None:
        if self._db is None or not new:
            return
        rows = [(key, json.dumps(value, allow_nan=True)) for key, value in new.items()]
        new.clear()
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
        except sqlite3.Error:
            self.close()  # a full disk must not stop a measurement that needs no cache


def _open(folder: Path) -> sqlite3.Connection | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # gc goes by the time of last use
        db = sqlite3.connect(folder / "answers.sqlite", timeout=_WAIT, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    except (sqlite3.Error, OSError):
        return None
    return db

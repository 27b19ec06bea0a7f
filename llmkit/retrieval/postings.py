"""BM25 at scale: where each term stands, as arrays, beside FTS5 and made from it.

FTS5 looks up the length of every row that any word of a question matches, at some 2 microseconds each: a question of
ten words in an index of 122,000 chunks takes 15 CPU ms in the median, and 59 at the 95th percentile. Here a term is one
blob of (chunk, count), and scoring it is a few operations of NumPy: 1.4 and 2.2 ms in the same run, also in a fresh
process. FTS5 remains what counts: `rebuild` makes all of this from it, the scores are its own (Robertson and Zaragoza
2009, k1 1.2, b 0.75), and it answers where a version is not published yet.

A segment holds the chunks of one published version that were not in the ones before; segments are never changed, only
joined under a new number, in the transaction that publishes.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmkit.retrieval.lexical import TOKENIZER, indexed_form

K1, B = 1.2, 0.75
"""FTS5's."""
LEAST_IDF = 1e-6
"""What FTS5 gives a term that stands in more than half of all rows."""
MOST_SEGMENTS = 8
MOST_COUNTED = 255
BATCH = 2_000

Rows = NDArray[np.int64]
Packed = NDArray[np.uint32]
"""Place of the chunk in its segment << 8 | count of the term in it."""


class Segment(NamedTuple):
    """Chunks by ascending row, and how many terms each has."""

    number: int
    rows: Rows
    lengths: NDArray[np.uint32]


def segments(db: sqlite3.Connection, known: Sequence[Segment] = ()) -> list[Segment]:
    """All segments; of those in `known`, which never change, only the numbers are read."""
    there = {segment.number: segment for segment in known}
    found = []
    for (number,) in db.execute("SELECT segment FROM segments ORDER BY segment").fetchall():
        if number not in there:
            rows, lengths = db.execute("SELECT rows, lengths FROM segments WHERE segment = ?", (number,)).fetchone()
            there[number] = Segment(number, np.frombuffer(rows, "<i8"), np.frombuffer(lengths, "<u4"))
        found.append(there[number])
    return found


def scores(db: sqlite3.Connection, held: Sequence[Segment], terms: Sequence[str]) -> tuple[Rows, NDArray[np.float32]]:
    """Rows that hold any of `terms`, and their BM25; a term that comes twice counts twice, as in FTS5."""
    total = sum(len(segment.rows) for segment in held)
    average = sum(int(segment.lengths.sum()) for segment in held) / max(1, total)
    sql = "SELECT segment, data FROM postings WHERE term = ?"
    found = {term: {n: np.frombuffer(data, "<u4") for n, data in db.execute(sql, (term,))} for term in set(terms)}
    idf = {term: _idf(total, sum(map(len, parts.values()))) for term, parts in found.items()}
    rows, values = [], []
    for segment in held:
        score = np.zeros(len(segment.rows), np.float32)
        for term in terms:
            packed = found[term].get(segment.number)
            if packed is not None:
                places, counts = packed >> 8, (packed & 255).astype(np.float32)
                norm = K1 * (1 - B + (B / average) * segment.lengths[places])
                score[places] += (idf[term] * (K1 + 1)) * counts / (counts + norm)
        hit = np.flatnonzero(score)
        rows.append(segment.rows[hit])
        values.append(score[hit])
    if not held:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    return np.concatenate(rows), np.concatenate(values)


def extend(db: sqlite3.Connection) -> None:
    """Takes in the chunks that no segment holds. Inside a transaction of the writer's."""
    last, most = db.execute("SELECT max(last), count(*) FROM segments").fetchone()
    if last is None:
        rebuild(db)
        return
    new = np.array(
        [row for (row,) in db.execute("SELECT row FROM chunks WHERE row > ? ORDER BY row", (last,))], np.int64
    )
    if not len(new):
        return
    other = sqlite3.connect(":memory:")
    try:
        other.execute(f"CREATE VIRTUAL TABLE words USING fts5 (heading, body, content='', tokenize='{TOKENIZER}')")
        chunks = db.execute("SELECT row, heading, text FROM chunks WHERE row > ?", (last,))
        while part := chunks.fetchmany(BATCH):
            forms = [(row, indexed_form(heading), indexed_form(text)) for row, heading, text in part]
            other.executemany("INSERT INTO words (rowid, heading, body) VALUES (?, ?, ?)", forms)
        _add(db, new, _terms(other))
    finally:
        other.close()
    if most >= MOST_SEGMENTS:
        _join(db)


def rebuild(db: sqlite3.Connection) -> None:
    """Makes one segment of all that FTS5 holds. Inside a transaction of the writer's."""
    db.execute("DELETE FROM postings")
    db.execute("DELETE FROM segments")
    rows = np.array([row for (row,) in db.execute("SELECT row FROM chunks ORDER BY row")], np.int64)
    if len(rows):
        _add(db, rows, _terms(db))


def _terms(db: sqlite3.Connection) -> Iterator[tuple[str, Rows]]:
    """Every term of a database's `words`, with the row of each place where it stands."""
    db.execute("DROP TABLE IF EXISTS temp.places")
    db.execute("CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, words, instance)")
    # Joined in SQLite and read by NumPy: a Python object for each of ten million places takes a minute.
    for term, listed in db.execute("SELECT term, group_concat(doc) FROM temp.places GROUP BY term"):
        yield term, np.fromstring(listed, np.int64, sep=",")
    db.execute("DROP TABLE temp.places")


def _add(db: sqlite3.Connection, rows: Rows, terms: Iterator[tuple[str, Rows]]) -> None:
    cursor = db.execute("INSERT INTO segments (last, rows, lengths) VALUES (?, x'', x'')", (int(rows[-1]),))
    number = cursor.lastrowid
    lengths = np.zeros(len(rows), np.uint32)

    def packed() -> Iterator[tuple[str, int | None, bytes]]:
        for term, listed in terms:
            at, counts = np.unique(listed, return_counts=True)
            places = np.searchsorted(rows, at).astype(np.uint32)
            lengths[places] += counts.astype(np.uint32)
            data = places << 8 | np.minimum(counts, MOST_COUNTED).astype(np.uint32)
            yield term, number, data.astype("<u4").tobytes()

    db.executemany("INSERT INTO postings VALUES (?, ?, ?)", packed())
    filled = (rows.astype("<i8").tobytes(), lengths.astype("<u4").tobytes(), number)
    db.execute("UPDATE segments SET rows = ?, lengths = ? WHERE segment = ?", filled)


def _join(db: sqlite3.Connection) -> None:
    """One segment of all: their rows ascend from one to the next, so only the places have to be moved on."""
    held = segments(db)
    starts = np.cumsum([0, *(len(segment.rows) for segment in held)])
    moved = {segment.number: np.uint32(start << 8) for segment, start in zip(held, starts[:-1].tolist(), strict=True)}
    last = int(held[-1].rows[-1])
    rows = np.concatenate([segment.rows for segment in held]).astype("<i8").tobytes()
    lengths = np.concatenate([segment.lengths for segment in held]).astype("<u4").tobytes()
    number = db.execute("INSERT INTO segments (last, rows, lengths) VALUES (?, ?, ?)", (last, rows, lengths)).lastrowid
    parts: dict[str, list[bytes]] = {}
    for term, segment, data in db.execute("SELECT term, segment, data FROM postings ORDER BY term, segment"):
        parts.setdefault(term, []).append((np.frombuffer(data, "<u4") + moved[segment]).tobytes())
    db.execute("DELETE FROM postings")
    db.execute("DELETE FROM segments WHERE segment < ?", (number,))
    db.executemany("INSERT INTO postings VALUES (?, ?, ?)", ((t, number, b"".join(p)) for t, p in parts.items()))


def _idf(total: int, holding: int) -> float:
    idf = math.log((total - holding + 0.5) / (holding + 0.5))
    return idf if idf > 0 else LEAST_IDF

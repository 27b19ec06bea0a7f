"""Is an index whole? Every part of the store against what it is made from, and made again where it is not.

SQLite's documents, chunks and vectors are the truth: damage to them cannot be mended, only found. All else is: its own
indexes, FTS5 and the postings are made again from the chunks, the journal from the vectors, Chroma from both.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from llmkit.errors import DataError
from llmkit.retrieval import postings
from llmkit.retrieval.lexical import TOKENIZER, indexed_form
from llmkit.retrieval.schema import FILE, guarded, transaction
from llmkit.retrieval.store import count_rows, versions
from llmkit.retrieval.vectors import ChromaVectors

BATCH = 2_000
LOOKED_UP = 1_000
"""Terms that are looked up one by one."""


class Finding(NamedTuple):
    """What was looked at, what was found, and what was done about it ("" where nothing had to be)."""

    part: str
    found: str
    mended: str = ""


def repair(
    folder: Path, db: sqlite3.Connection, server: str | None, sending: Callable[[Iterator[int]], None]
) -> Iterator[Finding]:
    """Checks the parts of an index, each after what it is made from. Under the index's lock.

    Args:
        db: opened to write.
        server: of Chroma, as the index was built with.
        sending: consumes the points sent to Chroma, batch by batch, to show them.

    Raises:
        DataError: what the documents were made into is itself damaged: the index has to be built again.
        UnavailableError: the Chroma server does not answer. All else was mended before.
    """
    yield _file(folder, db)
    yield _rows(folder, db)
    yield _words(folder, db)
    yield _postings(folder, db)
    yield _journal(folder, db)
    for digest, name in db.execute("SELECT digest, name FROM spaces ORDER BY space").fetchall():
        yield _chroma(folder, digest, name, server, sending)


def _file(folder: Path, db: sqlite3.Connection) -> Finding:
    """SQLite's own check of every page; indexes can be made again, rows cannot."""
    with guarded(folder):
        wrong = [line for (line,) in db.execute("PRAGMA integrity_check") if line != "ok"]
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        if not wrong:
            return Finding("SQLite", f"whole, {pages:,} pages")
        if all("index" in line for line in wrong):
            db.execute("REINDEX")
            if db.execute("PRAGMA integrity_check").fetchone()[0] == "ok":
                return Finding("SQLite", f"{len(wrong)} entries missing in its indexes", "indexes made again")
    raise DataError(
        f"the index is damaged ({wrong[0].splitlines()[0]})", where=str(folder / FILE), mend=build_again(folder)
    )


def build_again(folder: Path) -> str:
    """The way out where the truth itself is damaged."""
    return (
        f"move {folder} away and run the `llmkit index` that made it again with --force: "
        "all of it is made from your documents"
    )


def _rows(folder: Path, db: sqlite3.Connection) -> Finding:
    """Chunks against their documents and vectors."""
    checks = {
        "chunks without a document": "SELECT count(*) FROM chunks WHERE document NOT IN (SELECT row FROM documents)",
        "chunks whose vector is gone": "SELECT count(*) FROM chunks WHERE vector IS NOT NULL "
        "AND vector NOT IN (SELECT row FROM vectors)",
        "vectors of a wrong length": "SELECT count(*) FROM vectors v JOIN spaces s ON s.space = v.space "
        "WHERE length(v.data) != 2 * s.dimension",
    }
    with guarded(folder):
        wrong = {what: count for what, sql in checks.items() if (count := db.execute(sql).fetchone()[0])}
        short = [info.version for info in versions(db) if count_rows(db, info.version) != (info.documents, info.chunks)]
        chunks, vectors = (db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("chunks", "vectors"))  # noqa: S608
    if short:
        wrong[f"versions that lack rows ({', '.join(map(str, short))})"] = len(short)
    if wrong:
        said = ", ".join(f"{count:,} {what}" for what, count in wrong.items())
        raise DataError(f"the index is damaged ({said})", where=str(folder / FILE), mend=build_again(folder))
    return Finding("rows", f"{chunks:,} chunks, {vectors:,} vectors, each where it belongs")


def _words(folder: Path, db: sqlite3.Connection) -> Finding:
    """FTS5 within itself, and against the texts: they are tokenised again."""
    other = sqlite3.connect(":memory:")
    try:
        other.execute(f"CREATE VIRTUAL TABLE words USING fts5 (heading, body, content='', tokenize='{TOKENIZER}')")
        with guarded(folder):
            _fill(db, other)
        try:
            db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            terms = _vocabulary(db)
            same = terms == _vocabulary(other) and _lengths(db) == _lengths(other) and _found(db, terms)
        except sqlite3.DatabaseError:
            same = False
    finally:
        other.close()
    if same:
        return Finding("words", "as in the texts")
    with transaction(db, folder):
        db.execute("DROP TABLE IF EXISTS temp.repaired")
        db.execute("DROP TABLE words")
        db.execute(f"CREATE VIRTUAL TABLE words USING fts5 (heading, body, content='', tokenize='{TOKENIZER}')")
        _fill(db, db)
        postings.rebuild(db)
    return Finding("words", "not as in the texts", "made again")


def _fill(db: sqlite3.Connection, into: sqlite3.Connection) -> None:
    chunks = db.cursor().execute("SELECT row, heading, text FROM chunks ORDER BY row")
    while part := chunks.fetchmany(BATCH):
        forms = [(row, indexed_form(heading), indexed_form(text)) for row, heading, text in part]
        into.executemany("INSERT INTO words (rowid, heading, body) VALUES (?, ?, ?)", forms)


def _vocabulary(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Of each term, in how many chunks and how often it stands."""
    db.execute("DROP TABLE IF EXISTS temp.repaired")
    db.execute("CREATE VIRTUAL TABLE temp.repaired USING fts5vocab(main, words, row)")
    found = {term: (chunks, places) for term, chunks, places in db.execute("SELECT * FROM temp.repaired")}
    db.execute("DROP TABLE temp.repaired")
    return found


def _found(db: sqlite3.Connection, terms: Mapping[str, tuple[int, int]]) -> bool:
    """Whether looking terms up, instead of reading all of them in order, finds them."""
    looked_up = list(terms)[:: max(1, len(terms) // LOOKED_UP)]
    db.execute("CREATE VIRTUAL TABLE temp.repaired USING fts5vocab(main, words, row)")
    sql = "SELECT doc FROM temp.repaired WHERE term = ?"
    same = all(db.execute(sql, (term,)).fetchone() == (terms[term][0],) for term in looked_up)
    db.execute("DROP TABLE temp.repaired")
    return same


def _lengths(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """The length of each row, which BM25 needs."""
    return db.execute("SELECT id, sz FROM words_docsize ORDER BY id").fetchall()


def _postings(folder: Path, db: sqlite3.Connection) -> Finding:
    """The arrays that are searched, against FTS5; of a store that has published nothing there are none."""
    with guarded(folder):
        rows = [row for segment in postings.segments(db) for row in segment.rows.tolist()]
        sql = """SELECT c.row FROM chunks c JOIN documents d ON d.row = c.document
            WHERE d.added <= (SELECT max(version) FROM versions)"""
        published = {row for (row,) in db.execute(sql)}
        every = {row for (row,) in db.execute("SELECT row FROM chunks")}
        expected = {term: chunks for term, (chunks, _) in _vocabulary(db).items()}
        found: Counter[str] = Counter()
        for term, size in db.execute("SELECT term, length(data) FROM postings"):
            found[term] += size // 4
    # A killed run leaves chunks that the next one publishes: those are in FTS5 and in no segment yet.
    covered = rows == sorted(set(rows)) and published <= set(rows) <= every
    if covered and (dict(found) == expected or set(rows) != every):
        return Finding("postings", "as in the words")
    with transaction(db, folder):
        postings.rebuild(db)
    return Finding("postings", "not as in the words", "made again")


def _journal(folder: Path, db: sqlite3.Connection) -> Finding:
    """What Chroma is still to be told must be of vectors that are there, or that are gone."""
    sql = "FROM journal WHERE (op = 'add') != (vector IN (SELECT row FROM vectors WHERE vectors.space = journal.space))"
    with guarded(folder):
        wrong = db.execute(f"SELECT count(*) {sql}").fetchone()[0]
        left = db.execute("SELECT count(*) FROM journal").fetchone()[0] - wrong
    if wrong:
        with transaction(db, folder):
            db.execute(f"DELETE {sql}")
        return Finding("journal", f"{wrong:,} entries of no use", "struck out")
    return Finding("journal", f"{left:,} vectors that Chroma does not have yet" if left else "empty")


def _chroma(
    folder: Path, digest: str, name: str, server: str | None, sending: Callable[[Iterator[int]], None]
) -> Finding:
    part = f"Chroma, {name}"
    chroma = ChromaVectors(folder, digest, server=server)
    sent = 0

    def counted(batches: Iterator[int]) -> Iterator[int]:
        nonlocal sent
        for count in batches:
            sent += count
            yield count

    try:
        differing = chroma.differing()
        if differing == 0 and chroma.in_step():
            return Finding(part, "as in SQLite")
        sending(counted(chroma.catch_up()))  # where only the journal was not played, playing it is enough
        if chroma.differing() != 0:
            sending(counted(chroma.catch_up(anew=True)))
    finally:
        chroma.close()
    found = "not there, or damaged" if differing is None else f"{differing:,} vectors not as in SQLite"
    return Finding(part, found, f"{sent:,} vectors sent")

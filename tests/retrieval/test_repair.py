"""Repair: each kind of damage is found, what can be made again is, and the index then answers as before."""

from __future__ import annotations

import shutil
import sqlite3
from collections import deque
from pathlib import Path

import pytest

from llmkit.errors import DataError, UnavailableError
from llmkit.retrieval.repair import Finding, repair
from llmkit.retrieval.schema import FILE, connect
from llmkit.retrieval.store import View
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.text.document import Document

from .conftest import Hashed, build

KINDS = ("apple", "pear", "plum", "fig")
PARTS = ["SQLite", "rows", "words", "postings", "journal", "Chroma, hashed"]


def documents(count: int = 30) -> list[Document]:
    return [Document(f"/d/{n}.txt", f"{KINDS[n % 4]} number{n} 東京.") for n in range(count)]


@pytest.fixture
def index(tmp_path: Path, hashed: Hashed) -> Path:
    """An index of two versions, in step with Chroma."""
    build(tmp_path, documents(20), hashed)
    build(tmp_path, documents(30)[5:], hashed)
    chroma = ChromaVectors(tmp_path, hashed.digest)
    list(chroma.catch_up())
    chroma.close()
    return tmp_path


def run(folder: Path, server: str | None = None) -> list[Finding]:
    db = connect(folder, write=True)
    try:
        return list(repair(folder, db, server, lambda batches: deque(batches, 0)))
    finally:
        db.close()


def mended(findings: list[Finding]) -> set[str]:
    return {finding.part for finding in findings if finding.mended}


def answers(folder: Path) -> list[object]:
    found: list[object] = []
    for version in (1, 2):
        view = View(folder, version)
        words = (["apple"], ["fig", "number3"], ["東京"], ["number29", "pear"])
        found += [view.lexical(asked, 50) for asked in words]
        found.append([(row, vector.tobytes()) for row, vector in zip(*view.vectors, strict=True)])
        view.close()
    return found


def execute(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / FILE)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_of_a_whole_index_nothing_is_touched(index: Path) -> None:
    before = answers(index)
    findings = run(index)
    assert [finding.part for finding in findings] == PARTS and not mended(findings)
    assert answers(index) == before


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("DELETE FROM words_docsize WHERE id = 3", {"words"}),
        (
            "INSERT INTO words (words, rowid, heading, body) VALUES ('delete', 1, '0', 'apple number0 東京 東 京')",
            {"words"},
        ),
        ("INSERT INTO words (rowid, heading, body) VALUES (999, 'more', 'apple')", {"words"}),
        ("DELETE FROM words_data WHERE id > 10", {"words"}),
        ("DELETE FROM postings WHERE term = 'appl'", {"postings"}),
        ("DELETE FROM segments", {"postings"}),
        ("DELETE FROM segments WHERE segment = 2", {"postings"}),
        ("INSERT INTO journal VALUES (5, 1, 'remove')", {"journal"}),
        ("INSERT INTO journal VALUES (500, 1, 'add')", {"journal"}),
        ("INSERT INTO journal VALUES (5, 1, 'add')", {"Chroma, hashed"}),
    ],
)
def test_what_is_made_of_the_rows_is_made_again(index: Path, damage: str, parts: set[str]) -> None:
    before = answers(index)
    execute(index, damage)
    assert parts <= mended(run(index)) <= {*parts, "postings"}
    assert not mended(run(index))
    assert answers(index) == [pytest.approx(found) if isinstance(found, dict) else found for found in before]


def test_terms_that_are_there_and_not_found_are_noticed(tmp_path: Path) -> None:
    texts = [" ".join(f"w{n}x{k}" for k in range(40)) for n in range(200)]
    build(tmp_path, [Document(f"/d/{n}.txt", text) for n, text in enumerate(texts)], None)
    execute(tmp_path, "DELETE FROM words_idx")
    assert mended(run(tmp_path)) == {"words"} and not mended(run(tmp_path))
    assert len(View(tmp_path).lexical(["w150x20"], 5)) == 1


@pytest.mark.parametrize("damage", ["removed", "truncated", "emptied", "changed", "more"])
def test_chroma_is_made_again_from_sqlite(index: Path, hashed: Hashed, damage: str) -> None:
    if damage == "removed":
        shutil.rmtree(index / "chroma")
    elif damage == "truncated":
        for file in (index / "chroma").rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[:100])
    else:
        chroma = ChromaVectors(index, hashed.digest)
        chroma._connect(create=False)
        if damage == "emptied":
            chroma._collection.delete(ids=[str(n) for n in range(1, 31)])
        elif damage == "changed":
            chroma._collection.update(ids=["7"], embeddings=[[1.0] * hashed.dimension])
        else:
            chroma._collection.add(ids=["999"], embeddings=[[1.0] * hashed.dimension])
        chroma.close()
    findings = run(index)
    assert mended(findings) == {"Chroma, hashed"} and "30 vectors sent" in findings[-1].mended
    assert not mended(run(index))


def test_a_lost_entry_of_sqlites_own_index_is_made_again(index: Path) -> None:
    before = answers(index)
    db = sqlite3.connect(index / FILE)
    db.execute("PRAGMA writable_schema = ON")
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'chunks_of_document'").fetchone()
    wrong = sql.replace("(document)", "(start)")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'chunks_of_document'", (wrong,))
    db.commit()
    db.close()
    execute(index, "REINDEX chunks_of_document")
    db = sqlite3.connect(index / FILE)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'chunks_of_document'", (sql,))
    db.commit()
    db.close()
    assert "SQLite" in mended(run(index))
    assert answers(index) == before and not mended(run(index))


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM documents WHERE row = 3",
        "DELETE FROM vectors WHERE row = 3",
        "DELETE FROM chunks WHERE row = 3",
        "UPDATE vectors SET data = x'0011' WHERE row = 3",
    ],
)
def test_lost_rows_cannot_be_made_up_and_the_way_out_is_named(index: Path, damage: str) -> None:
    execute(index, damage)
    with pytest.raises(DataError, match="damaged") as caught:
        run(index)
    assert "llmkit index" in str(caught.value.mend) and "--force" in str(caught.value.mend)


def test_a_file_of_other_bytes_says_the_way_out(index: Path) -> None:
    file = index / FILE
    execute(index, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(file.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    file.write_bytes(data)
    with pytest.raises(DataError, match="damaged") as caught:
        run(index)
    assert "llmkit index" in str(caught.value.mend)


def test_of_a_server_that_is_away_all_but_its_part_is_mended(index: Path) -> None:
    execute(index, "DELETE FROM postings")
    db = connect(index, write=True)
    found: list[Finding] = []
    with pytest.raises(UnavailableError):
        found.extend(repair(index, db, "http://127.0.0.1:9", lambda batches: deque(batches, 0)))
    db.close()
    assert mended(found) == {"postings"} and [finding.part for finding in found] == PARTS[:-1]


def test_a_lexical_index_and_one_that_was_never_published_are_whole(tmp_path: Path, hashed: Hashed) -> None:
    from llmkit.retrieval.chunk import ChunkSettings
    from llmkit.retrieval.sync import Incoming, sync
    from llmkit.retrieval.writer import open_writer

    build(tmp_path / "words", documents(), None)
    assert not mended(run(tmp_path / "words"))
    with open_writer(tmp_path / "begun", hashed, ChunkSettings()) as writer:
        list(sync(writer, [Incoming(document) for document in documents()], hashed, ChunkSettings()))
    assert mended(run(tmp_path / "begun")) == {"Chroma, hashed"}

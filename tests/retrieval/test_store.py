"""The store: incremental, versioned, one writer, and whole after any death."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmkit.errors import BusyError, DataError, NotFoundError, StorageError
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.schema import FILE
from llmkit.retrieval.store import View
from llmkit.retrieval.sync import FileRead, Incoming, Item, Step, Unchanged, sync
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.retrieval.writer import UNKNOWN, Change, FileState, Stamp, open_writer
from llmkit.text.document import Document

from .conftest import Hashed, build


def doc(name: str, text: str) -> Document:
    return Document(f"/docs/{name}.txt", text)


FIRST = [
    doc("a", "Apples are red."),
    doc("b", "Bananas are yellow."),
    doc("c", "Cherries are red."),
    doc("d", "Dates."),
]
SECOND = [doc("a", "Apples are red."), doc("b", "Bananas are green."), doc("e", "Elderberries."), doc("f", "Dates.")]


def content(folder: Path, version: int | None = None) -> tuple[object, ...]:
    """All that a version shows: documents, chunks, vectors, and what is found by words."""
    view = View(folder, version)
    rows, vectors = view.vectors
    chunks = view.chunks(rows.tolist())
    by_place = sorted(
        (chunks[row].source, chunks[row].span, vector.tobytes())
        for row, vector in zip(rows.tolist(), vectors, strict=True)
    )
    words = ("apples", "red", "yellow", "green", "dates", "elderberries")
    lexical = [sorted(chunks[row].source for row in view.lexical([word], 100)) for word in words]
    counts = view.counts
    manifest = list(view.manifest())
    view.close()
    return counts, manifest, by_place, lexical


def test_a_second_run_takes_in_only_what_changed(tmp_path: Path, hashed: Hashed) -> None:
    assert str(build(tmp_path, FIRST, hashed)) == "+4 ~0 -0 =0"
    hashed.texts.clear()
    change = build(tmp_path, SECOND, hashed)
    assert change == Change(added=2, changed=1, removed=2, unchanged=1) and str(change) == "+2 ~1 -2 =1"
    assert sorted(hashed.texts) == ["b\nBananas are green.", "e\nElderberries.", "f\nDates."]
    assert str(Change(unchanged=4512)) == "+0 ~0 -0 =4,512"
    assert not build(tmp_path, SECOND, hashed)


def test_a_finished_run_leaves_no_log_though_somebody_reads(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    view = View(tmp_path)
    build(tmp_path, SECOND, hashed)
    assert (tmp_path / f"{FILE}-wal").stat().st_size == 0
    assert len(view.lexical(["yellow"], 5)) == 1


def test_a_version_never_changes_and_the_newest_is_what_a_fresh_build_would_be(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path / "grown", FIRST, hashed)
    before = content(tmp_path / "grown", 1)
    build(tmp_path / "grown", SECOND, hashed)
    build(tmp_path / "fresh", SECOND, hashed)
    assert content(tmp_path / "grown", 1) == before
    assert content(tmp_path / "grown", 2) == content(tmp_path / "grown") == content(tmp_path / "fresh")


def test_an_open_view_is_not_disturbed_by_a_writer(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    view = View(tmp_path)
    build(tmp_path, SECOND, hashed)
    assert view.counts == (4, 4) and len(view.lexical(["yellow"], 5)) == 1 and not view.lexical(["green"], 5)
    assert View(tmp_path).lexical(["green"], 5)


def test_equal_texts_are_embedded_once_wherever_they_stand(tmp_path: Path, hashed: Hashed) -> None:
    same = [Document("/x/t.jsonl", "The same text.", record=str(n)) for n in range(5)]
    build(tmp_path, same, hashed)
    assert hashed.texts == ["The same text."] and View(tmp_path).counts == (5, 5)
    assert View(tmp_path).vectors[0].shape == (5,)


def ledger(folder: Path) -> tuple[object, ...]:
    """What else a store remembers: its vectors, what Chroma is to be told, and which files were read."""
    db = sqlite3.connect(folder / FILE)
    vectors = sorted(db.execute("SELECT key, data FROM vectors").fetchall())
    told = sorted(db.execute("SELECT v.key, j.op FROM journal j LEFT JOIN vectors v ON v.row = j.vector").fetchall())
    files = sorted(db.execute("SELECT file, size, changed_ns, read_as, drops FROM files").fetchall())
    broken = db.execute("PRAGMA integrity_check").fetchall()
    db.close()
    return vectors, told, files, broken


def test_a_death_at_any_statement_leaves_the_old_version_and_the_next_run_ends_like_a_fresh_build(
    tmp_path: Path, hashed: Hashed
) -> None:
    build(tmp_path / "base", FIRST, hashed)
    build(tmp_path / "fresh", SECOND, hashed)
    base, fresh = content(tmp_path / "base"), content(tmp_path / "fresh")
    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    assert not _killed_at(tmp_path / "whole", 100_000)
    whole = ledger(tmp_path / "whole")
    point, died = 1, True
    while died:
        folder = tmp_path / f"killed{point}"
        shutil.copytree(tmp_path / "base", folder)
        died = _killed_at(folder, point)
        if died:
            assert content(folder) in (base, fresh)
            _take_in(folder)
        assert content(folder) == fresh
        assert ledger(folder) == whole
        assert list(View(folder).info) == ["fusion"]
        point += 4
    assert point > 40


def _take_in(folder: Path, watch: Callable[[str], None] | None = None) -> None:
    """SECOND, each document in a file of its own."""
    with open_writer(folder, Hashed(), ChunkSettings()) as writer:
        writer.db.set_trace_callback(watch)
        items = ((Incoming(d, d.source), FileRead(d.source, FileState(Stamp(1, n)))) for n, d in enumerate(SECOND))
        list(sync(writer, [item for pair in items for item in pair], Hashed(), ChunkSettings()))
        if writer.change():
            writer.publish({"fusion": {}})


def _killed_at(folder: Path, point: int) -> bool:
    """Builds SECOND in a child that kills itself at its `point`-th statement; whether it came to that."""
    child = os.fork()
    if child == 0:
        try:
            left = [point]

            def count(_: str) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            _take_in(folder, count)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_file_in_the_state_it_was_read_in_is_not_read_again(tmp_path: Path, hashed: Hashed) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text("Two notes.")
    os.utime(file, (1, 1))
    assert Stamp.of(str(file)) == UNKNOWN  # its change time is now: it may change again within the clock's tick
    name, state = str(file), FileState(Stamp(7, 123), "as lines", {"bad_json": 2})
    assert state.same_as(FileState(Stamp(7, 123), "as lines")) and not FileState(UNKNOWN).same_as(FileState(UNKNOWN))
    assert not state.same_as(FileState(Stamp(7, 124), "as lines"))
    assert not state.same_as(FileState(Stamp(7, 123), "as a table"))
    one, two = (Incoming(Document(name, f"Note {n}.", record=n), name) for n in "12")

    def run(*items: Item) -> Change:
        with open_writer(tmp_path / "index", hashed, ChunkSettings()) as writer:
            list(sync(writer, items, hashed, ChunkSettings()))
            change = writer.change()
            writer.publish({})
            files.append(writer.files())
            return change

    files: list[dict[str, FileState]] = []
    assert run(one, two, FileRead(name, state)) == Change(added=2)
    assert run(Unchanged(name)) == Change(unchanged=2)
    touched = FileState(Stamp(7, 125))
    assert run(one, FileRead(name, touched)) == Change(unchanged=1, removed=1)
    assert run() == Change(removed=1)
    assert files == [{name: state}, {name: state}, {name: touched}, {}]


def test_of_two_documents_with_one_id_the_first_counts_and_the_file_of_the_other_is_looked_at_each_time(
    tmp_path: Path, hashed: Hashed
) -> None:
    def run(*items: Item) -> list[Step]:
        with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
            steps = list(sync(writer, items, hashed, ChunkSettings()))
            writer.publish({})
            return steps

    first, second = (Incoming(Document("same", f"{word} text.", record="1"), word) for word in ("First", "Second"))
    state = FileState(Stamp(1, 1))
    steps = run(first, FileRead("First", state), second, FileRead("Second", state))
    assert sum(step.repeated for step in steps) == 1 and View(tmp_path).counts == (1, 1)
    with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
        assert writer.files() == {"First": state, "Second": FileState(UNKNOWN, "", {"repeated": 1})}
    run(second, FileRead("Second", state))
    (chunk,) = View(tmp_path).chunks(View(tmp_path).vectors[0].tolist()).values()
    assert chunk.text == "Second text."


def test_another_embedder_or_other_chunks_are_refused_until_a_rebuild(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    other = Hashed()
    other.name, other.digest = "other", "1" * 64
    with pytest.raises(DataError, match="hashed .* other") as caught:
        build(tmp_path, FIRST, other)
    assert "--name" in str(caught.value.mend)
    with pytest.raises(DataError, match="lexical only"), open_writer(tmp_path, None, ChunkSettings()):
        pass
    with pytest.raises(DataError, match="100 tokens"), open_writer(tmp_path, hashed, ChunkSettings(size=100)):
        pass
    old = content(tmp_path, 1)
    assert str(build(tmp_path, FIRST, other, rebuild=True)) == "+0 ~0 -0 =4"
    assert content(tmp_path, 1) == old


def test_a_lexical_index_has_no_vectors(tmp_path: Path) -> None:
    build(tmp_path, FIRST, None)
    view = View(tmp_path)
    assert view.vectors[0].size == 0 and view.lexical(["apples"], 3)


def test_two_writers_are_one_too_many_and_the_second_learns_who_the_first_is(tmp_path: Path, hashed: Hashed) -> None:
    with (
        open_writer(tmp_path, hashed, ChunkSettings()),
        pytest.raises(BusyError, match=str(os.getpid())),
        open_writer(tmp_path, hashed, ChunkSettings()),
    ):
        pass
    with open_writer(tmp_path, hashed, ChunkSettings()):
        pass


def test_pruning_forgets_old_versions_and_all_that_only_they_showed(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    build(tmp_path, SECOND, hashed)
    kept = content(tmp_path, 2)
    build(tmp_path, FIRST[:1], hashed)
    with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
        assert writer.prune({2}) == 3
        assert [info.version for info in writer.finished()] == [2]
    assert content(tmp_path, 2) == kept
    with pytest.raises(NotFoundError):
        View(tmp_path, 1)
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("SELECT count(*) FROM words WHERE words MATCH 'yellow'").fetchone() == (0,)
    db.execute("INSERT INTO words(words) VALUES ('integrity-check')")
    assert db.execute("SELECT count(*) FROM vectors").fetchone() == (4,)


def test_surrogates_and_undecodable_names_survive(tmp_path: Path, hashed: Hashed) -> None:
    odd = Document("/docs/caf\udce9.txt", "Text with \ud800 inside.\x00 And a null.")
    build(tmp_path, [odd], hashed)
    view = View(tmp_path)
    (chunk,) = view.chunks(view.vectors[0].tolist()).values()
    assert (chunk.source, chunk.text) == (odd.source, odd.text) and chunk.heading == "caf\udce9"
    assert not build(tmp_path, [odd], hashed)


def test_a_sample_depends_on_the_seed_and_the_content_only(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path / "one", FIRST, hashed)
    build(tmp_path / "two", FIRST[::-1], hashed)
    one, two = (([c.text for c in View(tmp_path / name).sample(3, 7)]) for name in ("one", "two"))
    assert one == two and one != [c.text for c in View(tmp_path / "one").sample(3, 8)]


def test_nothing_there_unfinished_foreign_and_damaged_indexes_say_so(tmp_path: Path, hashed: Hashed) -> None:
    with pytest.raises(NotFoundError, match="no index"):
        View(tmp_path / "none")
    with open_writer(tmp_path / "begun", hashed, ChunkSettings()), pytest.raises(NotFoundError, match="no finished"):
        View(tmp_path / "begun")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / FILE).write_bytes(b"not a database " * 100)
    with pytest.raises(DataError, match="damaged"):
        View(tmp_path / "junk")
    build(tmp_path / "new", FIRST, hashed)
    with sqlite3.connect(tmp_path / "new" / FILE) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(DataError, match="schema 99"):
        View(tmp_path / "new")


def test_a_changed_row_is_seen_in_the_manifest(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    before = list(View(tmp_path).manifest())
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE chunks SET text = replace(text, 'red', 'bad') WHERE row = 1")
    after = list(View(tmp_path).manifest())
    assert [a == b for a, b in zip(before, after, strict=True)].count(False) == 1


def test_a_full_disk_is_an_error_that_says_so_and_loses_nothing(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    before = content(tmp_path)
    with open_writer(tmp_path, hashed, ChunkSettings()) as writer, pytest.raises(StorageError) as caught:
        pages = writer.db.execute("PRAGMA page_count").fetchone()[0]
        writer.db.execute(f"PRAGMA max_page_count = {pages}")
        many = [Incoming(doc(f"n{n}", f"Text {n} " * 200)) for n in range(100)]
        list(sync(writer, many, hashed, ChunkSettings()))
    assert "free space" in str(caught.value.mend)
    assert content(tmp_path) == before
    build(tmp_path, SECOND, hashed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_index_can_still_be_read(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, FIRST, hashed)
    tmp_path.chmod(0o500)
    try:
        assert View(tmp_path).counts == (4, 4)
        with pytest.raises(StorageError), open_writer(tmp_path, hashed, ChunkSettings()):
            pass
    finally:
        tmp_path.chmod(0o700)


class TestChroma:
    """Chroma holds what SQLite holds, whatever happened to either."""

    def catch_up(self, folder: Path, server: str | None = None) -> list[int]:
        chroma = ChromaVectors(folder, Hashed.digest, server=server)
        try:
            sent = list(chroma.catch_up())
            assert chroma.in_step()
            return sent
        finally:
            chroma.close()

    def test_it_is_sent_what_came_and_told_what_went(self, tmp_path: Path, hashed: Hashed) -> None:
        build(tmp_path, FIRST, hashed)
        chroma = ChromaVectors(tmp_path, hashed.digest)
        assert not chroma.in_step()
        chroma.close()
        assert self.catch_up(tmp_path) == [4] and self.catch_up(tmp_path) == []
        build(tmp_path, SECOND, hashed)
        assert self.catch_up(tmp_path) == [3]
        with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
            writer.prune({2})
        assert self.catch_up(tmp_path) == []

    def test_its_nearest_are_those_of_an_exact_scan(self, library: Path, minilm: Embedder) -> None:
        chroma = ChromaVectors(library, minilm.digest)
        list(chroma.catch_up())
        view = View(library)
        rows, vectors = view.vectors
        for question in ("hash a file", "insert into a sorted list", "quote for the shell", "wrap paragraphs"):
            vector = minilm.encode([question])[0]
            exact = {int(rows[n]): float((vectors @ vector)[n]) for n in np.argsort(-(vectors @ vector))[:10]}
            near = chroma.nearest(vector, 10)
            chunks = view.chunks_with(list(near))
            found = {row: near[v] for v in near for row in chunks[v]}
            assert exact.keys() <= found.keys()
            assert all(found[row] == pytest.approx(exact[row], abs=1e-4) for row in exact)
        chroma.close()

    @pytest.mark.parametrize("damage", ["removed", "overwritten", "emptied"])
    def test_it_is_rebuilt_where_it_was_lost_or_damaged(self, tmp_path: Path, hashed: Hashed, damage: str) -> None:
        build(tmp_path, FIRST, hashed)
        assert self.catch_up(tmp_path) == [4]
        if damage == "removed":
            shutil.rmtree(tmp_path / "chroma")
        elif damage == "overwritten":
            (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"damaged" * 1000)
        else:
            chroma = ChromaVectors(tmp_path, hashed.digest)
            chroma._connect(create=False)
            chroma._collection.delete(ids=["1"])
            chroma.close()
        assert self.catch_up(tmp_path) == [4]

    def test_a_kill_in_the_middle_leaves_work_for_the_journal_and_no_point_twice(self, tmp_path: Path, hashed) -> None:
        many = [doc(str(n), f"Text number {n} about {'abcdefgh'[n % 8]}.") for n in range(300)]
        build(tmp_path, many, hashed)
        script = (
            "import sys, os, signal; from pathlib import Path; from llmkit.retrieval import vectors;"
            "vectors.BATCH = 50; c = vectors.ChromaVectors(Path(sys.argv[1]), '0' * 64); s = c.catch_up();"
            "[next(s) for _ in range(3)]; os.kill(os.getpid(), signal.SIGKILL)"
        )
        ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True)
        assert ran.returncode == -signal.SIGKILL
        assert sum(self.catch_up(tmp_path)) == 150  # it goes on where it was killed
        chroma = ChromaVectors(tmp_path, hashed.digest)
        # Counted, not searched for: among vectors that are nearly the same, an approximate search misses some.
        assert chroma.in_step()
        chroma.close()

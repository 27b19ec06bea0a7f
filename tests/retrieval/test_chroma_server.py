"""A Chroma server in the place of the embedded one: a real one, which comes, goes, and forgets."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import chromadb
import pytest
from support.chroma import ChromaServer

from llmkit.errors import UnavailableError, UsageError
from llmkit.retrieval import vectors
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.language import Fusion
from llmkit.retrieval.schema import connect
from llmkit.retrieval.search import Searcher
from llmkit.retrieval.store import View
from llmkit.retrieval.vectors import ChromaVectors, check_server
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

from .conftest import Hashed, build


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    running = ChromaServer(tmp_path_factory.mktemp("server")).start()
    yield running
    running.kill()


def documents(count: int, words: str = "apple pear plum fig") -> list[Document]:
    kinds = words.split()
    return [Document(f"/d/{n}.txt", f"{' '.join(kinds[: n % 4 + 1])} number{n} of {n * 7}.") for n in range(count)]


def catch_up(folder: Path, server: str) -> list[int]:
    chroma = ChromaVectors(folder, Hashed.digest, server=server)
    try:
        sent = list(chroma.catch_up())
        assert chroma.in_step()
        return sent
    finally:
        chroma.close()


def points(server: ChromaServer) -> dict[str, int]:
    client = chromadb.HttpClient("127.0.0.1", server.port)
    return {collection.name: collection.count() for collection in client.list_collections()}


def in_step(folder: Path, server: str) -> bool:
    chroma = ChromaVectors(folder, Hashed.digest, server=server)
    try:
        return chroma.in_step()
    finally:
        chroma.close()


def test_build_search_update_and_prune_on_a_server(tmp_path: Path, server: ChromaServer, hashed: Hashed) -> None:
    build(tmp_path, documents(60), hashed)
    assert catch_up(tmp_path, server.address) == [60] and catch_up(tmp_path, server.address) == []
    assert not (tmp_path / "chroma").exists()
    build(tmp_path, [*documents(50), Document("/d/new.txt", "An entirely new thing.")], hashed)
    assert catch_up(tmp_path, server.address) == [1]
    chroma = ChromaVectors(tmp_path, hashed.digest, server=server.address)
    exact = Searcher(View(tmp_path), hashed, Fusion())
    near = replace(exact, near=lambda: chroma, exact=0)
    for question in ("apple pear", "an entirely new thing", "fig number3"):
        found, best = (searcher.search(question, mode="dense")[0] for searcher in (near, exact))
        assert found.cosine == pytest.approx(best.cosine, abs=1e-3)
    chroma.close()
    with open_writer(tmp_path, hashed, ChunkSettings()) as writer:
        writer.prune({2})
    assert not in_step(tmp_path, server.address)
    assert catch_up(tmp_path, server.address) == []
    assert points(server)[_name(tmp_path)] == 51


def test_two_indexes_on_one_server_do_not_meet(tmp_path: Path, server: ChromaServer, hashed: Hashed) -> None:
    for name, count in (("one", 5), ("two", 9)):
        build(tmp_path / name, documents(count), hashed)
        catch_up(tmp_path / name, server.address)
    assert _name(tmp_path / "one") != _name(tmp_path / "two")
    assert (points(server)[_name(tmp_path / "one")], points(server)[_name(tmp_path / "two")]) == (5, 9)
    assert in_step(tmp_path / "one", server.address) and in_step(tmp_path / "two", server.address)


def test_a_server_that_was_emptied_is_filled_again_from_sqlite(
    tmp_path: Path, server: ChromaServer, hashed: Hashed
) -> None:
    build(tmp_path, documents(20), hashed)
    catch_up(tmp_path, server.address)
    chromadb.HttpClient("127.0.0.1", server.port).delete_collection(_name(tmp_path))
    assert not in_step(tmp_path, server.address)
    assert sum(catch_up(tmp_path, server.address)) == 20
    other = chromadb.HttpClient("127.0.0.1", server.port).get_collection(_name(tmp_path), embedding_function=None)
    other.update(ids=["20"], embeddings=[[1.0] * hashed.dimension])  # as many points, and one of them another
    assert not in_step(tmp_path, server.address)
    assert sum(catch_up(tmp_path, server.address)) == 20


def test_a_server_that_goes_away_in_the_middle_loses_nothing_and_the_next_run_goes_on(
    tmp_path: Path, hashed: Hashed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 50)
    build(tmp_path / "index", documents(200), hashed)
    before = [(row, vector.tobytes()) for row, vector in zip(*View(tmp_path / "index").vectors, strict=True)]
    server = ChromaServer(tmp_path / "server").start()
    try:
        chroma = ChromaVectors(tmp_path / "index", hashed.digest, server=server.address)
        sending = chroma.catch_up()
        assert [next(sending), next(sending)] == [50, 50]
        server.kill()
        with pytest.raises(UnavailableError) as caught:
            list(sending)
        chroma.close()
        assert caught.value.exit_code == 5 and caught.value.where == server.address
        assert "chroma run" in str(caught.value.mend) and "SQLite" in str(caught.value.mend)
        with pytest.raises(UnavailableError):
            catch_up(tmp_path / "index", server.address)
        assert not in_step(tmp_path / "index", server.address)
        server.start()
        assert catch_up(tmp_path / "index", server.address) == [50, 50]
        assert points(server) == {_name(tmp_path / "index"): 200}
    finally:
        server.kill()
    after = [(row, vector.tobytes()) for row, vector in zip(*View(tmp_path / "index").vectors, strict=True)]
    assert after == before


def test_an_address_that_is_none_one_with_a_password_and_another_server_are_told_apart(tmp_path: Path) -> None:
    for address in ("localhost", "localhost:8000", "ftp://here", "http://"):
        with pytest.raises(UsageError, match="no Chroma address"):
            check_server(address)
    with pytest.raises(UsageError, match="password") as caught:
        check_server("http://me:secret@127.0.0.1:8000")
    assert "secret" not in f"{caught.value} {caught.value.mend}"
    other = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UnavailableError, match="no Chroma server answers"):
            check_server(f"http://127.0.0.1:{other.server_port}")
    finally:
        other.shutdown()
        other.server_close()


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(vectors, "ANSWERS_WITHIN", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UnavailableError):
            check_server(f"http://127.0.0.1:{silent.getsockname()[1]}")


def _name(folder: Path) -> str:
    db = connect(folder, write=False)
    (uuid,) = db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
    db.close()
    return f"llmkit-{uuid}-1"

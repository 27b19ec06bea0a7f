"""The vectors in Chroma: a cache of what SQLite holds, kept in step by a journal, and the only importer of chromadb.

When it answers a question, and when NumPy does (2-core CPU, 384 dimensions, one question in a fresh process):

    chunks     Chroma: import, open, first query      exact scan of the vectors in SQLite
    15,000     0.52 + 0.08 + 0.05 s                   0.06 s
    100,000    0.50 + 0.12 + 0.35 s                   0.45 s
    again, in a running process, 100,000:   3.4 ms    12 ms

So `search.py` scans exactly up to `EXACT_CHUNKS` and asks Chroma above it, or wherever a server was named.
Chroma's own weak points, measured: two writers on one folder duplicate ids without an error, and a reader beside a
writer goes stale in silence. Here only the holder of the index's lock writes, and a reader compares before it trusts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromadb
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError

from llmkit.errors import LlmkitError, RunError, UnavailableError, UsageError
from llmkit.retrieval.embed import Vectors
from llmkit.retrieval.schema import CHROMA, connect, transaction

HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 400, "max_neighbors": 32}
"""Recall@10 of 1.0 on real vectors, where the defaults (and a default space of l2) give .99 of another ranking."""
BATCH = 5_461
"""The most rows that Chroma takes at once."""


class ChromaVectors:
    """One encoder's vectors of one index in Chroma. Ids are rows of SQLite's `vectors`: equal texts are one point."""

    def __init__(self, folder: Path, digest: str, *, server: str | None = None) -> None:
        """
        Args:
            folder: the index's folder; Chroma's lies in it unless a server is named.
            digest: the encoder's.
            server: `http://host:port` of a Chroma server.

        Raises:
            UsageError: `server` is no such address.
            UnavailableError: it does not answer.
        """
        self._folder = folder
        self._server = server
        self._db = connect(folder, write=False)
        self._space, self._dimension = self._db.execute(
            "SELECT space, dimension FROM spaces WHERE digest = ?", (digest,)
        ).fetchone()
        uuid = self._db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()[0]
        self._name = f"llmkit-{uuid}-{self._space}"
        self._client: Any = None
        self._collection: Any = None

    def close(self) -> None:
        self._db.close()
        self._disconnect()

    def in_step(self) -> bool:
        """Whether Chroma holds SQLite's vectors: nothing journalled, as many points, and the newest one equal."""
        if self._db.execute("SELECT 1 FROM journal WHERE space = ? LIMIT 1", (self._space,)).fetchone():
            return False
        try:
            return self._agrees()
        except Exception:  # a damaged folder makes Chroma raise anything, an AttributeError of its own among it
            return False

    def catch_up(self) -> Iterator[int]:
        """Plays the journal, or sends everything where Chroma was lost or damaged. Only under the index's lock.

        Yields the number of points sent with each batch.

        Raises:
            UnavailableError: the server went away; the journal stays, and the next run goes on with it.
        """
        with self._translated():
            try:
                self._connect(create=True)
                yield from self._play()
                if self._agrees():
                    return
            except Exception as error:  # see in_step
                if isinstance(error, LlmkitError) or (self._server and not isinstance(error, NotFoundError)):
                    raise
            self._throw_away()
            self._connect(create=True)
            yield from self._send("SELECT row, data FROM vectors WHERE space = ? ORDER BY row")
            self._forget("add", "remove")
            if not self._agrees():
                raise RunError("Chroma does not keep what it is sent", where=self._where, mend="remove this folder")

    def nearest(self, question: Vectors, most: int) -> dict[int, float]:
        """Cosine of the nearest vectors to `question` [d], by row of `vectors`, best first."""
        with self._translated():
            self._connect(create=False)
            most = min(most, self._collection.count())
            if not most:
                return {}
            found = self._collection.query(query_embeddings=[question], n_results=most, include=["distances"])
            pairs = zip(found["ids"][0], found["distances"][0], strict=True)
            return {int(row): 1.0 - float(distance) for row, distance in pairs}

    @property
    def _where(self) -> str:
        return self._server or str(self._folder / CHROMA)

    def _play(self) -> Iterator[int]:
        gone = self._db.execute(
            "SELECT vector FROM journal WHERE space = ? AND op = 'remove'", (self._space,)
        ).fetchall()
        for start in range(0, len(gone), BATCH):
            self._collection.delete(ids=[str(row) for (row,) in gone[start : start + BATCH]])
        self._forget("remove")
        # Sending a row twice is the same as once, so a kill before the journal is cleared does no harm.
        sql = (
            "SELECT v.row, v.data FROM journal j JOIN vectors v ON v.row = j.vector "
            "WHERE j.space = ? AND j.op = 'add' ORDER BY v.row"
        )
        yield from self._send(sql)
        self._forget("add")

    def _send(self, sql: str) -> Iterator[int]:
        cursor = self._db.execute(sql, (self._space,))
        while rows := cursor.fetchmany(BATCH):
            self._collection.upsert(ids=[str(row) for row, _ in rows], embeddings=_floats([data for _, data in rows]))
            yield len(rows)

    def _forget(self, *ops: str) -> None:
        db = connect(self._folder, write=True)
        try:
            with transaction(db, self._folder):
                for op in ops:
                    db.execute("DELETE FROM journal WHERE space = ? AND op = ?", (self._space, op))
        finally:
            db.close()

    def _agrees(self) -> bool:
        self._connect(create=False)
        count, newest = self._db.execute(
            "SELECT count(*), max(row) FROM vectors WHERE space = ?", (self._space,)
        ).fetchone()
        if self._collection.count() != count:
            return False
        if not count:
            return True
        found = self._collection.get(ids=[str(newest)], include=["embeddings"])["embeddings"]
        data = self._db.execute("SELECT data FROM vectors WHERE row = ?", (newest,)).fetchone()[0]
        return len(found) == 1 and bool(np.allclose(found[0], _floats([data])[0], atol=1e-5))

    def _connect(self, *, create: bool) -> None:
        if self._collection is not None:
            return
        if self._client is None:
            settings = Settings(anonymized_telemetry=False)
            if self._server:
                self._client = _server_client(self._server, settings)
            else:
                self._client = chromadb.PersistentClient(str(self._folder / CHROMA), settings=settings)
        # Never an embedding function of Chroma's: its default downloads a model when first used.
        if create:
            self._collection = self._client.get_or_create_collection(
                self._name, configuration={"hnsw": HNSW}, embedding_function=None
            )
        else:
            self._collection = self._client.get_collection(self._name, embedding_function=None)

    def _throw_away(self) -> None:
        self._collection = None
        if self._server:
            with suppress(NotFoundError):
                self._client.delete_collection(self._name)
            return
        self._disconnect()
        # A client that failed to start stays in Chroma's cache of clients by path, and would be handed out again.
        SharedSystemClient.clear_system_cache()
        shutil.rmtree(self._folder / CHROMA, ignore_errors=True)

    def _disconnect(self) -> None:
        self._collection = None
        if self._client is not None:
            with suppress(ChromaError, ValueError, RuntimeError, KeyError):
                self._client.close()
            self._client = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (ChromaError, ValueError, RuntimeError, httpx.HTTPError) as error:
            if self._server:
                raise UnavailableError(
                    f"the Chroma server does not answer ({error})",
                    where=self._server,
                    mend="start it (`chroma run`) and run again: nothing is lost, SQLite holds every vector",
                ) from error
            raise RunError(
                f"Chroma failed ({error})",
                where=self._where,
                mend="run `llmkit index` again: it rebuilds this folder from SQLite",
            ) from error


def _server_client(server: str, settings: Settings) -> Any:
    address = urlsplit(server)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise UsageError(f"no Chroma address: {server}", mend="give it as http://host:port")
    port = address.port or (443 if address.scheme == "https" else 8000)
    return chromadb.HttpClient(address.hostname, port, ssl=address.scheme == "https", settings=settings)


def _floats(data: Sequence[bytes]) -> Vectors:
    halves = np.frombuffer(b"".join(data), dtype=np.float16)
    return halves.astype(np.float32).reshape(len(data), -1)


# Chroma reads it when a client starts; Settings alone leave parts of it on.
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")

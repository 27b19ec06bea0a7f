"""The vectors in Chroma: a cache of what SQLite holds, kept in step by a journal, and the only importer of chromadb.

When it answers a question, and when an exact scan does (CPU seconds of one core, 384 dimensions, 122,000 chunks):

                     import    open, or load    first query    again
    Chroma            0.44          0.38           0.010       0.0095
    exact scan           -          0.24           0.006       0.0048

The scan grows with the chunks, a query of Chroma hardly: they meet at a quarter of a million in a running process, and
later in a fresh one. So `search.py` scans exactly up to `EXACT_CHUNKS`, and asks Chroma above it.
Chroma's own weak points, measured: two writers on one folder duplicate ids without an error, and a reader beside a
writer goes stale in silence. Here only the holder of the index's lock writes, and a reader compares before it trusts.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import chromadb
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from chromadb.errors import ChromaError, NotFoundError

from llmkit.errors import LlmkitError, RunError, UnavailableError, UsageError
from llmkit.retrieval.embed import Vectors
from llmkit.retrieval.schema import CHROMA, connect, in_parts, transaction

HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 400, "max_neighbors": 32}
"""Recall@10 of 1.0 on real vectors, where the defaults (and a default space of l2) give .99 of another ranking."""
BATCH = 5_461
"""The most rows that Chroma takes at once."""
COMPARED = 1_000
"""Vectors read back at once."""
ANSWERS_WITHIN, WORKS_WITHIN = 10.0, 300.0
"""Seconds until a server is taken to be gone: to say that it is there, and to take in a batch."""


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
        self._journal: sqlite3.Connection | None = None
        self._client: Any = None
        self._collection: Any = None

    def close(self) -> None:
        self._db.close()
        if self._journal is not None:
            self._journal.close()
        self._disconnect()

    def in_step(self) -> bool:
        """Whether Chroma holds SQLite's vectors: nothing journalled, as many points, and the newest one equal."""
        if self._db.execute("SELECT 1 FROM journal WHERE space = ? LIMIT 1", (self._space,)).fetchone():
            return False
        try:
            return self._agrees()
        except Exception:  # a damaged folder makes Chroma raise anything, an AttributeError of its own among it
            return False

    def differing(self) -> int | None:
        """How many vectors Chroma does not hold as SQLite does, every one compared; None where it holds none of them.

        Raises:
            UnavailableError: the server does not answer.
        """
        if self._server:
            check_server(self._server)
        try:
            self._connect(create=False)
            here, wrong = 0, 0
            cursor = self._db.execute("SELECT row, data FROM vectors WHERE space = ? ORDER BY row", (self._space,))
            while rows := cursor.fetchmany(COMPARED):
                found = self._collection.get(ids=[str(row) for row, _ in rows], include=["embeddings"])
                at = {int(row): place for place, row in enumerate(found["ids"])}
                held = [(at[row], data) for row, data in rows if row in at]
                here += len(held)
                wrong += len(rows) - len(held)
                if held:
                    there = np.asarray(found["embeddings"])[[place for place, _ in held]]
                    same = np.isclose(there, _floats([data for _, data in held]), atol=1e-5).all(axis=1)
                    wrong += int((~same).sum())
            return wrong + abs(int(self._collection.count()) - here)
        except Exception:  # see in_step
            return None

    def catch_up(self, *, anew: bool = False) -> Iterator[int]:
        """Plays the journal, or sends everything where Chroma was lost or damaged. Only under the index's lock.

        Yields the number of points sent with each batch.

        Args:
            anew: throw away what is there, and send everything.

        Raises:
            UnavailableError: the server went away; the journal stays, and the next run goes on with it.
        """
        with self._translated():
            try:
                self._connect(create=True)
                if not anew:
                    yield from self._play()
                    if self._agrees():
                        return
            except Exception as error:  # see in_step
                # What a server says of itself can be mended by sending everything; its silence cannot.
                if isinstance(error, LlmkitError) or (self._server and not isinstance(error, ChromaError)):
                    raise
            # First into the journal: whatever stops this, the next run goes on with what is left.
            self._write(
                "INSERT OR REPLACE INTO journal SELECT row, space, 'add' FROM vectors WHERE space = ?", (self._space,)
            )
            self._throw_away()
            self._connect(create=True)
            yield from self._play()
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
        """Sends what the journal names, and strikes it out batch by batch.

        Sending a row twice is the same as once, so a death before it is struck out does no harm.
        """
        gone = self._journalled("remove")
        for start in range(0, len(gone), BATCH):
            self._collection.delete(ids=[str(row) for row in gone[start : start + BATCH]])
            self._strike_out(gone[start : start + BATCH])
        new = self._journalled("add")
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            found: list[tuple[int, bytes]] = []
            for marks, some in in_parts(part):
                sql = f"SELECT row, data FROM vectors WHERE row IN ({marks}) ORDER BY row"  # noqa: S608 # only marks
                found += self._db.execute(sql, some).fetchall()
            if found:
                ids = [str(row) for row, _ in found]
                self._collection.upsert(ids=ids, embeddings=_floats([data for _, data in found]))
            self._strike_out(part)
            yield len(found)

    def _journalled(self, op: str) -> list[int]:
        sql = "SELECT vector FROM journal WHERE space = ? AND op = ? ORDER BY vector"
        return [row for (row,) in self._db.execute(sql, (self._space, op))]

    def _strike_out(self, rows: Sequence[int]) -> None:
        for marks, some in in_parts(rows):
            self._write(f"DELETE FROM journal WHERE vector IN ({marks})", some)  # noqa: S608 # only marks

    def _write(self, sql: str, values: Sequence[object]) -> None:
        if self._journal is None:
            self._journal = connect(self._folder, write=True)
        with transaction(self._journal, self._folder):
            self._journal.execute(sql, values)

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
        try:
            yield
        except LlmkitError:
            raise
        except Exception as error:  # of httpx, of Chroma, of a proxy between: all of them mean the same to a user
            if self._server:
                raise _silent(self._server, error) from error
            raise RunError(
                f"Chroma failed ({error})",
                where=self._where,
                mend="run `llmkit index repair`: it makes this folder again from SQLite",
            ) from error


def check_server(server: str) -> None:
    """
    Raises:
        UsageError: `server` is no address.
        UnavailableError: no Chroma server answers there.
    """
    import httpx

    address = _address(server)
    try:
        answer = httpx.get(f"{address.scheme}://{address.netloc}/api/v2/heartbeat", timeout=ANSWERS_WITHIN)
        answer.raise_for_status()
        answer.json()["nanosecond heartbeat"]
    except httpx.HTTPError as error:
        raise _silent(server, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _silent(server, ValueError("something else answers there")) from error


def _server_client(server: str, settings: Settings) -> Any:
    import httpx

    check_server(server)  # Chroma's own client would wait for it without end
    address = _address(server)
    port = address.port or (443 if address.scheme == "https" else 8000)
    client = chromadb.HttpClient(address.hostname or "", port, ssl=address.scheme == "https", settings=settings)
    session = getattr(getattr(client, "_server", None), "_session", None)
    if isinstance(session, httpx.Client):
        session.timeout = httpx.Timeout(WORKS_WITHIN, connect=ANSWERS_WITHIN)
    return client


def _address(server: str) -> SplitResult:
    address = urlsplit(server)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise UsageError(f"no Chroma address: {server}", mend="give it as http://host:port")
    if address.username or address.password:
        raise UsageError(
            f"the address of {address.hostname} has a password in it, which would be recorded",
            mend="give it as http://host:port, and let a proxy on this machine add what the server asks for",
        )
    if address.port is None and address.scheme == "http":
        return address._replace(netloc=f"{address.netloc}:8000")
    return address


def _silent(server: str, error: Exception) -> UnavailableError:
    said = str(error) or type(error).__name__
    return UnavailableError(
        f"no Chroma server answers ({said.splitlines()[0]})",
        where=server,
        mend="start it (`chroma run`) and run the same again: it goes on where it stopped; SQLite holds every vector",
    )


def _floats(data: Sequence[bytes]) -> Vectors:
    halves = np.frombuffer(b"".join(data), dtype=np.float16)
    return halves.astype(np.float32).reshape(len(data), -1)


# Chroma reads it when a client starts; Settings alone leave parts of it on.
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")

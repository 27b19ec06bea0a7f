"""Vectors that other indexes of the registry already hold: what one of them has embedded, no other embeds again.

The stores are the cache. Each holds its vectors by (encoder digest, text hash), in SQLite that any number of processes
may read while one writes; a store goes when its index goes, so there is nothing of its own to bound or to clear.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from llmkit.errors import LlmkitError
from llmkit.models.sentence_files import Role
from llmkit.retrieval.embed import Embedder, Vectors, text_key
from llmkit.retrieval.schema import FILE, connect

_PARAMETERS = 500
"""Keys in one statement; SQLite takes at least 999."""


class SharingEmbedder:
    """An encoder that looks into other stores before it embeds a document's text."""

    def __init__(self, embedder: Embedder, stores: Sequence[Path]) -> None:
        """
        Args:
            stores: folders that may hold an index; those of another encoder, and unreadable ones, are passed over.
        """
        self.name, self.digest = embedder.name, embedder.digest
        self.count_tokens, self.unknown_tokens = embedder.count_tokens, embedder.unknown_tokens
        self.found = 0
        """Texts whose vectors were there."""
        self._embedder = embedder
        self._stores = [folder for folder in stores if (folder / FILE).is_file()]

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def max_tokens(self) -> int:
        return self._embedder.max_tokens

    def encode(self, texts: Sequence[str], *, role: Role = "document") -> Vectors:
        """As the encoder's own. Vectors from a store are rounded to half precision, as any store's are."""
        if role != "document" or not self._stores:
            return self._embedder.encode(texts, role=role)
        keys = dict(zip(text_key(texts), texts, strict=True))
        known = self._look_up(list(keys))
        missing = [text for key, text in keys.items() if key not in known]
        self.found += len(known)
        if len(missing) == len(keys):
            return self._embedder.encode(texts)
        if missing:
            known.update(zip(text_key(missing), self._embedder.encode(missing), strict=True))
        return np.stack([known[key] for key in text_key(texts)])

    def _look_up(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        for folder in self._stores:
            wanted = [key for key in keys if key not in found]
            if not wanted:
                break
            try:
                found.update(_read(folder, self.digest, wanted))
            except (LlmkitError, sqlite3.DatabaseError):
                continue  # damaged, of a newer llmkit, or being removed: its owner will be told
        return found


def _read(folder: Path, digest: str, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
    found: dict[bytes, Vectors] = {}
    with closing(connect(folder, write=False)) as db:
        row = db.execute("SELECT space, dimension FROM spaces WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            return {}
        space, dimension = row
        for start in range(0, len(keys), _PARAMETERS):
            part = keys[start : start + _PARAMETERS]
            sql = f"SELECT key, data FROM vectors WHERE space = ? AND key IN ({','.join('?' * len(part))})"  # noqa: S608  # marks alone
            for key, data in db.execute(sql, (space, *part)):
                vector = np.frombuffer(data, dtype=np.float16).astype(np.float32)
                if vector.shape == (dimension,):
                    found[key] = vector
    return found

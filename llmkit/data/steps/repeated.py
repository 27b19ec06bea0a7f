"""Lines that many documents share: the menus, footers and notices of the place they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from llmkit.data.steps.dedup import line_hash
from llmkit.data.steps.places import carry_places
from llmkit.text.document import Document

_PARTITION = 1 << 22
"""Line hashes counted at a time: 32 MB, and as much again to sort them."""


@dataclass(frozen=True)
class RepeatedLines:
    """The hashes of the lines that occur in too many documents."""

    hashes: frozenset[int]

    def remove(self, document: Document) -> tuple[Document, int]:
        """The document without them, and how many lines that were."""
        text, removed = self.strip(document.text)
        if not removed:
            return document, 0
        return carry_places(document, replace(document, text=text)), removed

    def strip(self, text: str) -> tuple[str, int]:
        """The text without them, and how many lines that were."""
        lines = text.split("\n")
        kept = [line for line in lines if line_hash(line) not in self.hashes]
        return "\n".join(kept), len(lines) - len(kept)


def too_little(text: str, min_chars: int) -> bool:
    """Whether too few characters other than white space are left of a text to keep it; one is always asked for."""
    return len("".join(text.split())) < max(1, min_chars)


def find_repeated(hashes: Callable[[], Iterator[np.ndarray]], documents: int) -> RepeatedLines:
    """The lines that occur in at least so many documents.

    Args:
        hashes: gives uint64 arrays in which each document's lines occur once each; called several times, so that a
            part of all hashes is in memory at a time.
        documents: the least number of documents.
    """
    parts = np.uint64(max(1, -(-sum(map(len, hashes())) // _PARTITION)))
    found: set[int] = set()
    for part in range(int(parts)):
        pieces = [_part(each, part, parts) for each in hashes()]
        found.update(_repeated(np.concatenate(pieces), documents) if pieces else ())
    return RepeatedLines(frozenset(found))


def _part(hashes: np.ndarray, part: int, parts: np.uint64) -> np.ndarray:
    return np.asarray(hashes[hashes % parts == part]) if parts > 1 else np.asarray(hashes)


def _repeated(hashes: np.ndarray, documents: int) -> list[int]:
    values, counts = np.unique(hashes, return_counts=True)
    found: list[int] = values[counts >= documents].tolist()
    return found

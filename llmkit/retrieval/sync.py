"""Bringing an index in step with its documents: only what changed is cut and embedded, and a kill costs one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from llmkit.retrieval.chunk import ChunkSettings, chunk_document
from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.facts import facts_of
from llmkit.retrieval.writer import NewDocument, Stamp, Writer
from llmkit.text.document import Document

BATCH_CHUNKS = 1024
"""Chunks embedded between two commits: enough to sort by length, little to lose."""
BATCH_DOCUMENTS = 256

WORD_CHARACTERS = 6
"""Of English text with its white space, where no encoder says what a token is."""


class Incoming(NamedTuple):
    """A document as just read, with its file's stamp from before the reading."""

    document: Document
    stamp: Stamp


class Unchanged(NamedTuple):
    """A source whose stamp is still the stored one: it was not read."""

    source: str


class Step(NamedTuple):
    """Work done since the last step."""

    documents: int
    embedded: int


def unchanged_sources(writer: Writer) -> dict[str, Stamp]:
    """Stamps of the sources in the store; a source with the same stamp may be passed as `Unchanged`."""
    return {live.source: live.stamp for live in writer.live().values()}


def sync(
    writer: Writer, incoming: Iterable[Incoming | Unchanged], embedder: Embedder | None, settings: ChunkSettings
) -> Iterator[Step]:
    """Takes in what is new or changed, and at the end retires what did not come; does not publish.

    Iterate it to its end: a step follows each batch that is safely stored.
    """
    live = writer.live()
    by_source: dict[str, list[int]] = {}
    for stored in live.values():
        by_source.setdefault(stored.source, []).append(stored.row)
    gone = {stored.row for stored in live.values()}
    touched: dict[int, Stamp] = {}
    batch: list[Incoming] = []
    size = 0
    for item in incoming:
        if isinstance(item, Unchanged):
            gone.difference_update(by_source.get(item.source, ()))
            yield Step(1, 0)
            continue
        known = live.get(item.document.id)
        if known and known.digest == item.document.digest and known.meta == facts_of(item.document):
            gone.discard(known.row)
            if known.stamp != item.stamp:
                touched[known.row] = item.stamp
            yield Step(1, 0)
            continue
        if known:
            gone.discard(known.row)
        batch.append(item)
        size += len(item.document.text)
        if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_CHUNKS * 512:
            yield from _store(writer, batch, embedder, settings)
            batch, size = [], 0
    if batch:
        yield from _store(writer, batch, embedder, settings)
    writer.restamp(touched)
    writer.retire(gone)


def _store(
    writer: Writer, batch: Sequence[Incoming], embedder: Embedder | None, settings: ChunkSettings
) -> Iterator[Step]:
    count = embedder.count_tokens if embedder else _count_by_length
    cut = [NewDocument(doc, stamp, chunk_document(doc, count, settings)) for doc, stamp in batch]
    if embedder:
        texts = writer.without_vector([chunk.embedded for new in cut for chunk in new.chunks])
        for start in range(0, len(texts), BATCH_CHUNKS):
            part = texts[start : start + BATCH_CHUNKS]
            writer.add([], dict(zip(part, embedder.encode(part), strict=True)))
            yield Step(0, len(part))
    writer.add(cut, {})
    yield Step(len(cut), 0)


def _count_by_length(texts: Sequence[str]) -> list[int]:
    return [-(-len(text) // WORD_CHARACTERS) for text in texts]

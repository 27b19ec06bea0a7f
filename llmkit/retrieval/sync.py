"""Bringing an index in step with its documents: only what changed is cut and embedded, and a kill costs one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from llmkit.retrieval.chunk import Chunk, ChunkSettings, Meter, iter_chunks
from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.facts import facts_of
from llmkit.retrieval.writer import UNKNOWN, FileState, Live, NewDocument, Writer
from llmkit.text.document import Document

BATCH_CHUNKS = 1024
"""Chunks embedded between two commits: enough to sort by length, little to lose."""
BATCH_DOCUMENTS = 256
LONG = 4_000_000
"""Code points from which a document's chunks are made as they are needed."""

WORD_CHARACTERS = 6
"""Of English text with its white space, where no encoder says what a token is."""

REPEATED = "repeated"
"""Why a document is left out whose source and record are those of another."""


class Incoming(NamedTuple):
    """A document as just read, and the file it was read from: an archive, where it lies in one."""

    document: Document
    file: str = ""


class FileRead(NamedTuple):
    """All documents of a file have come. `state` is how it was before it was read."""

    file: str
    state: FileState


class Unchanged(NamedTuple):
    """A file in the state that the store knows: it was not read."""

    file: str


Item = Incoming | FileRead | Unchanged


class Step(NamedTuple):
    """Work done since the last step; `repeated` are documents left out because they came before."""

    files: int = 0
    documents: int = 0
    embedded: int = 0
    repeated: int = 0


def sync(
    writer: Writer, incoming: Iterable[Item], embedder: Embedder | None, settings: ChunkSettings
) -> Iterator[Step]:
    """Takes in what is new or changed, and at the end retires what did not come; does not publish.

    Iterate it to its end: a step follows each batch that is safely stored.
    """
    run = _Run(writer.live())
    batch: list[Incoming] = []
    size = repeated = 0
    for item in incoming:
        if isinstance(item, Unchanged):
            run.keep(item.file)
            yield Step(files=1)
        elif isinstance(item, FileRead):
            run.read(item, repeated)
            yield Step(files=1, repeated=repeated)
            repeated = 0
        elif not run.takes(item.document):
            repeated += 1
        elif run.knows(item.document):
            yield Step(documents=1)
        else:
            batch.append(item)
            size += len(item.document.text)
            if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_CHUNKS * 512:
                yield from _store(writer, batch, embedder, settings)
                batch, size = [], 0
    if batch:
        yield from _store(writer, batch, embedder, settings)
    writer.finish(run.gone, run.states, run.kept)


class _Run:
    """What came so far, against what the store held before."""

    def __init__(self, live: dict[str, Live]) -> None:
        self._live = live
        self._of_file: dict[str, list[str]] = {}
        for document, stored in live.items():
            self._of_file.setdefault(stored.file, []).append(document)
        self._came: set[str] = set()
        self.states: dict[str, FileState] = {}
        self.kept: set[str] = set()

    @property
    def gone(self) -> list[int]:
        """Rows of what did not come."""
        return [stored.row for document, stored in self._live.items() if document not in self._came]

    def keep(self, file: str) -> None:
        self.kept.add(file)
        self._came.update(self._of_file.get(file, ()))

    def read(self, item: FileRead, repeated: int) -> None:
        state = item.state
        if repeated:
            # What is left out because of another file must come in when that one goes: it is looked at every time.
            state = FileState(UNKNOWN, state.read_as, {**state.drops, REPEATED: repeated})
        self.states[item.file] = state

    def takes(self, document: Document) -> bool:
        """Whether it is the first of its id."""
        new = document.id not in self._came
        self._came.add(document.id)
        return new

    def knows(self, document: Document) -> bool:
        """Whether it is stored as it is."""
        known = self._live.get(document.id)
        return known is not None and known.digest == document.digest and known.meta == facts_of(document)


def _store(
    writer: Writer, batch: Sequence[Incoming], embedder: Embedder | None, settings: ChunkSettings
) -> Iterator[Step]:
    meter = meter_of(embedder)

    def chunks(document: Document) -> Iterable[Chunk]:
        return iter_chunks(document, meter, settings)

    # What is long is cut twice, and its chunks are never held together.
    held = {doc.id: list(chunks(doc)) for doc, _ in batch if len(doc.text) <= LONG}
    if embedder:
        every = (chunk.embedded for doc, _ in batch for chunk in held.get(doc.id) or chunks(doc))
        while texts := list(islice(every, BATCH_CHUNKS)):
            if new := writer.without_vector(texts):
                writer.add([], dict(zip(new, embedder.encode(new), strict=True)))
                yield Step(embedded=len(new))
    writer.add([NewDocument(doc, file, held.get(doc.id) or chunks(doc)) for doc, file in batch], {})
    yield Step(documents=len(batch))


def meter_of(embedder: Embedder | None) -> Meter:
    """How its texts are measured; by their length where no encoder says what a token is."""
    if embedder is None:
        return Meter(_count_by_length)
    return Meter(embedder.count_tokens, getattr(embedder, "token_spans", None))


def _count_by_length(texts: Sequence[str]) -> list[int]:
    return [-(-len(text) // WORD_CHARACTERS) for text in texts]

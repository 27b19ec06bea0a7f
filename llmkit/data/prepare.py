"""The part of preprocessing that looks at one file at a time, and so runs in worker processes: read, clean, sketch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmkit.config.sections import CleanOptions
from llmkit.data.clean import Cleaned, Rule, clean
from llmkit.data.collect import SourceFile
from llmkit.data.dedup import Sketch, sketch
from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file
from llmkit.text.document import Document


@dataclass(frozen=True)
class PrepareOptions:
    read: ReadOptions = field(default_factory=ReadOptions)
    clean: CleanOptions = field(default_factory=CleanOptions)


@dataclass(frozen=True)
class Prepared:
    document: Document
    sketch: Sketch
    changes: Mapping[Rule, int]


@dataclass(frozen=True)
class PreparedFile:
    """What became of one file. `read_documents` and `read_characters` count what was read, before cleaning."""

    size: int
    documents: Sequence[Prepared] = ()
    drops: Sequence[Drop] = ()
    read_documents: int = 0
    read_characters: int = 0


def prepare_file(options: PrepareOptions, file: SourceFile) -> PreparedFile:
    documents: list[Prepared] = []
    drops: list[Drop] = []
    read_documents = read_characters = 0
    for item in read_file(file.path, options.read):
        if isinstance(item, Drop):
            drops.append(item)
            continue
        read_documents += 1
        read_characters += len(item.text)
        cleaned = clean(item, options.clean)
        if isinstance(cleaned, Cleaned):
            document = cleaned.document
            documents.append(Prepared(document, sketch(document.text), cleaned.changes))
        else:
            drops.append(cleaned)
    return PreparedFile(file.size, documents, drops, read_documents, read_characters)


def lost_file(file: SourceFile, why: str) -> PreparedFile:
    """The result for a file that took its worker process down with it."""
    return PreparedFile(file.size, drops=[Drop(str(file.path), "read", "crashed", f"while it was read, {why}")])

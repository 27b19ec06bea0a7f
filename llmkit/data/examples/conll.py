"""Words with tags as CoNLL's shared tasks write them (Tjong Kim Sang and De Meulder 2003): a word a line, its tag last.

    -DOCSTART- -X- -X- O

    EU NNP B-NP B-ORG
    rejects VBZ B-VP O

An empty line ends a sentence. There are two to four columns, apart by tabs or by spaces, as many in the whole file;
what is between the word and its tag is not read. Tags are labels as they stand, whatever their scheme: IOB1, IOB2,
BIOES.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from llmkit.data.readers.encoding import NotTextError, decode
from llmkit.data.rows import BadRow, Row

SUFFIXES = frozenset({".conll", ".conll2000", ".conll2002", ".conll2003", ".bio", ".iob", ".iob2", ".bioes"})
COLUMNS = range(2, 5)
"""How many there may be: a word and its tag, and up to two others between them, as part of speech and chunk."""

_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#\s+\S+\s*=|#\s+id\s")
"""What some writers put above a sentence: `# text = …`, `# id 1 domain=en`."""
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_SAMPLE_BYTES = 64 * 1024
_SEEN_TO_TELL = 3
"""Words whose last column must be a tag before a file of another name is taken for one of these."""


def is_conll(plain: Path, path: PurePath) -> bool:
    """Whether a file is written so: by its name, or, if that says nothing, by its first words. Raises OSError."""
    if {path.suffix.lower(), plain.suffix.lower()} & SUFFIXES:
        return True
    with plain.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
    try:
        text = decode(head[: head.rfind(b"\n") + 1] or head).text
    except NotTextError:
        return False
    if text.startswith(_DOCUMENT):
        return True
    lines = [line for line in text.splitlines() if line.strip() and not _COMMENT.match(line)]
    cells = [_cells(line, "\t" in line) for line in lines[:_SEEN_TO_TELL]]
    return (
        len(cells) == _SEEN_TO_TELL
        and len({len(each) for each in cells}) == 1
        and all(len(each) in COLUMNS and _TAG.fullmatch(each[-1]) for each in cells)
    )


def read_conll(path: Path) -> Iterator[Row | BadRow]:
    """The sentences of a file as rows of `tokens` and `tags`, numbered by the line of their first word.

    A sentence with a bad line is a `BadRow` with that line's number; the others are still read.

    Raises:
        OSError: if the file cannot be opened.
    """
    try:
        text = decode(path.read_bytes()).text
    except NotTextError as error:
        yield BadRow(1, "binary", str(error))
        return
    sentences = _Sentences()
    # Not splitlines: a word may be one of the characters that it takes for the end of a line.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        yield from sentences.take(number, line.rstrip("\n"))
    yield from sentences.end()


@dataclass
class _Sentences:
    """Lines on their way to sentences; the first one with words says how many columns there are."""

    columns: int = 0
    tabs: bool = False
    first: int = 0
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    bad: BadRow | None = None

    def take(self, number: int, line: str) -> Iterator[Row | BadRow]:
        if not line.strip() or line.startswith(_DOCUMENT):
            yield from self.end()
            return
        if not self.first and _COMMENT.match(line):
            return
        self.first = self.first or number
        if not self.columns:
            self.tabs = "\t" in line
            found = _cells(line, self.tabs)
            if len(found) in COLUMNS:
                self.columns = len(found)
        cells = _cells(line, self.tabs)
        self.bad = self.bad or self._wrong(number, cells)
        self.tokens.append(cells[0])
        self.tags.append(cells[-1])

    def end(self) -> Iterator[Row | BadRow]:
        if self.bad is not None:
            yield self.bad
        elif self.tokens:
            yield Row(self.first, {"tokens": self.tokens, "tags": self.tags})
        self.first, self.tokens, self.tags, self.bad = 0, [], [], None

    def _wrong(self, number: int, cells: Sequence[str]) -> BadRow | None:
        apart = "tabs" if self.tabs else "spaces"
        if not self.columns:
            detail = f"{len(cells)} columns apart by {apart}, and a word, its tag and at most two others are known"
            return BadRow(number, "bad_columns", detail)
        if len(cells) != self.columns:
            detail = f"{len(cells)} columns apart by {apart}, and the file began with {self.columns}"
            return BadRow(number, "bad_columns", detail)
        if not cells[0] or not cells[-1]:
            return BadRow(number, "bad_columns", f"its {'tag' if cells[0] else 'word'} is empty")
        return None


def _cells(line: str, tabs: bool) -> list[str]:
    return [cell.strip() for cell in line.split("\t")] if tabs else line.split()

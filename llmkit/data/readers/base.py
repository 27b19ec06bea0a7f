"""What all readers share: their signature, their options and limits, and the way to refuse a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.text.document import Document

MAX_WHOLE_BYTES = 1 << 30
"""A file that has to be in memory as one piece may have this many bytes. Files of records are streamed: no limit."""

_BETWEEN_PAGES = "\n\n"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST_DETAIL = 300


@dataclass(frozen=True)
class ParseLimits:
    """What the parser of a binary or fragile format may use before its document is given up.

    Attributes:
        seconds: wall-clock time per document. PDFium reads some 400 pages a second, so that a minute is thousands.
        memory_bytes: address space of the whole parser process (RLIMIT_AS; a system without it has no limit).
    """

    seconds: float = 60.0
    memory_bytes: int = 2 << 30


@dataclass(frozen=True)
class ArchiveLimits:
    """What archives and compressed files may unpack to (https://docs.python.org/3/library/zipfile.html, "Decompression
    pitfalls").

    Attributes:
        members: entries of one file, those of archives in it included; source trees have some ten thousand.
        member_bytes: unpacked size of one member: room for a large shard of records, and not for a disk.
        total_bytes: unpacked size of everything in one file, those of archives in it included.
        ratio: unpacked over packed bytes. Text shrinks by 3 to 30, repetitive records by up to 100; Apache POI refuses
            more than 100 (https://poi.apache.org/components/configuration.html, `ZipSecureFile.setMinInflateRatio`).
        ratio_from_bytes: the ratio is judged from this unpacked size on: a small file of blanks does no harm.
        depth: how many archives may lie in one another.
    """

    members: int = 100_000
    member_bytes: int = 16 << 30
    total_bytes: int = 64 << 30
    ratio: float = 200.0
    ratio_from_bytes: int = 64 << 20
    depth: int = 3


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
        text_field: the field of a record (JSON, JSONL, CSV, parquet) that holds its text; None means the usual names.
        id_field: the field of a record that names it (`Document.record`); None means its position in the file.
        all_fields: keep every field of a record that is one value in the document's meta, not only the usual ones.
        limits: of one document's parser.
        archives: of what archives unpack to.
        sandbox: parse binary and fragile formats in a process of their own. Without it a bad file can hang or crash
            this process, and `limits` mean nothing.
    """

    text_field: str | None = None
    id_field: str | None = None
    all_fields: bool = False
    limits: ParseLimits = field(default_factory=ParseLimits)
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)
    sandbox: bool = True


class UnreadableError(Exception):
    """Raised by a reader for a file it cannot use; `read_file` makes a `Drop` of it, with the same fields."""

    def __init__(self, reason: str, detail: str, pages: int = 0) -> None:
        super().__init__(reason, detail, pages)
        self.reason = reason
        self.detail = detail
        self.pages = pages


@dataclass(frozen=True)
class Part:
    """A file inside a file that is no archive: an attachment of a mail, a page of a web archive.

    Attributes:
        name: by which its format is judged, and where it lies in the source if it has no `source` of its own.
        data: its bytes.
        source: where it is from, if that is not the file it lies in.
        record: becomes `Document.record` where the part is one document.
        meta: facts to add to those of its documents.
    """

    name: str
    data: bytes
    source: str | None = None
    record: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)


Item = Document | Drop | Part
Reader = Callable[[Path, str, ReadOptions], Iterator[Item]]
"""`(path, media, options)` to the file's documents, in order. Raises OSError or UnreadableError for the whole file.

Picklable, as it may run in another process. What it says of the file's source is `str(path)`; `read_file` corrects it.
"""


def read_whole(path: Path, limit: int = MAX_WHOLE_BYTES) -> bytes:
    """The bytes of a file that may not have more than `limit` of them."""
    check_size(path, limit)
    return path.read_bytes()


def check_size(path: Path, limit: int = MAX_WHOLE_BYTES) -> None:
    size = path.stat().st_size
    if size > limit:
        raise UnreadableError(
            "too_large", f"{size:,} bytes, and at most {limit:,} are read as one piece: split the file"
        )


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Make a refusal of whatever a library raises on a broken file: the file is what is wrong.

    Memory running out is not the file's fault alone, and an operating system's error says more than we could.
    """
    try:
        yield
    except (UnreadableError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableError("parse_error", f"{what} cannot be parsed: {one_line(error)}") from error
    except Exception as error:
        raise UnreadableError("parse_error", f"{what} cannot be parsed: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The message of an error in one line that is the same in every run: no addresses, no page of context."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _ADDRESS.sub("", text)[:_LONGEST_DETAIL]


def paged(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The text of all pages, and the code-point offset at which each begins."""
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(_BETWEEN_PAGES)
    return _BETWEEN_PAGES.join(pages), tuple(starts)

"""Zip files, opened with care: what kind of document one is, and bounds on its directory before it is read."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from llmkit.data.readers.base import UnreadableError, parsing

Office = Literal["docx", "pptx", "xlsx", "epub"]

MAX_PACKAGE_BYTES = 512 << 20
"""A document that unpacks to more than this is taken for a decompression bomb."""

_MAX_DIRECTORY_BYTES = 64 << 20
"""The directory of a zip is read as one piece, and Python needs some ten times its size for it."""

# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.14 to 4.3.16.
_END = b"PK\x05\x06"
_END_SIZE = 22
_MAX_COMMENT = 0xFFFF
_LOCATOR_SIZE = 20
_END64 = b"PK\x06\x06"
_IN_END64 = 0xFFFFFFFF


class Kind(NamedTuple):
    media: str
    member: str
    """The member that only this kind of document has."""


_OPEN_XML = "application/vnd.openxmlformats-officedocument."
OFFICE: Mapping[Office, Kind] = {
    "docx": Kind(_OPEN_XML + "wordprocessingml.document", "word/document.xml"),
    "pptx": Kind(_OPEN_XML + "presentationml.presentation", "ppt/presentation.xml"),
    "xlsx": Kind(_OPEN_XML + "spreadsheetml.sheet", "xl/workbook.xml"),
    "epub": Kind("application/epub+zip", "META-INF/container.xml"),
}


def office_kind(path: Path) -> Office | None:
    """Which kind of document a zip file is, or None for an archive (or a damaged one)."""
    try:
        with open_zip(path) as archive:
            names = set(archive.namelist())
    except (UnreadableError, OSError):
        return None
    return next((kind for kind, row in OFFICE.items() if row.member in names), None)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file, open. Raises OSError, or UnreadableError where it is damaged or its directory is too large."""
    with path.open("rb") as file:
        _check_directory(file, path.stat().st_size)
        file.seek(0)
        with parsing("the zip archive"):
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


@contextmanager
def open_package(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip that is one document, of bounded size: a member never yields more than its directory entry says."""
    with open_zip(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_PACKAGE_BYTES:
            raise UnreadableError(
                "too_large", f"it unpacks to {unpacked:,} bytes, and {MAX_PACKAGE_BYTES:,} are the most"
            )
        if any(member.flag_bits & 1 for member in archive.infolist()):
            raise UnreadableError("encrypted", "it asks for a password: save it without one")
        yield archive


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse a directory that would fill the memory, by the size that the end of the file states for it."""
    tail_size = min(size, _END_SIZE + _MAX_COMMENT + _LOCATOR_SIZE)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        raise UnreadableError("parse_error", "the zip archive is damaged: its end is missing")
    directory = int(struct.unpack_from("<L", tail, at + 12)[0])
    if directory == _IN_END64 and at >= _LOCATOR_SIZE:
        end64 = int(struct.unpack_from("<Q", tail, at - _LOCATOR_SIZE + 8)[0])
        if end64 < size:
            file.seek(end64)
            record = file.read(48)
            if record.startswith(_END64) and len(record) == 48:
                directory = int(struct.unpack_from("<Q", record, 40)[0])
    if directory > _MAX_DIRECTORY_BYTES:
        raise UnreadableError("too_many_members", f"its directory has {directory:,} bytes: unpack it first")

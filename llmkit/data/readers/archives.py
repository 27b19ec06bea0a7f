"""Zip and tar archives, one member at a time: what is unsafe or not text is refused by name, before it is unpacked."""

from __future__ import annotations

import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from llmkit.data.readers.base import UnreadableError
from llmkit.data.readers.compressed import (
    COMPRESSED,
    Budget,
    Metered,
    copy_bounded,
    open_unpacked,
    unpacked_name,
    unpacking,
)
from llmkit.data.readers.detect import Format
from llmkit.data.readers.zips import open_zip
from llmkit.data.sources.skipping import skip_file, skip_folder

_DRIVE = re.compile(r"[A-Za-z]:")
_JAPANESE = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]")
_BOUNDED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python unpacks these piece by piece; of the other methods (bzip2, LZMA) a few bytes can become gigabytes at once."""

_OPEN_DOCUMENT = b"application/vnd.oasis.opendocument"


@dataclass(frozen=True)
class Member:
    """A member on disk; `path` is there until the next one is asked for."""

    name: str
    path: Path


@dataclass(frozen=True)
class Refused:
    name: str
    reason: str
    detail: str


Wanted = Callable[[str], bool]
"""Whether the member of this name is to be read at all."""


def archive_members(path: Path, form: Format, budget: Budget, wanted: Wanted) -> Iterator[Member | Refused]:
    """The files of a zip, a tar or a compressed tar, in the archive's order.

    Raises:
        UnreadableError: a damaged archive, or one past its limits; what came before stands.
        StorageError: if there is no room to unpack.
    """
    with tempfile.TemporaryDirectory(prefix="llmkit-") as folder:
        target = Path(folder) / "member"
        if form == "zip":
            yield from _zip(path, target, budget, wanted)
        else:
            yield from _tar(path, form, target, budget, wanted)


def is_tar(path: Path, form: Format) -> bool:
    """Whether a compressed file holds a tar. Damage shows when it is read."""
    try:
        with open_unpacked(path, form) as stream, unpacking("it"):
            return stream.read(512)[257:262] == b"ustar"
    except (UnreadableError, OSError):
        return False


def _zip(path: Path, target: Path, budget: Budget, wanted: Wanted) -> Iterator[Member | Refused]:
    seen: set[str] = set()
    with open_zip(path) as archive, unpacking("the zip archive"):
        _refuse_open_document(archive)
        for entry in archive.infolist():
            budget.take_member()
            if entry.is_dir():
                continue
            name = _zip_name(entry)
            if not wanted(name):
                continue
            if refused := _zip_refusal(name, entry) or _repeated(name, seen):
                yield refused
                continue
            try:
                with unpacking("the member"), archive.open(entry) as stream:
                    copy_bounded(stream, target, budget, packed=entry.compress_size)
            except UnreadableError as error:
                yield Refused(name, error.reason, error.detail)
                continue
            yield Member(name, target)


def _zip_refusal(name: str, entry: zipfile.ZipInfo) -> Refused | None:
    mode = entry.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        return Refused(name, "not_a_file", "a link or a device")
    if refused := refuse_name(name):
        return refused
    if entry.flag_bits & 1:
        return Refused(name, "encrypted", "it asks for a password")
    if entry.compress_type not in _BOUNDED_METHODS:
        return Refused(name, "unsupported", f"packed by method {entry.compress_type}: unpack the archive first")
    return None


def _refuse_open_document(archive: zipfile.ZipFile) -> None:
    first = archive.infolist()[:1]
    named = bool(first) and first[0].filename == "mimetype" and first[0].file_size < 200
    if named and archive.read(first[0]).startswith(_OPEN_DOCUMENT):
        raise UnreadableError("unsupported", "an OpenDocument file: save it as .docx, .xlsx or .pptx")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The member's name; where the archive does not say that it is UTF-8, it may still be that, or Shift_JIS."""
    if entry.flag_bits & 0x800:
        return entry.filename
    return _legible(entry.filename.encode("cp437", "replace"), entry.filename)


def _legible(raw: bytes, otherwise: str) -> str:
    if raw.isascii():
        return otherwise
    for encoding in ("utf-8", "cp932"):
        try:
            name = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or _JAPANESE.search(name):
            return name
    return otherwise.encode("utf-8", "replace").decode("utf-8")


def _tar(path: Path, form: Format, target: Path, budget: Budget, wanted: Wanted) -> Iterator[Member | Refused]:
    seen: set[str] = set()
    with _tar_bytes(path, form) as raw, unpacking("the tar archive"):
        # As a stream: members come in their order, and nothing is read twice.
        stream = Metered(raw, budget)
        with tarfile.open(fileobj=cast("Any", stream), mode="r|") as archive:
            for entry in archive:
                budget.take_member()
                cast("Any", archive).members.clear()  # the list it keeps for itself would grow with the archive
                name = _legible(entry.name.encode("utf-8", "surrogateescape"), entry.name)
                if entry.isdir() or not wanted(name):
                    continue
                if refused := _tar_refusal(name, entry) or _repeated(name, seen):
                    yield refused
                    continue
                yield _unpacked_entry(archive, entry, name, target, budget)
        # A tar ends with blocks of zeros; Python takes one that is cut between two members for a whole one.
        if stream.ended and any(stream.tail):
            raise UnreadableError("parse_error", "the tar archive is damaged: its end is missing")


def _unpacked_entry(
    archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str, target: Path, budget: Budget
) -> Member | Refused:
    try:
        budget.check_member(entry.size)
    except UnreadableError as error:
        return Refused(name, error.reason, error.detail)
    content = archive.extractfile(entry)
    if content is None:
        return Refused(name, "not_a_file", "it has no content")
    with content:
        copy_bounded(content, target, budget, spend=False)
    if target.stat().st_size < entry.size:
        raise UnreadableError("parse_error", f"the tar archive is damaged: it ends within '{name}'")
    return Member(name, target)


def _tar_refusal(name: str, entry: tarfile.TarInfo) -> Refused | None:
    if not entry.isfile() or entry.issparse():
        return Refused(name, "not_a_file", "a link, a device or a sparse file")
    return refuse_name(name)


@contextmanager
def _tar_bytes(path: Path, form: Format) -> Iterator[BinaryIO]:
    if form in COMPRESSED:
        with open_unpacked(path, form) as stream:
            yield stream
    else:
        with path.open("rb") as file:
            yield file


def _repeated(name: str, seen: set[str]) -> Refused | None:
    if name in seen:
        return Refused(name, "repeated", "the archive has two members of this name: the first is read")
    seen.add(name)
    return None


def refuse_name(name: str) -> Refused | None:
    """Why a member is refused by its name: it leads out of the archive, or a file of that name would be skipped."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or _DRIVE.match(parts[0]) or "\0" in name:
        return Refused(name, "unsafe_path", "its path leads out of the archive")
    folder = next(filter(None, map(skip_folder, parts[:-1])), None)
    skip = folder or skip_file(parts[-1]) or skip_file(unpacked_name(parts[-1]))
    return Refused(name, skip, "files of such a name are skipped") if skip else None

"""Which format a file is in: its content decides where it is unmistakable, else its name does."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from llmkit.data.media import media_of_name
from llmkit.data.readers.zips import OFFICE, office_kind

Format = Literal[
    "text", "html", "pdf", "docx", "pptx", "xlsx", "epub", "eml", "ipynb", "warc", "jsonl", "json", "csv", "parquet",
    "zip", "tar", "gzip", "bzip2", "xz", "zstd",
]  # fmt: skip

HEAD_BYTES = 4096
"""How much of a file `detect` wants to see."""

_MAX_SNIFFED_LINE = 4 << 20

# Atomic: else every way to join several comments into one would be tried, which are 2 to the power of their number.
_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?><!--.*?-->\s*)*+<(?:!doctype\s+html|html[\s>])", re.I | re.S
)
_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]{1,40}):[ \t]?")
_MAIL_STAMPS = frozenset({b"date", b"message-id", b"received", b"mime-version", b"return-path", b"delivered-to"})
_OBJECT_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")


class Detected(NamedTuple):
    format: Format
    media: str


_PDF = Detected("pdf", "application/pdf")
_MAGIC: tuple[tuple[bytes, Detected], ...] = (
    (b"%PDF-", _PDF),
    (b"PAR1", Detected("parquet", "application/vnd.apache.parquet")),
    (b"\x1f\x8b\x08", Detected("gzip", "application/gzip")),
    (b"\x28\xb5\x2f\xfd", Detected("zstd", "application/zstd")),
    (b"\xfd7zXZ\x00", Detected("xz", "application/x-xz")),
    (b"WARC/1.", Detected("warc", "application/warc")),
    (b"WARC/0.", Detected("warc", "application/warc")),
)
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # what parallel compressors begin with (RFC 8878, 3.1.2)
_TAR = Detected("tar", "application/x-tar")
_HTML = Detected("html", "text/html")
_JSONL = Detected("jsonl", "application/jsonl")
_EML = Detected("eml", "message/rfc822")

_BY_SUFFIX: Mapping[str, Detected] = {
    ".jsonl": _JSONL,
    ".ndjson": _JSONL,
    ".json": Detected("json", "application/json"),
    ".csv": Detected("csv", "text/csv"),
    ".tsv": Detected("csv", "text/tab-separated-values"),
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".eml": _EML,
    ".mht": _EML,
    ".mhtml": _EML,
    ".ipynb": Detected("ipynb", "application/x-ipynb+json"),
}


def detect(path: Path, head: bytes, name: str | None = None, record_fields: Collection[str] | None = None) -> Detected:
    """The format of the file at `path`, whose first `HEAD_BYTES` bytes are `head`.

    What is neither a known binary format nor a known name counts as text; reading it will show whether it is.

    Args:
        name: the name by which to judge, where the file's own says nothing.
        record_fields: JSON Lines under a name that says "text" count as records only if the first has one of these
            fields (a log in JSON is text); None means that they always do.
    """
    called = PurePath(name or path.name)
    suffix = called.suffix.lower()
    if by_content := _by_content(path, head, suffix):
        return by_content
    if by_suffix := _BY_SUFFIX.get(suffix):
        return _JSONL if by_suffix.format == "json" and _object_lines(path, head, None) else by_suffix
    media = media_of_name(called)
    # A page saved as .txt is still a page; a template that begins with <html> but is named .vue or .md is not one.
    if media in (None, "text/plain"):
        if _HTML_START.match(head):
            return _HTML
        if _is_mail(head):
            return _EML
        if _object_lines(path, head, record_fields):
            return _JSONL
    return Detected("text", media or "text/plain")


def _by_content(path: Path, head: bytes, suffix: str) -> Detected | None:
    for magic, detected in _MAGIC:
        if head.startswith(magic):
            return detected
    if head.startswith(_ZIP_MAGIC):
        kind = office_kind(path)
        return Detected(kind, OFFICE[kind].media) if kind else Detected("zip", "application/zip")
    if _ZSTD_SKIPPABLE.match(head):
        return Detected("zstd", "application/zstd")
    if _BZIP2.match(head):
        return Detected("bzip2", "application/x-bzip2")
    if head[257:262] == b"ustar":
        return _TAR
    if suffix == ".tar" and _is_old_tar(path):
        return _TAR
    # Some writers put a line of their own before a PDF's header; readers look for it in the first kilobyte.
    return _PDF if suffix == ".pdf" and b"%PDF-" in head[:1024] else None


def _is_old_tar(path: Path) -> bool:
    """Archives from before POSIX have no magic number; their checksums tell them."""
    try:
        tarfile.open(path, "r:").close()
    except (OSError, EOFError, tarfile.TarError, ValueError):
        return False
    return True


def _is_mail(head: bytes) -> bool:
    """Whether a text begins with headers as only mail has them: a sender, and the stamp of a mail program."""
    names: set[bytes] = set()
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    for number, line in enumerate(lines):
        if not line:
            break
        if number == 0 and line.startswith(b"From "):  # the line that mailboxes put before a mail
            continue
        if line[:1] in (b" ", b"\t") and names:
            continue
        header = _HEADER.match(line)
        if header is None:
            if number < len(lines) - 1:  # the last line may be cut
                return False
            break
        names.add(header[1].lower())
    return b"from" in names and bool(names & _MAIL_STAMPS) and len(names) > 2


def _object_lines(path: Path, head: bytes, fields: Collection[str] | None) -> bool:
    """Whether the first two lines that are not blank are JSON objects, the first with one of `fields`."""
    if not _OBJECT_START.match(head):
        return False
    found = 0
    with path.open("rb") as file:
        for _ in range(16):
            line = file.readline(_MAX_SNIFFED_LINE)
            if not line:
                return False
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                return False
            if not isinstance(value, dict) or (not found and fields is not None and value.keys().isdisjoint(fields)):
                return False
            found += 1
            if found == 2:
                return True
    return False

"""What was fetched, kept: one file per address, named by the address's hash, and beside it what is known about it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import httpx

from llmkit.data.sources.web.fetch import Answer
from llmkit.data.sources.web.licence import page_licence
from llmkit.registry.disk import lending, write_whole, writing

_SUFFIXES: Mapping[str, str] = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/markdown": ".md",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/epub+zip": ".epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
"""Media types that decide a file's suffix, whatever its address ends in: what `index.php` serves is a page, not PHP."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_PACKED = frozenset({".gz", ".zst", ".xz", ".bz2"})
_PIECE = 1 << 20


@dataclass(frozen=True)
class Kept:
    """One kept answer; its fields are those of the JSON file beside it.

    Attributes:
        url: as it was asked for; `final_url` is where redirects ended.
        retrieved: when these bytes were first got, ISO 8601, UTC; `checked`: when the host last confirmed them.
        charset: that of the Content-Type header; "" where it has none.
        file: name of the file with the bytes, of which there are `size`.
    """

    url: str
    final_url: str
    status: int
    retrieved: str
    checked: str
    content_type: str
    charset: str
    etag: str
    last_modified: str
    licence: str
    sha256: str
    size: int
    file: str

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that ask whether there is anything newer (RFC 9110, section 13)."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        # A request's headers are ASCII; some answers' are not.
        return {name: value for name, value in headers.items() if value.isascii() and value.isprintable() and value}


class Draft(NamedTuple):
    """A file that is being written, empty at first."""

    path: Path
    body: BinaryIO


class Store:
    """A folder of kept answers. Bytes come first and their description last, so that an interruption leaves no lie."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        with writing(folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, kept: Kept) -> Path:
        return self._folder / kept.file

    def get(self, url: str) -> Kept | None:
        """What is kept of `url`, if it is all there and unchanged."""
        try:
            kept = Kept(**json.loads(self._description(url).read_bytes()))
            if kept.url == url and kept.file == Path(kept.file).name and _digest(self.path(kept)) == kept.sha256:
                return kept
        except (OSError, ValueError, TypeError):
            pass
        return None

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """A file to write an answer to; it is gone afterwards unless `keep` took it."""
        with writing(self._folder):
            handle, name = tempfile.mkstemp(prefix=".draft-", dir=self._folder)
        draft = Draft(Path(name), os.fdopen(handle, "w+b"))
        try:
            with lending(self._folder):
                yield draft
        finally:
            draft.body.close()
            draft.path.unlink(missing_ok=True)

    def keep(self, url: str, answer: Answer, draft: Draft, now: str) -> Kept:
        """Take a draft as what `url` has now; bytes that were there before keep the time at which they were got."""
        with writing(self._folder):
            draft.body.flush()
        before = self.get(url)
        media, charset = _media(answer.headers.get("content-type", ""))
        kept = Kept(
            url=url,
            final_url=str(answer.url),
            status=answer.status,
            retrieved=before.retrieved if before and before.sha256 == answer.sha256 else now,
            checked=now,
            content_type=media,
            charset=charset,
            etag=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            licence=page_licence(draft.path, answer.url, answer.headers),
            sha256=answer.sha256,
            size=answer.size,
            file=_key(url) + _suffix(media, answer.url),
        )
        with writing(self._folder):
            draft.path.replace(self.path(kept))
            self._describe(kept)
            if before and before.file != kept.file:
                self.path(before).unlink(missing_ok=True)
        return kept

    def confirm(self, kept: Kept, now: str) -> Kept:
        """Note that the host says `kept` is still what it has."""
        kept = replace(kept, checked=now)
        with writing(self._folder):
            self._describe(kept)
        return kept

    def forget(self, kept: Kept) -> None:
        """Remove what its owner has taken back."""
        with writing(self._folder):
            self._description(kept.url).unlink(missing_ok=True)
            self.path(kept).unlink(missing_ok=True)

    def _description(self, url: str) -> Path:
        return self._folder / f"{_key(url)}.meta.json"

    def _describe(self, kept: Kept) -> None:
        text = json.dumps(asdict(kept), ensure_ascii=False, indent=1)
        write_whole(self._description(kept.url), text.encode("utf-8", "surrogatepass"))


def _key(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8")).hexdigest()[:32]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _media(content_type: str) -> tuple[str, str]:
    """The media type and the charset of a Content-Type header, in lower case."""
    media, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", parameters, re.I | re.A)
    return media.strip().lower()[:100], charset[1].lower() if charset else ""


def _suffix(media: str, url: httpx.URL) -> str:
    """How the file's name ends: readers go by it where the content does not tell."""
    if known := _SUFFIXES.get(media):
        return known
    last = [part.lower() for part in PurePosixPath(url.path).suffixes[-2:] if _SUFFIX.fullmatch(part.lower())]
    if last and last[-1] in _PACKED:
        return "".join(last)
    return last[-1] if last else ".json" if media == "application/json" else ""

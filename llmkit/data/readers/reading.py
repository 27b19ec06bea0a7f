"""One file and all that is in it: which reader, in which process, and the way down into archives and attachments."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.readers.archives import Refused, archive_members, is_tar, refuse_name
from llmkit.data.readers.base import Item, Part, Reader, ReadOptions, UnreadableError, parsing
from llmkit.data.readers.compressed import COMPRESSED, Budget, copy_bounded, open_unpacked, unpacked_name, unpacking
from llmkit.data.readers.detect import HEAD_BYTES, Detected, Format, detect
from llmkit.data.readers.records import USUAL_TEXT_FIELDS
from llmkit.text.document import Document

INSIDE = "!/"
"""Between the source of an archive and the path of a member in it."""

SANDBOXED: frozenset[Format] = frozenset({"pdf", "docx", "pptx", "xlsx", "epub", "eml", "html", "warc", "parquet"})


class Reading:
    """The reading of one file. `wanted` limits it to one source inside, and to what leads there."""

    def __init__(self, readers: Mapping[Format, Reader], options: ReadOptions, wanted: str | None = None) -> None:
        self._readers = readers
        self._options = options
        self._wanted = wanted
        self._budget: Budget | None = None

    def file(self, path: Path, source: str, name: str, depth: int = 0) -> Iterator[Document | Drop]:
        """The documents of the file at `path`, which is `source` to the world and is judged by `name`."""
        empty = self._wanted is None
        for item in self._safely(lambda: self._found(path, source, name, depth), path, source):
            yield item
            empty = False
        if empty:
            yield Drop(source, "read", "empty", "there is nothing in it")

    def _found(self, path: Path, source: str, name: str, depth: int) -> Iterator[Document | Drop]:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        found = detect(path, head, name, self._text_fields())
        if found.format == "zip" or found.format == "tar":
            return self._archive(path, found.format, source, depth)
        if found.format in COMPRESSED:
            return self._compressed(path, found.format, source, name, depth)
        return self._parsed(path, found, self._readers[found.format], source, depth)

    def range(self, path: Path, form: Format, reader: Reader, source: str) -> Iterator[Document | Drop]:
        """The documents that `reader` finds in its range of a file of records."""
        found = Detected(form, "")  # of a row's media type only tables, which have no ranges, make use
        yield from self._safely(lambda: self._parsed(path, found, reader, source, 0), path, source)

    def _safely(
        self, begin: Callable[[], Iterator[Document | Drop]], path: Path, source: str
    ) -> Iterator[Document | Drop]:
        """What `begin()` yields, and what it raises over a file that cannot be used as a drop of it."""
        try:
            yield from begin()
        except UnreadableError as error:
            # A temporary path in a message would differ from run to run.
            yield Drop(source, "read", error.reason, error.detail.replace(str(path), "the file"), pages=error.pages)
        except OSError as error:
            yield Drop(source, "read", "unreadable", error.strerror or "it cannot be read")

    def _parsed(
        self, path: Path, found: Detected, reader: Reader, source: str, depth: int
    ) -> Iterator[Document | Drop]:
        own = str(path)
        for item in self._items(path, found, reader):
            if isinstance(item, Part):
                yield from self._part(item, source, depth)
                continue
            if item.source == own != source:
                item = replace(item, source=source)
            yield _usable(item) if isinstance(item, Document) else item

    def _items(self, path: Path, found: Detected, reader: Reader) -> Iterator[Item]:
        if found.format not in SANDBOXED:
            yield from reader(path, found.media, self._options)
        elif self._options.sandbox:
            # Imported here: most workers meet nothing but text and records.
            from llmkit.data.readers.sandbox import read_sandboxed

            yield from read_sandboxed(reader, path, found.media, self._options)
        else:
            with parsing("the file"):
                yield from reader(path, found.media, self._options)

    def _archive(self, path: Path, form: Format, source: str, depth: int) -> Iterator[Document | Drop]:
        if depth >= self._options.archives.depth:
            raise UnreadableError("too_deep", f"an archive in {depth} others: unpack it first")
        for member in archive_members(path, form, self._spending(path), lambda name: self._leads(source, name)):
            inside = f"{source}{INSIDE}{_plain(member.name)}"
            if isinstance(member, Refused):
                yield Drop(inside, "read", member.reason, member.detail)
            else:
                yield from self.file(member.path, inside, Path(member.name).name, depth + 1)

    def _compressed(self, path: Path, form: Format, source: str, name: str, depth: int) -> Iterator[Document | Drop]:
        if depth >= self._options.archives.depth:
            raise UnreadableError("too_deep", f"compressed within {depth} archives: unpack it first")
        if is_tar(path, form):
            yield from self._archive(path, form, source, depth)
            return
        budget = self._spending(path)
        with tempfile.TemporaryDirectory(prefix="llmkit-") as folder:
            content = Path(folder) / "content"
            with open_unpacked(path, form) as stream, unpacking("the compressed file"):
                budget.take_member()
                copy_bounded(stream, content, budget)
            yield from self.file(content, source, unpacked_name(name), depth + 1)

    def _part(self, part: Part, source: str, depth: int) -> Iterator[Document | Drop]:
        inside = part.source or f"{source}{INSIDE}{_plain(part.name)}"
        if not part.source and not self._leads(source, part.name):
            return
        if depth >= self._options.archives.depth:
            yield Drop(inside, "read", "too_deep", f"an attachment within {depth} others")
            return
        if not part.source and (refused := refuse_name(part.name)):
            yield Drop(inside, "read", refused.reason, refused.detail)
            return
        with tempfile.TemporaryDirectory(prefix="llmkit-") as folder:
            content = Path(folder) / "content"
            with unpacking("the part"):
                content.write_bytes(part.data)
            for item in self.file(content, inside, part.name, depth + 1):
                yield _of_part(item, part, source) if part.source else item

    def _spending(self, path: Path) -> Budget:
        """The budget of the outermost file: archives in an archive share it."""
        if self._budget is None:
            self._budget = Budget(self._options.archives, path.stat().st_size)
        return self._budget

    def _leads(self, source: str, name: str) -> bool:
        inside = f"{source}{INSIDE}{_plain(name)}"
        return self._wanted is None or inside == self._wanted or self._wanted.startswith(inside + INSIDE)

    def _text_fields(self) -> Collection[str]:
        field = self._options.text_field
        return (field,) if field else USUAL_TEXT_FIELDS


def _of_part(item: Document | Drop, part: Part, archive: str) -> Document | Drop:
    record = item.record or part.record
    if isinstance(item, Drop):
        return replace(item, record=record)
    return replace(item, record=record, meta={**item.meta, **part.meta, "archive": archive})


def _plain(name: str) -> str:
    """A member's name as it can stand in a source: half of a surrogate pair can be written to no file."""
    return name.encode("utf-8", "replace").decode("utf-8").replace("\\", "/")


def _usable(document: Document) -> Document | Drop:
    if not document.text or document.text.isspace():
        return Drop(document.source, "read", "empty", "it has no text", document.record)
    try:
        document.text.encode("utf-8")
    except UnicodeEncodeError:
        # JSON may hold half of a surrogate pair (`"\ud83d"`), which no UTF-8 file can.
        repaired = document.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return replace(document, text=repaired)
    return document

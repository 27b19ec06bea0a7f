"""E-books (EPUB 2 and 3): the chapters of the spine in their order, each a page."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from llmkit.data.readers.base import Item, ReadOptions, UnreadableError, paged, parsing
from llmkit.data.readers.encoding import decode
from llmkit.data.readers.markup import page_text, parse_page
from llmkit.data.readers.zips import open_package
from llmkit.text.document import Document

# Names as in https://www.w3.org/TR/epub-33/ (the container, and the package's metadata, manifest and spine).
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGE_TYPES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
_FACTS = {"title": "title", "creator": "author", "language": "language", "rights": "license"}


def read_epub(path: Path, media: str, options: ReadOptions) -> Iterator[Item]:
    with open_package(path) as archive, parsing("the book"):
        names = set(archive.namelist())
        package_name = _package_name(archive)
        package = _xml(archive.read(package_name))
        chapters = _chapters(package, posixpath.dirname(package_name))
        if _ENCRYPTION in names and set(chapters) & _encrypted(archive):
            raise UnreadableError("encrypted", "its chapters are locked (DRM)")
        pages = [text for name in chapters if name in names and (text := _chapter(archive, name))]
        meta: dict[str, object] = {"pages_are": "chapters", **_facts(package)}
    text, starts = paged(pages)
    yield Document(str(path), text, media=media, pages=starts, meta=meta)


def _package_name(archive: zipfile.ZipFile) -> str:
    for element in _xml(archive.read(_CONTAINER)).iter("{*}rootfile"):
        return str(element.get("full-path", ""))
    raise UnreadableError("parse_error", "the book's container names no package")


def _chapters(package: Any, folder: str) -> list[str]:
    pages = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in package.iter("{*}item")
        if item.get("media-type") in _PAGE_TYPES
    }
    # A chapter listed twice is read once: a place in the text has to have one page.
    return list(
        dict.fromkeys(pages[ref.get("idref")] for ref in package.iter("{*}itemref") if ref.get("idref") in pages)
    )


def _chapter(archive: zipfile.ZipFile, name: str) -> str:
    return page_text(parse_page(decode(archive.read(name)).text))


def _facts(package: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in package.iter("{http://purl.org/dc/elements/1.1/}*"):
        name = _FACTS.get(element.tag.rpartition("}")[2])
        value = " ".join((element.text or "").split())
        if name and value:
            found.setdefault(name, value)
    return found


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """The members that are: most books list fonts only, which are no secret."""
    references = _xml(archive.read(_ENCRYPTION)).iter("{*}CipherReference")
    return {unquote(reference.get("URI", "")) for reference in references}


def _xml(data: bytes) -> Any:
    from lxml import etree

    return etree.fromstring(
        data, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
    )

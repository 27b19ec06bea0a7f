"""Sitemaps and feeds: which pages they list. Told by their content, gzipped or not.

Formats: sitemaps.org protocol 0.9 (urlset, sitemapindex), RSS 0.9x to 2.0, RSS 1.0 (RDF), Atom (RFC 4287). They are
written by strangers: entities are refused, nothing is loaded from anywhere, and memory holds one entry at a time.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from llmkit.data.sources.web.options import FetchError

MAX_BYTES = 64 << 20
"""Of an unpacked sitemap or feed; the sitemap protocol allows 50 MB."""

MAX_LINKS = 50_000
"""Links of one sitemap, which is the protocol's own limit."""

Kind = Literal["sitemap", "index", "feed"]

_HEAD = 16 << 10
_KINDS: dict[bytes, Kind] = {
    b"urlset": "sitemap",
    b"sitemapindex": "index",
    b"rss": "feed",
    b"feed": "feed",
    b"RDF": "feed",
}
_ENTRIES: dict[Kind, frozenset[str]] = {
    "sitemap": frozenset({"url"}),
    "index": frozenset({"sitemap"}),
    "feed": frozenset({"item", "entry"}),
}
_COMMENT = re.compile(rb"<!--.*?-->", re.S)
_FIRST_TAG = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_RIGHTS = ("license", "rights", "copyright")
"""Elements that state a licence, the most exact one first: cc:license, dc:rights or atom:rights, RSS's copyright."""


@dataclass(frozen=True)
class Link:
    """A page as it is listed: its address, perhaps a relative one, and the licence stated there for it."""

    address: str
    licence: str = ""


@dataclass
class Listing:
    """What a sitemap or feed says. `licence` holds for the whole of it; `broken` says where its XML stops making sense,
    and `links` are those before and, as far as can be told, after that place."""

    kind: Kind
    links: list[Link] = field(default_factory=list)
    licence: str = ""
    broken: str = ""


def read_listing(path: Path) -> Listing | None:
    """The listing in a file; None where it is anything else.

    Raises:
        FetchError: `too_large` when unpacked, or `xml_entities`.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with _open(path, packed) as file:
            kind = _kind(file.read(_HEAD))
    except (OSError, EOFError, zlib.error):
        return None
    if kind is None:
        return None
    with _open(path, packed) as file:
        return _parse(kind, _Bounded(file))


def _open(path: Path, packed: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _kind(head: bytes) -> Kind | None:
    head = _COMMENT.sub(b"", head.removeprefix(b"\xef\xbb\xbf").lstrip())
    tag = _FIRST_TAG.search(head)
    if not head.startswith(b"<") or tag is None:
        return None
    kind = _KINDS.get(tag[1])
    if tag[1] == b"RDF" and b"purl.org/rss/" not in head:
        return None
    if kind and b"<!ENTITY" in head[: tag.start()]:
        # The way to make a small file a huge one, or to read what is on this machine; no honest listing has any.
        raise FetchError("xml_entities", "it declares XML entities, which are not taken from strangers")
    return kind


class _Bounded:
    """A file of which no more than `MAX_BYTES` may be read; a gzip stream that is cut off ends there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._file.read(size if size > 0 else 1 << 16)
        except (EOFError, OSError, zlib.error):
            return b""
        self._left -= len(data)
        if self._left < 0:
            raise FetchError("too_large", f"it has more than {MAX_BYTES:,} bytes when unpacked")
        return data


def _parse(kind: Kind, file: _Bounded) -> Listing:
    listing = Listing(kind)
    rights: dict[str, str] = {}
    parser = _elements(file)
    for _, element in parser:
        name = _name(element)
        if name in _ENTRIES[kind]:
            if link := _link(kind, element):
                listing.links.append(link)
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
            if len(listing.links) >= MAX_LINKS:
                break
        elif kind == "feed" and name in (*_RIGHTS, "link") and _name(element.getparent()) in ("channel", "feed"):
            _note_rights(element, rights)
    listing.licence = _best(rights)
    if parser.error_log:
        first = parser.error_log[0]
        listing.broken = f"line {first.line}: {first.message}"
    return listing


def _elements(file: _Bounded) -> Any:
    from lxml import etree

    return etree.iterparse(
        file, events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True
    )


def _link(kind: Kind, entry: Any) -> Link | None:
    rights: dict[str, str] = {}
    address = guid = ""
    for child in _children(entry):
        name = _name(child)
        if kind != "feed":
            address = address or (_text(child) if name == "loc" else "")
            continue
        if name == "link" and child.get("rel", "alternate") == "alternate":
            address = address or child.get("href", "") or _text(child)
        elif name == "guid" and child.get("isPermaLink", "true") == "true":
            guid = _text(child)
        _note_rights(child, rights)
    address = address or guid
    return Link(address, _best(rights)) if address else None


def _note_rights(element: Any, rights: dict[str, str]) -> None:
    name = _name(element)
    if name == "link":
        if element.get("rel") == "license" and element.get("href"):  # RFC 4946
            rights.setdefault("license", element.get("href"))
    elif name in _RIGHTS:
        about = next((value for key, value in element.attrib.items() if key.endswith("}resource")), "")
        rights.setdefault(name, about or _text(element))


def _best(rights: dict[str, str]) -> str:
    return next((rights[name] for name in _RIGHTS if rights.get(name)), "")


def _children(element: Any) -> Iterator[Any]:
    return (child for child in element if isinstance(child.tag, str))


def _name(element: Any) -> str:
    """The local name: many listings have the wrong namespace, or none."""
    tag = element.tag if element is not None else None
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())

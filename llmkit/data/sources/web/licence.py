"""The licence that a web page states for itself, where programs are meant to find it.

Looked for, in this order: the `Link` header and `<link>`, `<a>` with `rel="license"` (HTML standard, RFC 4946), Dublin
Core's `dc.rights` and `dcterms.license`, schema.org's `license` in attributes and in JSON-LD. What is found is recorded
as it stands; whether it allows what is planned is for a person to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

MAX_BYTES = 8 << 20
"""How much of a page is looked at; its tree takes some 20 times that in memory."""

_MAX_CHARS = 500
_HINT = re.compile(rb"licen[sc]e|rights", re.I)
_META = frozenset({"dc.rights", "dc.rights.license", "dcterms.rights", "dcterms.license", "license", "licence"})
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r"""\brel\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;,]+))""", re.I)
_DEPTH = 8


def page_licence(path: Path, url: httpx.URL, headers: httpx.Headers) -> str:
    """An address or a sentence, at most 500 characters; "" where the page says nothing.

    Args:
        path: the body as it was kept.
        url: where the page came from, for links relative to it.
        headers: those of the answer.
    """
    if found := _in_header(headers.get("link", "")):
        return _absolute(url, found)
    if "html" not in headers.get("content-type", ""):
        return ""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES)
    if not _HINT.search(data):  # most pages: their tree need not be built
        return ""
    return next((_absolute(url, found) for found in _in_page(data, headers) if found.strip()), "")


def _in_header(value: str) -> str:
    for target, parameters in _LINK.findall(value):
        rel = _REL.search(parameters)
        if rel and "license" in "".join(filter(None, rel.groups())).lower().split():
            return str(target)
    return ""


def _in_page(data: bytes, headers: httpx.Headers) -> Iterator[str]:
    from lxml import etree

    parser = etree.HTMLParser(encoding=_encoding(data, headers), no_network=True, huge_tree=False, recover=True)
    try:
        tree: Any = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):
        return
    if tree is None:
        return
    for tag in ("link", "a", "area"):
        for element in tree.iter(tag):
            if "license" in element.get("rel", "").lower().split():
                yield element.get("href", "")
    for element in tree.iter("meta"):
        if (element.get("name") or element.get("property") or "").lower() in _META:
            yield element.get("content", "")
    for element in tree.iterfind(".//*[@itemprop]"):
        if "license" in element.get("itemprop", "").split():
            yield element.get("href") or element.get("content") or "".join(element.itertext())
    for element in tree.iter("script"):
        if element.get("type", "").lower() == "application/ld+json":
            yield _in_json(element.text or "")


def _encoding(data: bytes, headers: httpx.Headers) -> str | None:
    """What the header says, else UTF-8 if it is that, else what the page says of itself."""
    declared = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", headers.get("content-type", ""), re.I)
    try:
        if declared:
            "".encode(declared[1])
            return declared[1]
        data.decode("utf-8")
    except (LookupError, UnicodeDecodeError):
        return None
    return "utf-8"


def _in_json(text: str) -> str:
    try:
        return _license_of(json.loads(text), _DEPTH)
    except (ValueError, RecursionError):
        return ""


def _license_of(value: object, depth: int) -> str:
    """The first `license` of a JSON-LD value: an address, or an object that has one or a name."""
    if depth and isinstance(value, list):
        return next(filter(None, (_license_of(item, depth - 1) for item in value)), "")
    if not depth or not isinstance(value, dict):
        return ""
    stated = value.get("license")
    for each in stated if isinstance(stated, list) else [stated]:
        if isinstance(each, dict):
            each = each.get("@id") or each.get("url") or each.get("name")
        if isinstance(each, str) and each.strip():
            return each
    return next(filter(None, (_license_of(item, depth - 1) for item in value.values())), "")


def _absolute(url: httpx.URL, found: str) -> str:
    """A relative address made whole; a sentence, or an address of another kind, as it stands."""
    found = " ".join(found.split())[:_MAX_CHARS]
    if re.fullmatch(r"(?:\.{0,2}/|[?#])\S*|[\w./-]+\.\w{2,5}", found, re.A):
        try:
            return str(url.join(found))[:_MAX_CHARS]
        except (httpx.InvalidURL, ValueError):
            return found
    return found

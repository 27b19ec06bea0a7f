"""E-mail addresses, IPv6 addresses, and a user's name and password within a URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from llmkit.data.steps.privacy.match import PiiType

Found = tuple[PiiType, int, int]

# RFC 5321 section 4.5.3.1: at most 64 characters before the @. Dots and quotation marks at an end belong to the text.
_LONGEST_LOCAL = 64
_LOCAL_SET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-")
_LOCAL_TAIL = re.compile(r"[A-Za-z0-9_+](?:[A-Za-z0-9._%+'-]{0,62}[A-Za-z0-9_+-])?\Z")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59})"
    r"(?![A-Za-z0-9_-])"
)
_FILE_ENDINGS = """
    png jpg jpeg gif svg webp ico css js mjs html htm json xml txt local
"""
_NO_HOSTS = frozenset(_FILE_ENDINGS.split())
# In code, `matrix@self.weight` is a product. There, only top-level domains in wide use count, and those of two letters.
_TLDS_IN_WIDE_USE = """
    com org net edu gov mil int info biz name pro dev app xyz online site shop store tech cloud blog email asia
    mobi travel jobs museum coop aero tokyo example test invalid
"""
_COMMON_TLDS = frozenset(_TLDS_IN_WIDE_USE.split())

# The whole address is validated by the standard library; this only finds where one may be.
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_V6_CHARS = frozenset("0123456789abcdefABCDEF:.")
_LONGEST_V6 = 45

_USERINFO = re.compile(r"[^\s/:@\"'<>]{1,256}+:([^\s/@\"'<>]{1,256})(?=@[\w.\[-])")
# The end of `https://` or `https://user:`: what follows is part of a URL, not an address.
_IN_USERINFO = re.compile(r"://(?:[^\s/@\"'<>]{1,48}:)?\Z")
_NO_PASSWORD = re.compile(r"[$%{<*]|pass(?:word|wd)?\b|pwd\b|secret\b|x+\b|\.{3}|…", re.IGNORECASE)


def email_matches(text: str, *, code: bool) -> Iterator[Found]:
    """Addresses with a domain name. `name [at] domain` and quoted local parts are not looked for."""
    at = text.find("@")
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[at + 1 : at + 2]
        if before in _LOCAL_SET and after.isascii() and after.isalnum():
            local = _LOCAL_TAIL.search(_run_before(text, at))
            domain = _DOMAIN.match(text, at + 1)
            if local and domain and _is_address(local.group(), domain.group(), code):
                start = at - len(local.group())
                if not _IN_USERINFO.search(text, max(0, start - _LONGEST_LOCAL), start):
                    yield "email", start, domain.end()
        at = text.find("@", at + 1)


def _run_before(text: str, at: int) -> str:
    """The characters before `at` that a local part may have, at most as many as one may have."""
    start = at
    least = max(0, at - _LONGEST_LOCAL)
    while start > least and text[start - 1] in _LOCAL_SET:
        start -= 1
    return text[start:at].lstrip(".%'-")


def _is_address(local: str, domain: str, code: bool) -> bool:
    top = domain.rpartition(".")[2].lower()
    if top in _NO_HOSTS or ".." in local or local == "git":  # git@host:path is how a repository is written
        return False
    return not code or len(top) == 2 or top in _COMMON_TLDS or top.startswith("xn--")


def ip_v6_matches(text: str) -> Iterator[Found]:
    """IPv6 addresses that are routed publicly (RFC 4291: 2000::/3), as IPv4 ones in `digits`."""
    reach = 0
    for colons in _COLONS.finditer(text):
        if colons.start() < reach:
            continue
        start, end = colons.start(), colons.end()
        while start > 0 and colons.start() - start <= 4 and text[start - 1] in _V6_CHARS:
            start -= 1
        while end < len(text) and end - start <= _LONGEST_V6 and text[end] in _V6_CHARS:
            end += 1
        reach = end
        value = text[start:end].rstrip(":.") if not text[start:end].endswith("::") else text[start:end]
        end = start + len(value)
        edges = text[start - 1 : start] + text[end : end + 1]
        if value[:1] in ("2", "3") and value.find(":") == 4 and not re.search(r"[0-9A-Za-z_]", edges):
            try:
                public = IPv6Address(value).is_global
            except AddressValueError:
                continue
            if public:
                yield "ip", start, end


def url_credential_matches(text: str) -> Iterator[Found]:
    """`user:password` in `scheme://user:password@host`; placeholders such as `user:${PASSWORD}` are no secret."""
    at = text.find("://")
    while at >= 0:
        match = _USERINFO.match(text, at + 3)
        if match and not _NO_PASSWORD.match(match.group(1)):
            yield "url_credentials", match.start(), match.end()
        at = text.find("://", at + 3)

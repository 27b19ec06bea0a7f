"""Web addresses: which ones are taken at all, and which machines they may lead to.

What a page, a sitemap or a redirect names is chosen by strangers. It must not make this machine fetch what only this
machine can reach: its own services, the local network, a cloud's metadata (server-side request forgery, CWE-918).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence

import httpx

from llmkit.data.sources.web.options import FetchError
from llmkit.errors import ConfigError, UsageError

Origin = tuple[str, str, int]
"""Scheme, host and port."""

Resolve = Callable[[str, int], Sequence[str]]
"""`(host, port)` to its IP addresses. Raises OSError where there is none."""

_MAX_ADDRESS = 4096
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")
_PORTS = {"http": 80, "https": 443}


def user_address(text: str) -> httpx.URL:
    """An address that the user wrote, without its fragment.

    Raises:
        ConfigError: it has a user or password in it, which would be recorded.
        UsageError: it is no web address.
    """
    try:
        return _address(text)
    except FetchError as error:
        if error.reason == "credentials":
            raise ConfigError(
                "the URL has a user or password in it, which would be recorded",
                where=_shown(text),
                mend="take it out of the URL; pages behind a log-in are downloaded by other means and named as files",
            ) from None
        raise UsageError(
            f"'{text}' is no web address: {error.detail}", mend="write https://HOST/PATH, as a browser shows it"
        ) from None


def linked_address(base: httpx.URL, link: str) -> httpx.URL:
    """The address that `link` means on the page `base`, without its fragment.

    Raises:
        FetchError: it is no web address, or one that is not followed.
    """
    try:
        return _address(str(base.join(link.strip())))
    except (httpx.InvalidURL, ValueError, TypeError):
        raise FetchError("bad_address", f"'{link[:200]}' is no web address") from None


def origin(url: httpx.URL) -> Origin:
    return url.scheme, host_of(url), url.port or _PORTS[url.scheme]


def host_of(url: httpx.URL) -> str:
    """The host as it is looked up: in ASCII, without the brackets of an IPv6 address."""
    return url.raw_host.decode("ascii")


def trusts(named: Origin, other: Origin) -> bool:
    """Whether naming one address vouches for another: the same host, and the same port or the web's own two."""
    return named[1] == other[1] and (named[2] == other[2] or {named[2], other[2]} <= set(_PORTS.values()))


def resolve(host: str, port: int) -> Sequence[str]:
    """The system's own resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, whichever way it is wrapped into IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip())
        valid = bool(_HOST.fullmatch(url.raw_host)) and (url.port is None or 0 < url.port < 1 << 16)
        valid = valid and len(str(url)) <= _MAX_ADDRESS
    except (httpx.InvalidURL, ValueError, TypeError):
        valid = False
    if not valid:
        raise FetchError("bad_address", f"'{text[:200]}' is no web address")
    if url.scheme not in _PORTS:
        raise FetchError("bad_address", f"'{url.scheme}' is not fetched, only http and https are")
    if url.userinfo:
        raise FetchError("credentials", f"'{_shown(text)}' has a user or password in it")
    return url.copy_with(fragment=None)


def _shown(text: str) -> str:
    """An address without what stands before its `@`."""
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://…@{authority.rpartition('@')[2]}{slash}{path}"

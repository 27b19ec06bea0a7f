"""Connections that lead only where they were checked to lead.

A name is looked up once, its addresses are checked, and the connection is made to those very addresses: a second answer
of the name server, different from the first (DNS rebinding), is never asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from llmkit.data.sources.web.address import Origin, Resolve, host_of, is_public, origin, trusts
from llmkit.data.sources.web.options import FetchError
from llmkit.errors import ConfigError

_BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)

_Place = tuple[str, int]
"""Host and port."""


class Network:
    """Hands out the way to an address, after a look at where it leads.

    The proxies of the environment are used for what is public. A proxy looks names up itself, so that behind one the
    check covers the names that this machine can look up, too.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._checked: dict[_Place, Sequence[str]] = {}
        self._proxies = getproxies()
        self._transports: dict[str, httpx.BaseTransport] = {}

    def transport(self, url: httpx.URL, named: Origin | None) -> httpx.BaseTransport:
        """What to send a request for `url` by.

        A transport and not a client: httpx's client looks at each redirect's target, even where it is not to follow it,
        and a bad one ends in an exception; and it carries cookies from page to page.

        Args:
            named: the origin that the user vouches for by having named it; it may lie on this machine or network.

        Raises:
            FetchError: `private_address`, `unknown_host`.
            ConfigError: the environment's proxy cannot be one.
        """
        _, host, port = place = origin(url)
        addresses = self._addresses(host, port)
        public = all(map(is_public, addresses))
        if not public and not (named and trusts(named, place)):
            raise FetchError(
                "private_address",
                f"'{url}' leads to this machine or its own network; name it as an input if it is meant",
            )
        proxy = self._proxies.get(url.scheme, "")
        if not (proxy and public) or proxy_bypass(host):
            if not addresses:
                raise FetchError("unknown_host", f"the host '{host}' is not known", temporary=True)
            proxy = ""
        if proxy not in self._transports:
            self._transports[proxy] = _proxied(proxy, url.scheme) if proxy else _Transport(_Pinned(self._checked))
        return self._transports[proxy]

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        if (host, port) not in self._checked:
            try:
                self._checked[host, port] = self._resolve(host, port)
            except (OSError, UnicodeError):
                self._checked[host, port] = ()
        return self._checked[host, port]


class _Pinned(httpcore.NetworkBackend):
    """Connects to the checked addresses of a host, in turn."""

    def __init__(self, checked: Mapping[_Place, Sequence[str]]) -> None:
        self._checked = checked
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"no address of {host} was checked")
        for address in self._checked.get((host, port), ()):
            try:
                return self._system.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Transport(httpx.BaseTransport):
    """httpx's own transport over a network of our choice, which that one does not let us set."""

    def __init__(self, network: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), max_connections=16, keepalive_expiry=5.0, network_backend=network
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=host_of(request.url), port=request.url.port, target=request.url.raw_path
        )
        with _translated():
            response = self._pool.handle_request(
                httpcore.Request(request.method, url, headers=request.headers.raw, extensions=request.extensions)
            )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _proxied(proxy: str, scheme: str) -> httpx.BaseTransport:
    try:
        return httpx.HTTPTransport(proxy=proxy if "://" in proxy else f"http://{proxy}")
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        # The address of a proxy may hold a password: it is not shown.
        raise ConfigError(
            "the proxy that the environment names cannot be used",
            where=f"{scheme}_proxy",
            mend="write it as http://HOST:PORT (SOCKS needs the package socksio), or add the host to no_proxy",
        ) from error


@contextmanager
def _translated() -> Iterator[None]:
    """httpcore's failures as httpx's: the callers know those."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.TimeoutException(str(error)) from error
    except _BROKEN as error:
        raise httpx.TransportError(str(error)) from error

"""One address to its bytes, politely: robots.txt obeyed, each host's pace kept, "later" taken for an answer.

Sources: RFC 9309 (robots.txt), RFC 9110 (HTTP: conditional requests, Retry-After).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import BinaryIO

import httpx

from llmkit.data.sources.web.address import Origin, Resolve, host_of, linked_address, origin, resolve
from llmkit.data.sources.web.connect import Network
from llmkit.data.sources.web.options import PRODUCT, USER_AGENT, Clock, FetchError, FetchOptions
from llmkit.data.sources.web.robots import ALLOW_ALL, MAX_BYTES, Robots, parse_robots

MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({429, 500, 502, 503, 504})
_PIECE = 1 << 16


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        named: the origin of the user's own address that led here; only that one may be on a private network.
        conditions: `If-None-Match` and the like; sent to `known` alone, the address whose copy they describe.
    """

    url: httpx.URL
    named: Origin
    conditions: Mapping[str, str] = field(default_factory=dict)
    known: str = ""


@dataclass(frozen=True)
class Answer:
    """What came: `url` is where redirects ended; `size` and `sha256` are of the decompressed body."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    size: int
    sha256: str


class Fetcher:
    """Fetches one address at a time. Close it when done."""

    def __init__(self, options: FetchOptions, clock: Clock, resolver: Resolve = resolve) -> None:
        self._options = options
        self._clock = clock
        self._network = Network(resolver)
        self._robots: dict[Origin, Robots | FetchError] = {}
        self._next: dict[str, float] = {}
        self._delay: dict[str, float] = {}

    def close(self) -> None:
        self._network.close()

    def ready_at(self, url: httpx.URL) -> float:
        """When, on the clock, the host of `url` may be asked again."""
        return self._next.get(host_of(url), 0.0)

    def get(self, request: Request, body: BinaryIO) -> Answer:
        """Write what `request` asks for into `body` (an empty file), following at most five redirects.

        Raises:
            FetchError: it cannot be had, and why.
        """
        return self._follow(request, body, robots=True)

    def _follow(self, request: Request, body: BinaryIO, *, robots: bool) -> Answer:
        seen: set[str] = set()
        for _ in range(MAX_REDIRECTS + 1):
            url = request.url
            if str(url) in seen:
                raise FetchError("redirect_loop", f"'{url}' leads back to itself")
            seen.add(str(url))
            if robots:
                self._check_robots(request)
            answer = self._attempts(request, body, whole=robots)
            if answer.status not in _REDIRECTS:
                return answer
            request = replace(request, url=linked_address(url, answer.headers["location"]))
        raise FetchError("too_many_redirects", f"more than {MAX_REDIRECTS} redirects, the last to '{request.url}'")

    def _check_robots(self, request: Request) -> None:
        place = origin(request.url)
        if place not in self._robots:
            try:
                self._robots[place] = self._read_robots(request)
            except FetchError as error:
                if error.reason == "private_address":  # about who asks, not about the host: the user may name it later
                    raise
                self._robots[place] = error
        rules = self._robots[place]
        if isinstance(rules, FetchError):
            raise FetchError(rules.reason, rules.detail, temporary=rules.temporary)
        if not rules.allows(request.url.raw_path.decode("ascii")):
            raise FetchError("robots_disallowed", f"the robots.txt of '{place[1]}' closes this page to programs")
        if rules.crawl_delay > self._options.longest_pause:
            raise FetchError(
                "crawl_delay", f"the robots.txt of '{place[1]}' asks for {rules.crawl_delay:g} s between two requests"
            )
        self._delay[place[1]] = rules.crawl_delay

    def _read_robots(self, request: Request) -> Robots:
        """RFC 9309, section 2.3.1: refused (4xx) or lost in redirects is as if absent; out of order closes all."""
        url = request.url.copy_with(raw_path=b"/robots.txt")
        body = io.BytesIO()
        try:
            self._follow(Request(url, request.named), body, robots=False)
        except FetchError as error:
            if error.reason == "too_many_redirects" or error.reason.startswith("http_4"):
                return ALLOW_ALL
            if error.reason.startswith("http_"):
                detail = f"without '{url}' nothing may be fetched: {error.detail}"
                raise FetchError("robots_unreachable", detail, temporary=True) from error
            raise
        return parse_robots(body.getvalue(), PRODUCT)

    def _attempts(self, request: Request, body: BinaryIO, *, whole: bool) -> Answer:
        host = host_of(request.url)
        for attempt in itertools.count():
            transport = self._network.transport(request.url, request.named)
            self._wait(host)
            body.seek(0)
            body.truncate()
            try:
                return self._once(transport, request, body, whole=whole)
            except FetchError as error:
                pause = 2.0**attempt if error.pause is None else error.pause
                if not error.temporary or attempt >= self._options.retries or pause > self._options.longest_pause:
                    raise
                self._next[host] = max(self._next[host], self._clock.now() + pause)
        raise AssertionError("counting does not end")

    def _wait(self, host: str) -> None:
        pause = self._next.get(host, 0.0) - self._clock.now()
        if pause > 0:
            self._clock.sleep(pause)
        self._next[host] = self._clock.now() + max(1 / self._options.rate, self._delay.get(host, 0.0))

    def _once(self, transport: httpx.BaseTransport, request: Request, body: BinaryIO, *, whole: bool) -> Answer:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip"}
        if str(request.url) == request.known:
            headers |= request.conditions
        timeout = httpx.Timeout(self._options.timeout).as_dict()
        sent = httpx.Request("GET", request.url, headers=headers, extensions={"timeout": timeout})
        try:
            response = transport.handle_request(sent)
            response.request = sent
            try:
                self._check_status(response)
                redirect = response.status_code in _REDIRECTS
                size, digest = (0, "") if redirect else self._save(response, body, whole=whole)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            detail = f"'{request.url}' did not answer within {self._options.timeout:g} s"
            raise FetchError("timeout", detail, temporary=True) from error
        except (httpx.TransportError, zlib.error) as error:
            detail = f"the connection to '{request.url}' failed: {error}"
            raise FetchError("connection", detail, temporary=True) from error
        return Answer(request.url, response.status_code, response.headers, size, digest)

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (200, 203, 304) or (status in _REDIRECTS and "location" in response.headers):
            return
        reason, detail = f"http_{status}", f"'{response.url}' answers {status} {response.reason_phrase}".rstrip()
        pause = self._retry_after(response.headers.get("retry-after", ""))
        raise FetchError(reason, detail, temporary=status in _LATER, pause=pause)

    def _retry_after(self, value: str) -> float | None:
        """Seconds that a `Retry-After` header asks for, whether by number or by date."""
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - self._clock.date()).total_seconds())

    def _save(self, response: httpx.Response, body: BinaryIO, *, whole: bool) -> tuple[int, str]:
        """Bytes and sha256 of what was written. More than the limit is an error, or cut off if not all is needed."""
        limit = self._options.max_bytes if whole else MAX_BYTES
        end = self._clock.now() + self._options.longest
        too_large = FetchError("too_large", f"'{response.url}' has more than {limit:,} bytes")
        announced = response.headers.get("content-length", "")
        if whole and announced.isdigit() and int(announced) > limit:
            raise too_large
        size, digest = 0, hashlib.sha256()
        for piece in _decoded(response):
            if self._clock.now() > end:
                detail = f"'{response.url}' was not through after {self._options.longest:g} s"
                raise FetchError("timeout", detail, temporary=True)
            if size + len(piece) > limit and whole:
                raise too_large
            piece = piece[: limit - size]
            size += len(piece)
            digest.update(piece)
            body.write(piece)
            if size == limit and not whole:
                break
        return size, digest.hexdigest()


def _decoded(response: httpx.Response) -> Iterator[bytes]:
    """The body in small pieces: httpx would decompress a network's piece at once, and one may hold gigabytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", "") or response.status_code == httpx.codes.NOT_MODIFIED:
        yield from response.iter_raw(_PIECE)
        return
    if encoding not in ("gzip", "x-gzip"):
        raise FetchError("bad_encoding", f"'{response.url}' is sent in '{encoding[:40]}', which was not asked for")
    engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for piece in response.iter_raw(_PIECE):
        while piece:
            yield engine.decompress(piece, _PIECE)
            piece = engine.unconsumed_tail
            if engine.eof and (piece := engine.unused_data).startswith(b"\x1f\x8b"):
                engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif engine.eof:
                return
    yield engine.flush()
    if not engine.eof:
        raise zlib.error("the compressed body ends too soon")

"""A web site on this machine, and a clock that sleeping moves."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llmkit.data.sources.web.options import Clock

Page = tuple[int, dict[str, str], bytes]


class Site:
    """Answers from `pages` (by path with query); a callable there gets the handler and answers by itself."""

    def __init__(self) -> None:
        self.pages: dict[str, Page | Callable[[Any], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet: else the kernel waits 40 ms for the second one's go-ahead

            def do_GET(self) -> None:
                site.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                page = site.pages.get(self.path, (404, {}, b"not here"))
                if callable(page):
                    page(self)
                    return
                status, headers, body = page
                if (etag := headers.get("ETag")) and self.headers.get("If-None-Match") == etag:
                    status, body = 304, b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that hang up are what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def page(self, path: str, body: str | bytes = "<html>x</html>", status: int = 200, **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, {"Content-Type": "text/html", **named}, data)

    def asked(self, path: str) -> int:
        return Counter(path for path, _ in self.requests)[path]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class FakeClock(Clock):
    def __init__(self) -> None:
        self.time = 1000.0
        self.sleeps: list[float] = []
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) - timedelta(seconds=self.time)
        super().__init__(lambda: self.time, self.pause, lambda: start + timedelta(seconds=self.time))

    __setattr__ = object.__setattr__

    def pause(self, seconds: float) -> None:
        self.sleeps.append(round(seconds, 3))
        self.time += seconds


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def resolver() -> Callable[[str, int], list[str]]:
    """Names that end in `.test` lead to this machine; nothing else that is a name is known."""

    def resolve(host: str, port: int) -> list[str]:
        if host.endswith(".test"):
            return ["127.0.0.1"]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(address[0]) for *_, address in found]

    return resolve

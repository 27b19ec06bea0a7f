"""A server that speaks OpenAI's embeddings protocol, from the standard library: bags of hashed words, counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 16


def vector(text: str, seed: int = 0) -> list[float]:
    """A made-up model's vector of a text: other seeds are other models."""
    out = np.full(DIMENSION, 0.01)
    for word in text.lower().split():
        out[(sum(word.encode()) * (seed + 3)) % DIMENSION] += 1
    return [float(value) * 3 for value in out]


class EmbeddingServer:
    """Requests are kept; `refuse` may answer one in place of the model: (status, headers, body) or None."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: Callable[[dict[str, Any]], tuple[int, dict[str, str], Any] | None] = lambda body: None
        self.seed = 0
        self.noise = 0.0
        self.usage = True
        self.models: Any = {"data": [{"id": "tiny", "max_model_len": 130}]}
        self._noise = np.random.default_rng(0)
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200 if server.models else 404, {}, server.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    refused = server.refuse(body)
                self.reply(*(refused or (200, {}, server.answer(body))))

            def reply(self, status: int, headers: dict[str, str], body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.ref = f"openai:{self.url}#tiny"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def texts(self) -> list[str]:
        """All that was embedded, in the order of the requests."""
        return [text for body in self.requests for text in body["input"]]

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for number, text in enumerate(body["input"]):
            found = np.array(vector(text, self.seed))
            found += self.noise * self._noise.normal(size=DIMENSION)
            rows.append({"index": number, "object": "embedding", "embedding": found.tolist()})
        reply: dict[str, Any] = {"object": "list", "model": body["model"], "data": rows[::-1]}
        if self.usage:
            reply["usage"] = {"prompt_tokens": sum(len(text.encode()) // 4 + 2 for text in body["input"])}
        return reply


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    server = EmbeddingServer()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()

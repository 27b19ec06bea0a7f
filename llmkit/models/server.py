"""Requests to a server that speaks OpenAI's protocol: its address, its key, its failures, and when to try again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from llmkit.errors import RunError, UnavailableError, UsageError

_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_PAUSE = 30.0
"""Seconds; a server that asks for a longer wait is not waited for any longer."""


class _RetryError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class Reply:
    """What a server answered: its status and its JSON, None where it is none."""

    status: int
    content: Any

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def reason(self) -> str:
        """What it says is wrong, in the two shapes that are common; cut to a line."""
        said = self.content
        error = said.get("error", said.get("message", said.get("detail"))) if isinstance(said, Mapping) else None
        text = error.get("message", "") if isinstance(error, Mapping) else error or ""
        return " ".join(str(text).split())[:300]


@dataclass(frozen=True)
class Server:
    """A server, and how it is asked.

    Attributes:
        base_url: up to and including the version, such as `http://127.0.0.1:11434/v1`.
        api_key_env: the environment variable that holds the key. The key itself is neither stored nor shown.
        timeout: seconds to wait for the next byte; a connection is given five at most.
        retries: further attempts where the server is busy (429) or fails (5xx, a broken connection, no answer in time).
        sleep: how to pause between attempts.
    """

    base_url: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    retries: int = 4
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def get(self, path: str) -> Reply:
        """As `post`, without a body."""
        return self._attempt(lambda: self._client.get(self._url(path)))

    def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """What the server says to a request, also where it refuses it; tried again while it fails in a passing way.

        Raises:
            UnavailableError: nothing answers at that address, or it refuses the key.
            RunError: it kept failing.
        """
        return self._attempt(lambda: self._client.post(self._url(path), json=dict(body)))

    def close(self) -> None:
        self._client.close()

    @cached_property
    def _client(self) -> httpx.Client:
        # A proxy from the environment must not get to see what is meant for this machine.
        local = urlsplit(self.base_url).hostname in _LOCAL_HOSTS
        key = self._key
        if not key.isascii():
            raise UsageError(f"the key in {self.api_key_env} has characters no key has", mend="copy it again")
        return httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(self.timeout, connect=min(5.0, self.timeout)),
            trust_env=not local,
        )

    @property
    def _key(self) -> str:
        return os.environ.get(self.api_key_env, "").strip()

    def _url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path}"

    def _attempt(self, call: Callable[[], httpx.Response]) -> Reply:
        for attempt in range(self.retries + 1):
            try:
                return self._once(call)
            except _RetryError as error:
                if attempt == self.retries:
                    times = f"{attempt + 1} attempts" if attempt else "one attempt"
                    raise RunError(
                        f"the endpoint did not answer in {times}; last: {error}",
                        where=self.base_url,
                        mend="try again later",
                    ) from None
                pause = error.pause if error.pause is not None else 0.5 * 2**attempt
                self.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("a loop over at least one attempt returns or raises")

    def _once(self, call: Callable[[], httpx.Response]) -> Reply:
        try:
            response = call()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise UnavailableError(
                "nothing answers at this address",
                where=self.base_url,
                mend="start the server, or correct the address; `llmkit doctor` lists the servers on this machine",
            ) from None
        except httpx.TransportError as error:
            raise _RetryError(type(error).__name__) from None
        reply = Reply(response.status_code, _json(response))
        if reply.status == 429 or reply.status >= 500:
            said = self._hidden(reply.reason)
            raise _RetryError(f"HTTP {reply.status}{f': {said}' if said else ''}", _retry_after(response))
        if reply.status in (401, 403):
            raise UnavailableError(
                f"a key {'is refused' if self._key else 'is needed'} (HTTP {reply.status})",
                where=self.base_url,
                mend=f"put the right key into the environment variable {self.api_key_env}",
            )
        return reply

    def _hidden(self, said: str) -> str:
        """Some servers repeat the key that they refuse."""
        return said.replace(self._key, "***") if self._key else said


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None

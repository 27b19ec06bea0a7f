"""Requests to a server that speaks OpenAI's protocol: its address, its key, its failures, and when to try again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from llmkit.errors import RunError, UnavailableError, UsageError

_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_PAUSE = 30.0
"""Seconds; a server that asks for a longer wait is not waited for any longer."""


CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
"""Where lists of models say how much each reads: vLLM, OpenRouter and Together, Groq, Mistral, llama.cpp."""

T = TypeVar("T")


class PassingError(Exception):
    """A failure that may pass; `pause` is how long the server asks to wait."""

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
        """What it says is wrong; see `reason_of`."""
        return reason_of(self.content)


@dataclass(frozen=True)
class Server:
    """A server, and how it is asked.

    Attributes:
        base_url: up to and including the version, such as `http://127.0.0.1:11434/v1`.
        api_key_env: the environment variable that holds the key. The key itself is neither stored nor shown.
        timeout: seconds to wait for the next byte; a connection is given five at most.
        retries: further attempts where the server is busy (429) or fails (5xx, a broken connection).
        waits_again: whether an answer that does not come in time is asked for again.
        sleep: how to pause between attempts.
    """

    base_url: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    retries: int = 4
    waits_again: bool = True
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid:
            raise UsageError("this is not a web address", where=self.base_url, mend="write http://HOST:PORT/v1")
        if parts.username or parts.password:
            raise UsageError(
                "the endpoint's address has a user name or a password in it",
                mend=f"put the key into the environment variable {self.api_key_env}",
            )

    def get(self, path: str) -> Reply:
        """As `post`, without a body."""
        return self.attempt(lambda: self._checked(self.client.get(self.url(path))))

    def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """What the server says to a request, also where it refuses it; tried again while it fails in a passing way.

        Raises:
            UnavailableError: nothing answers at that address, or it refuses the key.
            RunError: it kept failing.
        """
        return self.attempt(lambda: self._checked(self.client.post(self.url(path), json=dict(body))))

    @cached_property
    def client(self) -> httpx.Client:
        """What sends the requests, with the key."""
        # A proxy from the environment must not get to see what is meant for this machine.
        local = urlsplit(self.base_url).hostname in _LOCAL_HOSTS
        if not self._key.isascii():
            raise UsageError(f"the key in {self.api_key_env} has characters no key has", mend="copy it again")
        return httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(self.timeout, connect=min(5.0, self.timeout)),
            trust_env=not local,
        )

    def url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path}"

    def attempt(self, call: Callable[[], T]) -> T:
        """Make a request, and again after a growing pause while it raises PassingError, or httpx's of its own.

        Raises:
            UnavailableError: nothing answers at the address.
            RunError: it kept failing.
        """
        for attempt in range(self.retries + 1):
            try:
                return self._once(call)
            except PassingError as error:
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

    def require(self, response: httpx.Response, said: str) -> None:
        """Raise where a status says that the server is busy or fails, or that the key is wrong.

        Args:
            said: what the reply says is wrong.
        """
        status = response.status_code
        if status == 429 or status >= 500:
            raise PassingError(f"HTTP {status}{f': {said}' if said else ''}", _retry_after(response))
        if status in (401, 403):
            raise UnavailableError(
                f"a key {'is refused' if self._key else 'is needed'} (HTTP {status})",
                where=self.base_url,
                mend=f"put the right key into the environment variable {self.api_key_env}",
            )

    def hidden(self, said: str) -> str:
        """Without the key, which some servers repeat as they refuse it."""
        return said.replace(self._key, "***") if self._key else said

    @property
    def _key(self) -> str:
        return os.environ.get(self.api_key_env, "").strip()

    def _once(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise UnavailableError(
                "nothing answers at this address",
                where=self.base_url,
                mend="start the server, or correct the address; `llmkit doctor` lists the servers on this machine",
            ) from None
        except httpx.TransportError as error:
            if isinstance(error, httpx.ReadTimeout) and not self.waits_again:
                # Whoever needs longer than this for an answer will need it the next time too.
                raise RunError(
                    f"no answer within {self.timeout:g} seconds", where=self.base_url, mend="ask for fewer tokens"
                ) from None
            raise PassingError(type(error).__name__) from None

    def _checked(self, response: httpx.Response) -> Reply:
        reply = Reply(response.status_code, json_of(response))
        self.require(response, self.hidden(reply.reason))
        return reply


def json_of(response: httpx.Response) -> Any:
    """A reply's JSON; None where it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def reason_of(reply: Any) -> str:
    """What a server says is wrong, in the two shapes that are common; cut to a line."""
    error = reply.get("error", reply.get("message", reply.get("detail"))) if isinstance(reply, dict) else None
    text = error.get("message", "") if isinstance(error, dict) else error or ""
    return " ".join(str(text).split())[:300]


def context_of(row: Mapping[str, Any]) -> int | None:
    """Tokens that a model reads, as its row in a list of models says; None where it does not."""
    meta = row.get("meta")
    places = [row, meta if isinstance(meta, Mapping) else {}]
    found = (place.get(key) for place in places for key in CONTEXT_KEYS)
    return next((int(value) for value in found if isinstance(value, int | float) and value > 0), None)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None

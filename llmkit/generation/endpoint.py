"""Generation by any server that speaks OpenAI's chat completions: hosted models, vLLM, llama.cpp, Ollama, LM Studio."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import httpx

from llmkit.errors import DataError, NotFoundError, RunError, closest
from llmkit.generation import wire
from llmkit.generation.prompts import Message
from llmkit.generation.sampling import GREEDY, Generation, Sampling, TextStream, TooLongError
from llmkit.models.server import Server, context_of, json_of, reason_of

_Reply = TypeVar("_Reply")

ONLY_THOUGHT = "the model thought and said nothing: a larger --max-tokens gives it room to answer"
_DONE: Mapping[str, Any] = {}
"""Stands for the `[DONE]` of a stream."""


class _ParameterError(Exception):
    """The server does not take a parameter of the request."""


@dataclass(frozen=True)
class EndpointModel:
    """A model behind an endpoint.

    Attributes:
        base_url: up to and including the version, such as `http://127.0.0.1:11434/v1`.
        model: a name from the server's list of models.
        api_key_env: the environment variable that holds the key. The key itself is neither stored nor shown.
        timeout: seconds to wait for the next byte; a connection is given five at most.
        retries: further attempts where the server is busy (429) or fails (5xx, a broken connection).
        images: as data URLs; they go with the last message of the user, every time.
        sleep: how to pause between attempts.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    retries: int = 4
    images: tuple[str, ...] = field(default=(), repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        _ = self._server  # making it is what checks the address

    def generate(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> Generation:
        """Answer a prompt or a conversation.

        Raises:
            UnavailableError: nothing answers at that address, or it refuses the key.
            NotFoundError: the server has no such model.
            DataError: the server refuses the request (too long, a parameter it does not know).
            RunError: it kept failing, or its reply is not what the protocol says.
        """
        reply, notes = self._request(wire.body(self.model, prompt, sampling, images=self.images), self._post)
        return self._whole(reply, notes)

    def stream(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> TextStream:
        """As `generate`, piece by piece. Only an attempt that has not yielded any text is made again."""
        return TextStream(self._pieces(prompt, sampling))

    @cached_property
    def context(self) -> int | None:
        """Tokens that the model reads, its answer included; None where the server does not say."""
        rows = _rows(self._server.client, self.base_url)
        return next((context_of(row) for row in rows if row.get("id") == self.model), None)

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """At least the tokens of messages; only the server can count them."""
        return wire.estimated_tokens(messages)

    @cached_property
    def _server(self) -> Server:
        return Server(self.base_url, self.api_key_env, self.timeout, self.retries, waits_again=False, sleep=self.sleep)

    def close(self) -> None:
        self._server.client.close()

    def _request(
        self, body: dict[str, Any], send: Callable[[dict[str, Any]], _Reply]
    ) -> tuple[_Reply, tuple[str, ...]]:
        """The reply to a request, without the parameters that the server does not take; these in words."""
        notes: list[str] = []
        while True:
            sent = body
            try:
                return self._server.attempt(lambda: send(sent)), tuple(notes)  # noqa: B023  # called before `sent` changes
            except _ParameterError as refused:
                name = str(refused)
                body = wire.without(body, name)
                if not wire.INSTEAD[name] and name != "stream_options":
                    notes.append(f"the server takes no {name.replace('_', '-')}")

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        response = self._server.client.post(self._server.url("chat/completions"), json=body)
        self._check(response, body)
        reply = json_of(response)
        if not isinstance(reply, dict):
            raise self._not_the_protocol()
        return reply

    def _whole(self, reply: Mapping[str, Any], notes: Sequence[str]) -> Generation:
        try:
            choice = wire.choice(reply)
        except (LookupError, TypeError, AttributeError):
            choice = None
        if choice is None:
            raise self._not_the_protocol()
        silent = choice.thought and not choice.text
        return wire.generation(
            choice.text, choice.reason, reply.get("usage"), [*notes, *([ONLY_THOUGHT] if silent else [])]
        )

    def _pieces(self, prompt: str | Sequence[Message], sampling: Sampling) -> Generator[str, None, Generation]:
        body = wire.body(self.model, prompt, sampling, images=self.images, stream=True)
        response, notes = self._request(body, self._open)
        if response.headers.get("content-type", "").startswith("application/json"):
            # It knows no streams and has answered at once.
            reply = json_of(response)
            whole = self._whole(reply if isinstance(reply, dict) else {}, notes)
            yield whole.text
            return whole
        said: list[str] = []
        reason: str | None = None
        usage: object = None
        thought = done = False
        try:
            for event in self._events(response):
                done = done or event is _DONE
                usage = event.get("usage") or usage
                choice = wire.choice(event, "delta")
                if choice is None:
                    continue
                reason = choice.reason or reason
                thought = thought or choice.thought
                if choice.text:
                    said.append(choice.text)
                    yield choice.text
        except httpx.TransportError as error:
            raise RunError(
                f"the connection broke in the middle of an answer ({type(error).__name__})",
                where=self.base_url,
                mend="ask again",
            ) from None
        except (LookupError, TypeError, AttributeError):
            raise self._not_the_protocol() from None
        finally:
            response.close()
        if reason is None and not done:
            # Some servers give no reason and some no [DONE]; where both are missing something was cut off.
            raise RunError("the answer ends without an end", where=self.base_url, mend="ask again")
        silent = thought and not said
        return wire.generation("".join(said), reason, usage, [*notes, *([ONLY_THOUGHT] if silent else [])])

    def _open(self, body: dict[str, Any]) -> httpx.Response:
        request = self._server.client.build_request("POST", self._server.url("chat/completions"), json=body)
        response = self._server.client.send(request, stream=True)
        try:
            if response.is_error or response.headers.get("content-type", "").startswith("application/json"):
                response.read()
            self._check(response, body)
        except BaseException:
            response.close()
            raise
        return response

    def _events(self, response: httpx.Response) -> Iterator[Mapping[str, Any]]:
        """The server-sent events of a response, up to its `[DONE]`."""
        for line in wire.lines(response):
            name, _, value = line.partition(b":")
            if name != b"data":
                continue
            if value.strip() == b"[DONE]":
                yield _DONE
                return
            try:
                event = json.loads(value)
            except ValueError:
                raise self._not_the_protocol() from None
            if not isinstance(event, dict):
                raise self._not_the_protocol()
            if event.get("error") or event.get("object") == "error":
                raise RunError(f"the endpoint failed: {self._reason(event)}", where=self.base_url, mend="ask again")
            yield event

    def _check(self, response: httpx.Response, body: Mapping[str, Any]) -> None:
        status = response.status_code
        if response.is_success:
            return
        reply = json_of(response)
        reason = self._reason(reply)
        if status < 500 or wire.too_long(reply):
            self._check_length(reply, reason, body)
        self._server.require(response, reason)
        if status in (400, 422) and (name := wire.refused_parameter(reply, body)):
            raise _ParameterError(name)
        if status == 404:
            self._explain_not_found()
        raise DataError(
            f"the endpoint refuses the request (HTTP {status}{f': {reason}' if reason else ''})",
            where=self.base_url,
            mend="correct the request; a prompt that is too long needs fewer passages or a smaller max-tokens",
        )

    def _check_length(self, reply: Any, reason: str, body: Mapping[str, Any]) -> None:
        found = wire.too_long(reply)
        if found is None:
            return
        error = TooLongError(
            f"the prompt is too long for the model: {reason}",
            where=self.base_url,
            mend="give it less to read, or a smaller --max-tokens",
        )
        error.limit, error.asked = found
        error.room = found.limit - int(body.get("max_tokens", 0)) if found.limit else None
        raise error

    def _reason(self, reply: Any) -> str:
        """What the server says is wrong."""
        return self._server.hidden(reason_of(reply))

    def _explain_not_found(self) -> None:
        known = _models(self._server.client, self.base_url)
        if not known:
            raise NotFoundError(
                "there is no chat endpoint at this address",
                where=self.base_url,
                mend="an address usually ends in /v1",
            )
        if self.model not in known:
            raise NotFoundError(
                f"the server has no model '{self.model}'{closest(self.model, known)}",
                where=self.base_url,
                mend="it has " + ", ".join(known[:10]),
            )

    def _not_the_protocol(self) -> RunError:
        return RunError(
            "the reply is not an OpenAI chat completion", where=self.base_url, mend="check that the address ends in /v1"
        )


def probe(base_url: str, *, timeout: float = 0.3) -> list[str]:
    """The ids of the models that a server offers; empty if nothing there speaks the protocol within the time.

    Meant for this machine: it ignores proxies and sends no key.
    """
    with httpx.Client(timeout=timeout, trust_env=False) as client:
        return _models(client, base_url)


def _models(client: httpx.Client, base_url: str) -> list[str]:
    return [str(row["id"]) for row in _rows(client, base_url) if "id" in row]


def _rows(client: httpx.Client, base_url: str) -> list[dict[str, Any]]:
    try:
        response = client.get(f"{base_url.rstrip('/')}/models")
    except (httpx.HTTPError, httpx.InvalidURL):
        return []
    found = json_of(response) if response.is_success else None
    rows = found.get("data") if isinstance(found, dict) else None
    return [row for row in rows or () if isinstance(row, dict)]

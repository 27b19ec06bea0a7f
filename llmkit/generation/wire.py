"""The OpenAI chat protocol as servers really speak it: what is sent, and what of a reply means what.

Servers differ in small things. Seen: no usage (llama.cpp when streaming), no finish_reason or no `[DONE]` (small
servers), a first delta with a role alone (vLLM), thoughts in fields of their own (vLLM, DeepSeek, Ollama), content in
parts (Mistral), one JSON object in answer to a request for a stream, parameters that are not taken (OpenAI's reasoning
models refuse `max_tokens` and `temperature`), and at least five ways of saying that a prompt is too long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

from llmkit.generation.prompts import Message
from llmkit.generation.sampling import FinishReason, Generation, Sampling
from llmkit.models.server import reason_of

FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "filtered"}
INSTEAD: Mapping[str, str] = {
    "max_tokens": "max_completion_tokens",
    "stream_options": "",
    "seed": "",
    "top_p": "",
    "temperature": "",
}
"""Parameters that some servers do not take, and what to send in place of each; nothing where it is left out."""

_TOO_LONG = re.compile(
    r"(?:maximum|exceed\w*|available).{0,40}context|context.{0,20}(?:length|window|size).{0,40}exceed"
    r"|prompt is too long|too many tokens|tokens.{0,20}must be <=",
    re.IGNORECASE | re.DOTALL,
)
_LIMITS = re.compile(r"context (?:length|size|window) (?:is|of) (\d+)|context size \((\d+)|<= (\d+)|> (\d+) maximum")
_ASKED = re.compile(
    r"\((\d+) in the (?:messages|prompt)|(?:resulted in|prompt contains(?: at least)?) (\d+)|request \((\d+)"
    r"|Given: (\d+)|too long: (\d+)"
)

_PIECES = re.compile(r"([A-Za-z]+)| (?=[A-Za-z])|(.)", re.DOTALL)


class TooLong(NamedTuple):
    """What a server says of a prompt that it cannot read: the tokens it reads, and those it was sent, if it says so."""

    limit: int | None
    asked: int | None


class Choice(NamedTuple):
    """What a reply, or an event of a stream, says."""

    text: str
    thought: bool
    reason: str | None


def body(
    model: str,
    prompt: str | Sequence[Message],
    sampling: Sampling,
    *,
    images: Sequence[str] = (),
    stream: bool = False,
) -> dict[str, Any]:
    """A request. Images (data URLs) go with the last message of the user."""
    messages: list[dict[str, Any]] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
    )
    if images:
        last = next(message for message in reversed(messages) if message["role"] == "user")
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in images]
        last["content"] = [{"type": "text", "text": last["content"]}, *shown]
    sent: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.stop:
        sent["stop"] = list(sampling.stop)
    if stream:
        sent |= {"stream": True, "stream_options": {"include_usage": True}}
    return sent


def choice(reply: Mapping[str, Any], key: str = "message") -> Choice | None:
    """The first choice of a reply (`message`) or of an event (`delta`); None where there is none.

    Raises:
        LookupError, TypeError, AttributeError: it is not what the protocol says.
    """
    for each in reply.get("choices") or ():
        said = each[key] if key == "message" else each.get(key) or {}
        thought = any(said.get(name) for name in ("reasoning_content", "reasoning", "thinking"))
        return Choice(_content(said.get("content")), thought, each.get("finish_reason"))
    return None


def generation(text: str, reason: str | None, usage: object, notes: Sequence[str] = ()) -> Generation:
    """A finished text with what the server counted."""
    counts = usage if isinstance(usage, Mapping) else {}
    return Generation(
        text=text,
        tokens=_count(counts.get("completion_tokens")),
        finish_reason=FINISH.get(reason or "stop", "stop"),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        notes=tuple(notes),
    )


def too_long(reply: Any) -> TooLong | None:
    """Whether a refusal says that the prompt is too long, and what it says of it."""
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    message = str(error.get("message") or "")
    kinds = {str(error.get("code")), str(error.get("type"))}
    if not kinds & {"context_length_exceeded", "exceed_context_size_error"} and not _TOO_LONG.search(message):
        return None
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", message)
    limit = _count(error.get("n_ctx")) or _first(_LIMITS, plain)
    return TooLong(limit, _count(error.get("n_prompt_tokens")) or _first(_ASKED, plain))


def refused_parameter(reply: Any, sent: Mapping[str, Any]) -> str | None:
    """The parameter that a refusal names and that the request can do without."""
    error = reply.get("error") if isinstance(reply, dict) else None
    named = error.get("param") if isinstance(error, dict) else None
    said = f"{named or ''} {reason_of(reply)} {reply.get('detail') if isinstance(reply, dict) else ''}"
    return next((name for name in INSTEAD if name in sent and re.search(rf"\b{name}\b", said)), None)


def without(sent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The request without a parameter, or with what some servers take in its place."""
    kept = {key: value for key, value in sent.items() if key != name}
    return kept | {INSTEAD[name]: sent[name]} if INSTEAD[name] else kept


def lines(response: httpx.Response) -> Iterator[bytes]:
    """Lines as the protocol has them. httpx also splits at U+2028 and the like, which models do write."""
    rest = b""
    for block in response.iter_bytes():
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    yield rest


def estimated_tokens(messages: Sequence[Message]) -> int:
    """At least as many tokens as nearly every tokenizer makes of messages, for a server whose own is not at hand.

    One for every five letters of a word, one for every other sign, 1.8 for what is not ASCII, 8 for the marks of a
    turn. Held against GPT-2's vocabulary, which is small for today and knows no Japanese, on pieces of 1,500
    characters: never below its count in WikiText-2, Pride and Prejudice, the standard library's source, tables of
    figures and JaQuAD, at the median 1.2 times it.
    """
    pieces: list[tuple[str, str]] = [each for message in messages for each in _PIECES.findall(message["content"])]
    ascii_tokens = sum((len(word) + 4) // 5 or int("" < sign < "\x80") for word, sign in pieces)
    others = sum(sign >= "\x80" for _, sign in pieces)
    return ascii_tokens + math.ceil(others * 1.8) + 8 * (len(messages) + 1)


def _content(content: object) -> str:
    """A text, or the text of parts."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text"]
        return "".join(str(part.get("text") or "") for part in parts)
    return str(content or "")


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _first(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(next(group for group in match.groups() if group)) if match else None

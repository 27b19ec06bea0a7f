"""What every generator shares: its options, its result, the stream of text between, and where a text must stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llmkit.errors import DataError, UsageError

FinishReason = Literal["stop", "length", "filtered", "interrupted"]
"""It ended by itself or at a stop string; it ran out of tokens or of context; the endpoint withheld it; Ctrl-C."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_tokens: most tokens to generate.
        temperature: 0 takes the likeliest token; 1 samples from the model's own distribution.
        top_p: sample from the likeliest tokens that together have this probability (Holtzman et al., 2020).
        seed: the same seed, prompt and model give the same text.
        stop: strings at which the text ends; they are not part of it.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max-tokens is {self.max_tokens}", mend="ask for at least one token")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature is {self.temperature:g}", mend="use 0 (always the likeliest) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top-p is {self.top_p:g}", mend="use a share above 0 and up to 1")
        if "" in self.stop:
            raise UsageError("a stop string is empty", mend="leave it out")


GREEDY = Sampling()


@dataclass(frozen=True)
class Generation:
    """A finished text.

    Attributes:
        tokens, prompt_tokens: how many were generated and read; 0 where an endpoint does not say.
        notes: what a user must know: a prompt that was cut, a limit that was lowered.
    """

    text: str
    tokens: int
    finish_reason: FinishReason
    prompt_tokens: int = 0
    notes: tuple[str, ...] = ()


class TooLongError(DataError):
    """A server reads less than the prompt has.

    Attributes:
        limit: tokens it reads, its answer included, where it says so.
        room: tokens of them for the prompt.
        asked: tokens it counted in what it was sent, where it says so.
    """

    limit: int | None = None
    room: int | None = None
    asked: int | None = None


class TextStream(Iterator[str]):
    """Pieces of a text as they come. `result` is the whole; asking for it reads what is left."""

    def __init__(self, pieces: Generator[str, None, Generation]) -> None:
        self._pieces = pieces
        self._result: Generation | None = None

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as end:
            self._result = end.value or self._result
            raise

    @property
    def result(self) -> Generation:
        for _ in self:
            pass
        if self._result is None:
            raise RuntimeError("the stream was closed before its end")
        return self._result

    def close(self) -> None:
        """Stop generating; there will be no result."""
        self._pieces.close()


class Detokenizer:
    """Ids to text, one id at a time, never showing half a character."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """The text that this id completes."""
        # Decoding all ids each time is what keeps spaces and merged characters right with every kind of tokenizer.
        self._ids.append(token)
        whole = self._decode(self._ids)
        return self._show(whole, len(whole.rstrip(_BROKEN)))

    def rest(self) -> str:
        """What was held back: bytes that never became a character."""
        whole = self._decode(self._ids)
        return self._show(whole, len(whole))

    def _show(self, whole: str, end: int) -> str:
        piece = whole[self._shown : end]
        self._shown = max(self._shown, end)
        return piece


class StopStrings:
    """Ends a text at the first stop string, even one that arrives in pieces."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self.reached = False

    def push(self, piece: str) -> str:
        """The text that certainly comes before any stop string; empty once one was `reached`."""
        if self.reached:
            return ""
        text = self._held + piece
        ends = [at for at in (text.find(string) for string in self._strings) if at >= 0]
        if ends:
            self.reached, self._held = True, ""
            return text[: min(ends)]
        open_end = max(
            (size for string in self._strings for size in range(1, len(string)) if text.endswith(string[:size])),
            default=0,
        )
        cut = len(text) - open_end
        self._held = text[cut:]
        return text[:cut]

    def rest(self) -> str:
        """What was held back in case it began a stop string."""
        held, self._held = self._held, ""
        return held

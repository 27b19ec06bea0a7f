"""What is done about examples that are longer than a model reads: one policy for all tasks, and its counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from llmkit.errors import DataError, UsageError

OverLength = Literal["error", "drop", "truncate", "split"]


class Measured(Protocol):
    """An example in tokens: its length, and the record that it came from."""

    def __len__(self) -> int: ...

    @property
    def where(self) -> str: ...


T = TypeVar("T", bound=Measured)


def _example(_: object) -> str:
    return "an example"


@dataclass(frozen=True)
class Shortening(Generic[T]):
    """How examples of a kind are made shorter.

    Attributes:
        cut: the example within a limit, None where nothing to learn is left.
        pieces: consecutive ones within a limit, None for one without anything to learn; where it is None itself, an
            example cannot be split.
        called: for messages, what of an example is too long.
        why: for messages, what there is to know of the limit.
    """

    cut: Callable[[T, int], T | None]
    pieces: Callable[[T, int], Sequence[T | None]] | None = None
    called: Callable[[T], str] = _example
    why: str = ""

    @property
    def mend(self) -> str:
        """What to do about an example that is too long."""
        policies = "drop, truncate or split" if self.pieces else "drop or truncate"
        return f"use --over-length {policies}, a higher --sequence-length, or a model that reads more"


@dataclass(frozen=True)
class Fitted(Generic[T]):
    """Examples that fit a limit, and what became of those that did not.

    Attributes:
        examples: pieces of split ones among them.
        longest: tokens of the longest example before anything was done about it.
        truncated: those of which something to learn is left; `split` likewise.
        untrainable: truncated examples, and pieces of split ones, in which nothing to learn was left: they are not
            among `examples`.
    """

    limit: int
    examples: list[T] = field(default_factory=list)
    longest: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    untrainable: int = 0

    def checked(self) -> Fitted[T]:
        """Itself; raises DataError where there were examples and none of them is left."""
        if self.examples or not (self.dropped or self.untrainable):
            return self
        raise DataError(
            f"no example is left: the longest has {self.longest:,} tokens and the limit is {self.limit:,}",
            mend="use "
            + ("--over-length truncate, " if self.dropped else "")
            + "a higher --sequence-length, or a model that reads more",
        )


def fit(examples: Iterable[T], limit: int, policy: OverLength, how: Shortening[T]) -> Fitted[T]:
    """Apply the over-length policy: nothing is ever cut silently, everything is counted.

    Raises:
        UsageError: with policy `split`, where examples of this kind cannot be split.
        DataError: with policy `error`, for the first example that is too long.
    """
    if policy == "split" and how.pieces is None:
        raise UsageError("these examples cannot be split", mend="use --over-length error, drop or truncate")
    kept: list[T] = []
    longest = dropped = truncated = split = untrainable = 0
    for example in examples:
        longest = max(longest, len(example))
        if len(example) <= limit:
            kept.append(example)
            continue
        if policy == "error":
            raise _too_long(example, limit, how)
        if policy == "drop":
            dropped += 1
            continue
        made = how.pieces(example, limit) if policy == "split" and how.pieces else [how.cut(example, limit)]
        left = [piece for piece in made if piece is not None]
        untrainable += len(made) - len(left)
        truncated += policy == "truncate" and bool(left)
        split += policy == "split" and bool(left)
        kept += left
    return Fitted(limit, kept, longest, dropped, truncated, split, untrainable)


def _too_long(example: T, limit: int, how: Shortening[T]) -> DataError:
    why = f": {how.why}" if how.why else ""
    return DataError(
        f"{how.called(example)} of {len(example):,} tokens is longer than the limit of {limit:,}{why}",
        where=example.where or None,
        mend=how.mend,
    )

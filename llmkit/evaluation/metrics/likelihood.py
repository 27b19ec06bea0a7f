"""Log-likelihoods of whole texts, and the denominators of perplexities.

The conventions are those of lm-evaluation-harness 0.4.13, so that figures can be compared digit by digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

Loglikelihood = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]]], Sequence[float]]
"""(context ids, continuation ids) pairs -> the sum of natural-log probabilities of each continuation."""

_SPACE = re.compile(r"\s+")


def rolling_windows(ids: Sequence[int], *, prefix: int, length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Split a text into (context, continuation) pairs that predict every token exactly once.

    The first window predicts the first `length` tokens, from the `prefix` token (BOS, else EOS) on. Each later one
    predicts up to `length` more with as much left context as the model can read besides; so the last, short one
    keeps a long context. Context and continuation together never exceed `length` + 1 tokens, as the last token of
    the continuation is predicted and not read.
    """
    if length < 1:
        raise ValueError(f"length is {length}: a window holds at least one token")
    if not ids:
        return
    tokens = list(ids)
    done = min(length, len(tokens))
    yield [prefix], tokens[:done]
    while done < len(tokens):
        end = done + min(length, len(tokens) - done)
        yield tokens[end - length - 1 : done], tokens[done:end]
        done = end


def rolling_loglikelihoods(
    texts: Sequence[Sequence[int]], loglikelihood: Loglikelihood, *, prefix: int, length: int
) -> list[float]:
    """Natural-log likelihood of each token sequence; an empty one has 0.

    All windows of all texts go out in one call, so that the callable can batch them by length.
    """
    windows = [list(rolling_windows(ids, prefix=prefix, length=length)) for ids in texts]
    scores = iter(loglikelihood([pair for text in windows for pair in text]))
    return [sum(next(scores) for _ in text) for text in windows]


def word_count(text: str) -> int:
    """Pieces between runs of whitespace. Leading or trailing whitespace adds an empty piece, as in the harness."""
    return len(_SPACE.split(text))


def byte_count(text: str) -> int:
    """UTF-8 bytes; a lone surrogate, which no UTF-8 file holds, counts as the three bytes it would take."""
    return len(text.encode("utf-8", "surrogatepass"))

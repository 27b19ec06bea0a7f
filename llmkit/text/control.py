"""A model's control tokens in somebody's text: they are characters there, and must not act.

Training, generation and evaluation all write messages through this, so that a document which contains `<|im_end|>` ends
no turn in any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LOOKALIKE: Mapping[str, str] = {
    "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    "[": "\N{FULLWIDTH LEFT SQUARE BRACKET}",
}
"""A similar character of the same length, for those that control tokens usually begin with."""


def defuse(text: str, special: Iterable[str]) -> str:
    """The text without a model's control tokens, such as `<|im_end|>`, which would otherwise end a turn.

    Their first character is replaced by a similar one, or a zero-width space is put behind it where there is none.
    """
    for token in sorted(special, key=len, reverse=True):
        if len(token) > 1 and token in text:
            first = LOOKALIKE.get(token[0], token[0] + "\N{ZERO WIDTH SPACE}")
            text = text.replace(token, first + token[1:])
    return text


def defused_messages(messages: Sequence[Mapping[str, str]], tokenizer: Any) -> list[dict[str, str]]:
    """The messages with every special token of the tokenizer made inert in their contents."""
    special = special_tokens(tokenizer)
    return [{**message, "content": defuse(message["content"], special)} for message in messages]


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts of a Hugging Face tokenizer's control tokens."""
    return tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)

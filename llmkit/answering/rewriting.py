"""A question of a conversation, written so that it can be understood, and searched, without the conversation.

By rules, for English and Japanese: what is left out or stands for something ("and in 2012?", "how tall is it?",
「高さは？」) is filled in from the question before, which was filled in itself, so that a subject is handed on. A
model, where there is one, is asked to do the same, and believed if its words come from the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from llmkit.answering import follow_en, follow_ja
from llmkit.generation.prompts import Message
from llmkit.retrieval.lexical import has_unspaced, is_hiragana, question_words

LONGEST = 300
"""Code points of a model's rewriting; what is longer is no question."""
FROM_THE_CONVERSATION = 0.6
"""Least share of the words of a model's rewriting that the conversation holds."""

REWRITE = """\
Rewrite the user's last question so that it can be understood without the conversation: replace pronouns and fill in \
what is left out, from the conversation and from nothing else. Keep its language. Do not answer it. If it is complete \
already, repeat it. Reply with the question alone, on one line."""

_MARKS = re.compile(r"^(?:[Qq]uestion|[Rr]ewritten question|質問)\s*[:：]\s*|^[\"「“']+|[\"」”']+$")


class Turn(NamedTuple):
    """A question as it was searched, and what was said to it."""

    question: str
    answer: str


class Rewritten(NamedTuple):
    """The question as it is searched, and who made it so."""

    text: str
    by: Literal["nobody", "rules", "model"]


def rewritten(question: str, turns: Sequence[Turn], ask: Callable[[list[Message]], str] | None = None) -> Rewritten:
    """The question in words that need no conversation; as it was asked where nothing is to be filled in.

    Args:
        ask: messages to a model's reply.
    """
    if not turns:
        return Rewritten(question, "nobody")
    if ask is not None and (text := accepted(ask(rewriting_messages(question, turns)), question, turns)):
        return Rewritten(text, "nobody" if text == question else "model")
    follow = follow_ja.follow if has_unspaced(question) else follow_en.follow
    # A turn that leans on something itself, and could not be filled in, says nothing of what is talked about.
    standing = [turn for turn in reversed(turns) if not follow_en.leans(turn.question)] or [turns[-1]]
    text = follow(question, *standing[0], [turn.question for turn in standing[1:]])
    return Rewritten(text, "nobody" if text == question else "rules")


def rewriting_messages(question: str, turns: Sequence[Turn], most: int = 4) -> list[Message]:
    """What a model is asked: the last turns, and the question."""
    said = "\n".join(f"User: {turn.question}\nAnswer: {turn.answer[:LONGEST]}" for turn in turns[-most:])
    return [{"role": "system", "content": REWRITE}, {"role": "user", "content": f"{said}\nLast question: {question}"}]


def accepted(reply: str, question: str, turns: Sequence[Turn]) -> str | None:
    """A model's rewriting, or None where it is none: nothing, an answer, or words from elsewhere."""
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    if len(lines) != 1:
        return None
    text = _MARKS.sub("", _MARKS.sub("", lines[0])).strip()
    words = _words(text)
    if not words or len(text) > LONGEST or has_unspaced(text) != has_unspaced(question):
        return None
    own = _words(question)
    known = own.union(*(_words(f"{turn.question} {turn.answer}") for turn in turns))
    if len(words & known) < FROM_THE_CONVERSATION * len(words) or not words & own:
        return None
    asks = text.endswith(("?", "？", "か", "か。")) or not question.strip().endswith(("?", "？"))
    return text if asks else None


def _words(text: str) -> set[str]:
    """Those that carry a subject; hiragana carries the grammar."""
    return {word for word in question_words(text) if not is_hiragana(word)}

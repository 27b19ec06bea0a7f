"""What of a question's passages and of the conversation before it a model has room for, and asking it with that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from llmkit.errors import DataError
from llmkit.generation.prompts import Message, Passage, grounded_messages
from llmkit.generation.sampling import Generation, TooLongError
from llmkit.text.sentences import sentence_spans

BRIEF_BELOW = 3
"""The full rules may take one part in so many of what the model reads; else it gets the brief ones."""
MOST_REFUSALS = 12
"""How often a server may refuse a prompt as too long before that is the answer."""


@dataclass(frozen=True)
class Writer:
    """A model that words answers.

    Attributes:
        write: messages to the model's reply. Raises TooLongError where a server says that it cannot read so much.
        tokens: how many the messages have: exactly, or at least as many as a server counts.
        room: most tokens that the messages may have; None where nobody says.
        context: what the model reads, its answer included.
    """

    write: Callable[[list[dict[str, str]]], Generation]
    tokens: Callable[[Sequence[Message]], int] | None = None
    room: int | None = None
    context: int | None = None


class Written(NamedTuple):
    """A reply, how many of the passages it had (the best ones), and what had to be left out, in words."""

    generation: Generation
    passages: int
    notes: tuple[str, ...]


class _Step(NamedTuple):
    """What is offered to the model: the last turns, the first passages, and the share of the last passage."""

    turns: int
    passages: int
    sentences: int | None = None


def write_fitting(
    writer: Writer, question: str, passages: Sequence[Passage], history: Sequence[Message] = ()
) -> Written:
    """Asks with as much as the model reads: the oldest turns go first, then the worst passages, then sentences.

    Raises:
        DataError: not even a sentence of the best passage fits.
    """
    brief = _is_narrow(writer, question)
    refused: TooLongError | None = None
    refusals = 0
    for step in _steps(passages, history):
        kept = _kept(passages, step)
        turns = list(history)[len(history) - step.turns :]
        messages = grounded_messages(question, kept, history=turns, brief=brief)
        if writer.tokens and writer.room is not None and writer.tokens(messages) > writer.room:
            continue
        try:
            generation = writer.write(messages)
        except TooLongError as error:
            refused, refusals = error, refusals + 1
            if refusals == MOST_REFUSALS:
                break
            writer = _narrower(writer, messages, error)
            continue
        return Written(generation, step.passages, _notes(step, passages, history, writer, refused))
    raise _nothing_fits(writer, question, refused)


def turns_that_fit(writer: Writer, history: Sequence[Message], question: str) -> tuple[list[Message], tuple[str, ...]]:
    """The last turns of a conversation that leave room for a question, and what was left out, in words."""
    turns = list(history)
    asked: Message = {"role": "user", "content": question}
    while turns and writer.tokens and writer.room is not None and writer.tokens([*turns, asked]) > writer.room:
        turns = turns[2:]
    note = _left_out(len(history) - len(turns), len(history), _reads(writer, None))
    return turns, (note,) if note else ()


def _is_narrow(writer: Writer, question: str) -> bool:
    if writer.tokens is None or writer.room is None:
        return False
    return writer.tokens(grounded_messages(question, [])) * BRIEF_BELOW > writer.room


def _steps(passages: Sequence[Passage], history: Sequence[Message]) -> Iterator[_Step]:
    """From everything to the first sentence of the best passage."""
    for turns in range(len(history), 0, -2):
        yield _Step(turns, len(passages))
    for count in range(len(passages), 0, -1):
        yield _Step(0, count)
    if passages:
        left = len(sentence_spans(passages[0].text)) - 1
        while left > 0:
            yield _Step(0, 1, left)
            left = min(left - 1, left * 3 // 4)


def _kept(passages: Sequence[Passage], step: _Step) -> list[Passage]:
    kept = list(passages[: step.passages])
    if step.sentences is not None:
        end = sentence_spans(kept[0].text)[step.sentences - 1].end
        kept[0] = replace(kept[0], text=kept[0].text[:end])
    return kept


def _narrower(writer: Writer, messages: Sequence[Message], error: TooLongError) -> Writer:
    """The writer with what a server has just told of its room, in units of our own count of tokens."""
    if writer.tokens is None or not error.room or not error.asked:
        return writer
    ours = writer.tokens(messages)
    return replace(writer, room=min(ours - 1, ours * error.room // error.asked))


def _notes(
    step: _Step,
    passages: Sequence[Passage],
    history: Sequence[Message],
    writer: Writer,
    refused: TooLongError | None,
) -> tuple[str, ...]:
    reads = _reads(writer, refused)
    notes = [_left_out(len(history) - step.turns, len(history), reads)]
    if step.passages < len(passages):
        notes.append(f"{len(passages) - step.passages} of {len(passages)} passages left out: {reads}")
    if step.sentences is not None:
        whole = len(sentence_spans(passages[0].text))
        notes.append(f"the best passage was cut to {step.sentences} of its {whole} sentences: {reads}")
    return tuple(note for note in notes if note)


def _left_out(messages: int, of: int, reads: str) -> str:
    # A turn is a question with its answer.
    return f"{(messages + 1) // 2} of {(of + 1) // 2} earlier turns left out: {reads}" if messages else ""


def _reads(writer: Writer, refused: TooLongError | None) -> str:
    if refused is not None:
        return f"the model reads {refused.limit:,} tokens" if refused.limit else "the server refuses longer prompts"
    return f"the model reads {writer.context or writer.room or 0:,} tokens"


def _nothing_fits(writer: Writer, question: str, refused: TooLongError | None) -> DataError:
    mend = "use a model that reads more, or a smaller --max-tokens"
    if refused is not None:
        return DataError(f"not even one passage fits: {refused.message}", where=refused.where, mend=mend)
    counted = writer.tokens(grounded_messages(question, [], brief=True)) if writer.tokens else 0
    return DataError(
        f"{_reads(writer, None)}, {writer.room:,} of them beside its answer; the rules and the question take "
        f"{counted:,}, and not even a sentence of the best passage fits",
        mend=mend,
    )

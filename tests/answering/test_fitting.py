"""A model with too little context: what is left out, in which order, and that it is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.answering.fitting import Writer, turns_that_fit, write_fitting
from llmkit.errors import DataError
from llmkit.generation.prompts import Message, Passage
from llmkit.generation.sampling import Generation, TooLongError

PASSAGES = [Passage(f"Number {n} barks. " + f"Word{n} " * 40 + ". It sleeps. It eats. It runs.") for n in range(5)]
HISTORY: list[Message] = [
    {"role": role, "content": f"{role} {n} " + "talk " * 30} for n in range(3) for role in ("user", "assistant")
]


def words(messages: object) -> int:
    """A tokenizer that anybody can check."""
    return sum(len(message["content"].split()) for message in messages)  # type: ignore[attr-defined]  # messages


class Model:
    def __init__(self) -> None:
        self.seen: list[list[dict[str, str]]] = []

    def write(self, messages: list[dict[str, str]]) -> Generation:
        self.seen.append(messages)
        return Generation("Said.", 1, "stop")

    def writer(self, room: int | None) -> Writer:
        return Writer(self.write, words, room, room and room + 50)


def shown(messages: list[dict[str, str]]) -> list[int]:
    return [int(n) for n in re.findall(r"Number (\d) barks", messages[-1]["content"])]


def test_with_room_for_all_nothing_is_left_out() -> None:
    model = Model()
    written = write_fitting(model.writer(10_000), "Why?", PASSAGES, HISTORY)
    assert (written.passages, written.notes, shown(model.seen[0])) == (5, (), [0, 1, 2, 3, 4])
    assert len(model.seen[0]) == 2 + len(HISTORY)


def test_the_oldest_turns_go_before_any_passage() -> None:
    model = Model()
    written = write_fitting(model.writer(450), "Why?", PASSAGES, HISTORY)
    assert written.passages == 5 and [m["content"][:6] for m in model.seen[0][1:3]] == ["user 2", "assist"]
    assert written.notes == ("2 of 3 earlier turns left out: the model reads 500 tokens",)


def test_passages_go_from_the_worst_up() -> None:
    model = Model()
    written = write_fitting(model.writer(280), "Why?", PASSAGES)
    assert shown(model.seen[0]) == list(range(written.passages)) and 1 <= written.passages < 5
    left = 5 - written.passages
    assert written.notes == (f"{left} of 5 passages left out: the model reads 330 tokens",)


def test_of_a_passage_that_is_too_long_the_first_sentences_are_left() -> None:
    model = Model()
    written = write_fitting(model.writer(40), "Why?", PASSAGES)
    assert written.passages == 1 and "Number 0 barks." in model.seen[0][-1]["content"]
    assert "Word0" not in model.seen[0][-1]["content"]
    assert written.notes[1] == "the best passage was cut to 1 of its 5 sentences: the model reads 90 tokens"


def test_where_nothing_fits_it_is_said_what_is_missing() -> None:
    model = Model()
    with pytest.raises(DataError, match=r"the model reads 70 tokens, 20 of them beside its answer") as caught:
        write_fitting(model.writer(20), "Why?", PASSAGES)
    assert not model.seen and "--max-tokens" in str(caught.value.mend)


@given(st.integers(30, 900), st.integers(0, 5), st.integers(0, 3))
def test_what_is_sent_always_fits(room: int, passages: int, turns: int) -> None:
    model = Model()
    try:
        written = write_fitting(model.writer(room), "Why?", PASSAGES[:passages], HISTORY[: 2 * turns])
    except DataError:
        assert not model.seen
        return
    (sent,) = model.seen
    assert words(sent) <= room and shown(sent) == list(range(written.passages))
    whole = written.passages == passages and len(sent) == 2 + 2 * turns
    assert bool(written.notes) != whole or "sentences" in "".join(written.notes)


class Server(Model):
    """Counts twice the words, reads `limit` of them, and says so in one of two ways."""

    def __init__(self, limit: int, *, talks: bool) -> None:
        super().__init__()
        self.limit, self.talks, self.refusals = limit, talks, 0

    def write(self, messages: list[dict[str, str]]) -> Generation:
        count = 2 * words(messages)
        if count > self.limit:
            self.refusals += 1
            error = TooLongError("too long")
            if self.talks:
                error.limit, error.room, error.asked = self.limit, self.limit, count
            raise error
        return super().write(messages)


@pytest.mark.parametrize("talks", [True, False])
def test_a_server_that_refuses_gets_less(talks: bool) -> None:
    server = Server(500, talks=talks)
    written = write_fitting(Writer(server.write, words), "Why?", PASSAGES)
    assert server.seen and written.passages == len(shown(server.seen[0])) < 5
    assert server.refusals == 1 if talks else server.refusals > 1
    reads = "the model reads 500 tokens" if talks else "the server refuses longer prompts"
    assert written.notes == (f"{5 - written.passages} of 5 passages left out: {reads}",)


def test_a_server_that_refuses_everything_is_not_asked_for_ever() -> None:
    server = Server(1, talks=False)
    with pytest.raises(DataError, match="not even one passage fits: too long"):
        write_fitting(Writer(server.write, words), "Why?", PASSAGES, HISTORY)
    assert server.refusals <= 12


def test_a_conversation_without_passages_loses_its_oldest_turns() -> None:
    turns, notes = turns_that_fit(Model().writer(100), HISTORY, "Why?")
    assert turns == HISTORY[4:] and notes == ("2 of 3 earlier turns left out: the model reads 150 tokens",)
    assert turns_that_fit(Model().writer(None), HISTORY, "Why?") == (HISTORY, ())

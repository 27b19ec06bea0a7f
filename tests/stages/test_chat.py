"""Conversations by script: what is searched, what a model is told, the commands, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llmkit.errors import Interrupted, RunError
from llmkit.reporting.blocks import Block
from llmkit.reporting.reporter import Silent
from llmkit.stages.answer_view import show
from llmkit.stages.chat import Conversation


class Listener(Silent):
    def __init__(self, *, typed: bool = False) -> None:
        super().__init__()
        self.results: list[Mapping[str, Any]] = []
        self.said: list[str] = []
        self.shown: list[Block] = []
        self.typed = typed
        self.parts = self.results.append

    @property
    def interactive(self) -> bool:
        return self.typed

    def info(self, message: str, *, style: str = "plain") -> None:
        self.said.append(message)

    def show(self, block: Block) -> None:
        self.shown.append(block)


class Desk:
    """Answers with what it was asked; remembers everything."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[Mapping[str, str]]]] = []

    def __call__(self, question: str, searched: str, turns: Any) -> dict[str, Any]:
        self.asked.append((question, searched, list(turns)))
        if "fail" in question:
            raise RunError("the endpoint failed", mend="ask again")
        place = {"source": "a.md", "start": 0, "end": 9, "score": 0.5}
        return {"question": question, "answer": f"About {searched} [1] It is. [unsupported]", "abstained": False,
                "citations": [], "retrieved": [place], "unsupported": [], "notes": []}  # fmt: skip


def held(*lines: str, rewrites: bool = True, typed: bool = False, first: str | None = None, ask: Any = None) -> Any:
    desk, listener = Desk(), Listener(typed=typed)
    talk = Conversation(desk, listener, rewrites=rewrites, ask=ask)
    left = iter(lines)
    talk.hold(lambda prompt: next(left, None), first)
    return desk, listener, talk


def test_follow_ups_are_searched_in_words_of_their_own() -> None:
    desk, listener, talk = held("How tall is it?", "And who designed it?", first="When was the Eiffel Tower built?")
    assert [searched for _, searched, _ in desk.asked] == [
        "When was the Eiffel Tower built?",
        "How tall is the Eiffel Tower?",
        "Who designed the Eiffel Tower?",
    ]
    assert [(each["searched"], each["rewritten_by"]) for each in listener.results] == [
        (None, "nobody"),
        ("How tall is the Eiffel Tower?", "rules"),
        ("Who designed the Eiffel Tower?", "rules"),
    ]
    assert talk.answers == listener.results
    shown = [getattr(block, "text", "") for block in show(listener.results[1])]
    assert "How tall is it?" in shown and "understood as: How tall is the Eiffel Tower?" in shown


def test_a_model_is_told_what_was_said_without_marks_of_citation() -> None:
    desk, _, _ = held("What does the okapi eat?", "Where does it live?")
    assert desk.asked[1][2] == [
        {"role": "user", "content": "What does the okapi eat?"},
        {"role": "assistant", "content": "About What does the okapi eat? It is."},
    ]


def test_a_model_that_is_there_fills_questions_in() -> None:
    desk, listener, _ = held("What does the okapi eat?", "Home?", ask=lambda messages: "Where is the okapi home?")
    assert desk.asked[1][1] == "Where is the okapi home?" and listener.results[1]["rewritten_by"] == "model"


def test_without_documents_nothing_is_filled_in() -> None:
    desk, _, _ = held("What does the okapi eat?", "Where does it live?", rewrites=False)
    assert desk.asked[1][1] == "Where does it live?" and len(desk.asked[1][2]) == 2


def test_what_is_forgotten_is_not_filled_in() -> None:
    desk, listener, _ = held("What does the okapi eat?", "/clear", "Where does it live?", "/sources")
    assert desk.asked[1] == ("Where does it live?", "Where does it live?", [])
    assert "forgotten" in listener.said[0] and len(listener.shown) == 1


def test_commands_and_empty_lines_are_no_questions() -> None:
    desk, listener, _ = held("", "  ", "/sources", "/nothing", "/help", "/etc/hosts: what is it?", "/quit", "never")
    assert [asked for asked, _, _ in desk.asked] == ["/etc/hosts: what is it?"]
    assert ["no answer yet" in listener.said[0], "no such command: /nothing" in listener.said[1]] == [True, True]
    assert all("/quit" in said for said in listener.said[1:3])


def test_whoever_types_goes_on_after_a_failure_and_a_pipe_does_not() -> None:
    desk, listener, _ = held("fail", "What does the okapi eat?", typed=True)
    assert len(desk.asked) == 2 and len(listener.results) == 1 and "ask again" in listener.warnings[0]
    assert listener.results[0]["typed"] is True
    with pytest.raises(RunError):
        held("fail", "What does the okapi eat?")


def test_ctrl_c_where_a_question_is_awaited_ends_the_chat() -> None:
    talk = Conversation(Desk(), Listener(), rewrites=True)

    def lines(prompt: str) -> str:
        if talk.answers:
            raise KeyboardInterrupt
        return "What does the okapi eat?"

    with pytest.raises(Interrupted, match="after 1 answer"):
        talk.hold(lines)

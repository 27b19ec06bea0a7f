"""Many questions: bad lines named, each answer kept as soon as it is there, Ctrl-C and death in the middle."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError, Interrupted
from llmkit.registry.store import Registry
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Context
from llmkit.stages.questions import Question, answered, answered_in, read_questions

THREE = [Question("one"), Question("two"), Question("three")]


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context(Registry(tmp_path / "home"), Silent(), tmp_path)


def reply(question: Question) -> dict[str, Any]:
    return {"question": question.text, "answer": question.text.upper()}


def stopping_at(text: str):
    def said(question: Question) -> dict[str, Any]:
        if question.text == text:
            raise KeyboardInterrupt
        return reply(question)

    return said


def test_a_file_of_rows_and_one_of_lines(tmp_path: Path) -> None:
    rows = tmp_path / "q.jsonl"
    rows.write_text('\ufeff{"question": "a?", "id": 7}\n\n"b?"\n{"question": "c?", "other": 1}\n', encoding="utf-8")
    assert read_questions(rows) == [Question("a?", {"id": 7}), Question("b?"), Question("c?")]
    lines = tmp_path / "q.txt"
    lines.write_text(' a?\n\n{"b": 1}\n')
    assert [question.text for question in read_questions(lines)] == ["a?", '{"b": 1}']


@pytest.mark.parametrize("bad", ["not json", "{}", "[]", "3", '{"question": ""}', '{"question": 4}', "null"])
def test_every_bad_line_is_counted_and_the_first_ones_named(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(f'"good?"\n{bad}\n"good?"\n{bad}\n')
    with pytest.raises(DataError, match=r"nor in 4; 2 in all") as caught:
        read_questions(file)
    assert caught.value.where == f"{file}:2"
    file.write_text("\n")
    with pytest.raises(DataError, match="no questions"):
        read_questions(file)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_any_questions_come_through(tmp_path_factory: pytest.TempPathFactory, asked: list[str]) -> None:
    file = tmp_path_factory.mktemp("questions") / "q.jsonl"
    file.write_text("".join(json.dumps({"question": text}) + "\n" for text in asked))
    assert [question.text for question in read_questions(file)] == asked


def test_each_answer_is_handed_on_before_the_next_question_is_asked(ctx: Context) -> None:
    seen: list[Any] = []
    ctx.reporter.parts = seen.append  # type: ignore[attr-defined]  # a Silent one has it

    def said(question: Question) -> dict[str, Any]:
        assert len(seen) == THREE.index(question)
        return reply(question)

    assert answered(THREE, said, ctx) == seen == [reply(question) for question in THREE]


def test_ctrl_c_says_how_far_it_came_and_hands_on_nothing_half_done(ctx: Context) -> None:
    seen: list[Any] = []
    ctx.reporter.parts = seen.append  # type: ignore[attr-defined]  # a Silent one has it
    with pytest.raises(Interrupted, match="after 1 of 3"):
        answered(THREE, stopping_at("two"), ctx)
    assert seen == [reply(THREE[0])]
    with pytest.raises(Interrupted, match="after 0 of 3"):
        answered(THREE, lambda question: {**reply(question), "interrupted": True}, ctx)
    assert len(seen) == 1


def test_ctrl_c_while_an_answer_is_handed_on_waits_until_it_is(ctx: Context) -> None:
    seen: list[Any] = []

    def slowly(part: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append(part)

    ctx.reporter.parts = slowly  # type: ignore[attr-defined]  # a Silent one has it
    with pytest.raises(Interrupted, match="after 1 of 3"):
        answered(THREE, reply, ctx)
    assert seen == [reply(THREE[0])]


def test_kept_answers_are_not_asked_again(ctx: Context) -> None:
    file = ctx.work / "answers" / "answers.jsonl"
    with pytest.raises(Interrupted, match="after 2 of 3"):
        answered_in(file, THREE, stopping_at("three"), ctx)
    with file.open("a") as out:
        out.write('{"question": "thr')  # what kill -9 leaves
    asked: list[Question] = []

    def said(question: Question) -> dict[str, Any]:
        asked.append(question)
        return reply(question)

    found, before = answered_in(file, THREE, said, ctx)
    assert (asked, before) == ([THREE[2]], 2) and found == [reply(question) for question in THREE]
    assert [json.loads(line) for line in file.read_text().splitlines()] == found

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmkit.data.chat import Example, Message
from llmkit.data.examples import read_training_rows
from llmkit.data.examples.fields import RowDrop
from llmkit.data.schemas import Answer, ExampleSchema, LabelExample, PreferenceExample, SpanExample

CONTEXT = "8世紀に日本の首都であった奈良を代表する寺院である東大寺。"
QUESTION = "8世紀に日本の首都はどこでしたか。"
USER, ASSISTANT = Message("user", "Why?"), Message("assistant", "Because.")
ROLE_TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read(path: Path, schema: ExampleSchema) -> list[Any]:
    return list(read_training_rows([path], schema))


def one(tmp_path: Path, schema: ExampleSchema, row: object) -> Any:
    (found,) = read(jsonl(tmp_path / "rows.jsonl", row), schema)
    return found


def squad(*answers: Mapping[str, object], **more: object) -> dict[str, object]:
    question = {"question": QUESTION, "id": "q1", "answers": list(answers), **more}
    return {"version": "v2", "data": [{"title": "東大寺", "paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}


# Labels


@pytest.mark.parametrize(
    ("row", "text", "pair", "label"),
    [
        ({"text": "いい映画", "label": "良い"}, "いい映画", None, "良い"),
        ({"sentence": "good", "label": 1}, "good", None, "1"),
        ({"content": "good", "category": 1.0}, "good", None, "1"),
        ({"text": "good", "target": 0.5}, "good", None, "0.5"),
        ({"text": "good", "class": True}, "good", None, "true"),
        ({"text": "good", "labels": ["joy"]}, "good", None, "joy"),
        ({"sentence1": "a", "sentence2": "b", "label": 0}, "a", "b", "0"),
        ({"premise": "a", "hypothesis": "b", "label": "no"}, "a", "b", "no"),
        ({"question1": "a", "question2": "b", "label": "no"}, "a", "b", "no"),
        ({"text": "a", "text_pair": "b", "label": "no"}, "a", "b", "no"),
        ({"text": "مرحبا بالعالم", "label": "تحية"}, "مرحبا بالعالم", None, "تحية"),
    ],
)
def test_every_way_of_writing_labels_becomes_one(
    tmp_path: Path, row: dict[str, object], text: str, pair: str | None, label: str
) -> None:
    found = one(tmp_path, "label", row)
    assert isinstance(found, LabelExample)
    assert (found.text, found.text_pair, found.label) == (text, pair, label)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "good"}, "no_label"),
        ({"text": "good", "label": None}, "no_label"),
        ({"text": "good", "label": " "}, "no_label"),
        ({"text": "good", "label": float("nan")}, "no_label"),
        ({"text": "good", "labels": ["joy", "anger"]}, "several_labels"),
        ({"text": " ", "label": 1}, "empty_text"),
        ({"text": 3, "label": 1}, "not_text"),
        ({"premise": "a", "hypothesis": "", "label": 1}, "empty_text"),
        ({"text": "\ud83d", "label": 1}, "bad_encoding"),
        ({"headline": "x", "label": 1}, "unknown_form"),
    ],
)
def test_a_row_without_text_or_label_says_so(tmp_path: Path, row: dict[str, object], reason: str) -> None:
    assert one(tmp_path, "label", row).reason == reason


def test_a_table_without_a_header_is_refused_once_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a charming film\t1\nbleak\t0\nfine\t1\n", encoding="utf-8")
    (drop,) = read(path, "label")
    assert (drop.reason, drop.record) == ("unknown_columns", "1")
    assert "'text' and 'label'" in drop.detail
    assert "'a charming film'" in drop.detail


# Spans


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        (squad({"text": "奈良", "answer_start": 13}), (Answer("奈良", 13),)),
        (squad(is_impossible=True), ()),
        (squad(), ()),
        ({"question": QUESTION, "context": CONTEXT, "answers": {"text": [], "answer_start": []}}, ()),
        (
            {"question": QUESTION, "context": CONTEXT, "answers": {"text": ["奈良"], "answer_start": [13]}},
            (Answer("奈良", 13),),
        ),
        (
            {"question": QUESTION, "context": CONTEXT, "answers": {"text": "奈良", "answer_start": 13}},
            (Answer("奈良", 13),),
        ),
        ({"question": QUESTION, "context": CONTEXT, "answer": "奈良", "answer_start": 13.0}, (Answer("奈良", 13),)),
        ({"question": QUESTION, "context": CONTEXT, "answer": "奈良", "start": "13"}, (Answer("奈良", 13),)),
        ({"question": QUESTION, "context": CONTEXT, "answers": None}, ()),
    ],
)
def test_every_way_of_writing_answers_becomes_spans(
    tmp_path: Path, row: dict[str, object], answers: tuple[Answer, ...]
) -> None:
    found = one(tmp_path, "span", row)
    assert isinstance(found, SpanExample)
    assert found.answers == answers
    assert all(CONTEXT[start : start + len(text)] == text for text, start in found.answers)
    assert "start_repaired" not in found.meta


def test_an_answer_beside_its_place_is_put_right_where_that_is_certain(tmp_path: Path) -> None:
    found = one(tmp_path, "span", squad({"text": "奈良", "answer_start": 11}))
    assert found.answers == (Answer("奈良", 13),)
    assert found.meta == {"id": "q1", "title": "東大寺", "start_repaired": 1}


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (squad({"text": "京都", "answer_start": 13}), "answer_not_found", "'京都' is not in its context"),
        (squad({"text": "る寺", "answer_start": -1}), "", ""),
        (squad({"text": "で", "answer_start": 0}), "answer_not_found", "several times"),
        (squad({"text": "", "answer_start": 0}), "empty_answer", ""),
        (squad({"text": "奈良", "answer_start": 13}, is_impossible=True), "contradictory", "impossible"),
        (squad(is_impossible=False), "no_answer", "no answer"),
        (squad(question="  "), "empty_question", ""),
        (squad(question=None), "not_text", ""),
        (squad(answers=7), "bad_answers", "int"),
        ({"question": "Q", "context": ""}, "empty_context", ""),
        ({"question": "Q", "context": "C"}, "no_answer", "no field"),
        ({"question": "Q", "context": "C", "answers": {"text": ["C"], "answer_start": []}}, "bad_answers", ""),
    ],
)
def test_a_question_whose_answer_cannot_be_trusted_is_dropped(
    tmp_path: Path, row: dict[str, object], reason: str, detail: str
) -> None:
    found = one(tmp_path, "span", row)
    if reason:
        assert (found.reason, detail in found.detail) == (reason, True)
    else:
        assert found.meta["start_repaired"] == 1


def test_a_question_in_a_json_file_is_named_by_its_path(tmp_path: Path) -> None:
    good = {"question": QUESTION, "id": "q", "answers": [{"text": "奈良", "answer_start": 13}]}
    bad = {**good, "answers": [{"text": "京都", "answer_start": 1}]}
    article = {
        "title": "t",
        "paragraphs": [{"context": CONTEXT, "qas": [good]}, {"context": CONTEXT, "qas": [good, bad]}],
    }
    for number, value in enumerate(
        [{"version": "1", "data": [article, article]}, {"version": "1", "licence": "x", "data": [article, article]}]
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        found = read(path, "span")
        assert [each.record for each in found if isinstance(each, RowDrop)] == [
            "data[0].paragraphs[1].qas[1]",
            "data[1].paragraphs[1].qas[1]",
        ]
        assert len({each.id for each in found}) == len(found) == 6


def test_the_lines_of_articles_lead_to_their_questions(tmp_path: Path) -> None:
    data: Any = squad({"text": "京都", "answer_start": 1})["data"]
    (drop,) = read(jsonl(tmp_path / "a.jsonl", data[0]), "span")
    assert drop.record == "1.paragraphs[0].qas[0]"
    assert "京都" in drop.excerpt


# Preferences

HUMAN = "\n\nHuman: Why?\n\nAssistant: "


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        {"question": "Why?", "chosen": "Because.", "rejected": "No."},
        {"prompt": [ROLE_TURNS[0]], "chosen": [ROLE_TURNS[1]], "rejected": [{"role": "assistant", "content": "No."}]},
        {"prompt": "Why?", "chosen": ROLE_TURNS, "rejected": [ROLE_TURNS[0], {"role": "assistant", "content": "No."}]},
        {"chosen": ROLE_TURNS, "rejected": [ROLE_TURNS[0], {"role": "assistant", "content": "No."}]},
        {"chosen": HUMAN + "Because.", "rejected": HUMAN + "No."},
        {"prompt": HUMAN, "chosen": "Because.", "rejected": "No."},
        {"prompt": "Why?", "chosen": HUMAN + "Because.", "rejected": HUMAN + "No."},
        {"question": "Why?", "response_j": "Because.", "response_k": "No."},
        {"prompt": "Why?", "response_0": "No.", "response_1": "Because.", "better_response_id": 1.0},
        {"prompt": "Why?", "response_0": "Because.", "response_1": "No.", "better_response_id": "0"},
    ],
)
def test_every_way_of_writing_preferences_becomes_one(tmp_path: Path, row: dict[str, object]) -> None:
    found = one(tmp_path, "preference", row)
    assert isinstance(found, PreferenceExample)
    assert (found.prompt, found.chosen, found.rejected) == ((USER,), (ASSISTANT,), (Message("assistant", "No."),))


def test_the_common_beginning_of_two_conversations_is_their_prompt(tmp_path: Path) -> None:
    more = HUMAN + "Because.\n\nHuman: それで？\n\nAssistant: "
    found = one(tmp_path, "preference", {"chosen": more + "はい。\n\nそうです。", "rejected": more + "いいえ。"})
    assert found.prompt == (USER, ASSISTANT, Message("user", "それで？"))
    assert found.chosen == (Message("assistant", "はい。\n\nそうです。"),)
    longer = one(tmp_path, "preference", {"chosen": more + "はい。", "rejected": HUMAN + "Because."})
    assert (longer.prompt, len(longer.chosen), longer.rejected) == ((USER,), 3, (ASSISTANT,))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So."}, "same_answers"),
        ({"chosen": HUMAN + "So.", "rejected": HUMAN + "So."}, "same_answers"),
        ({"chosen": HUMAN + "So.", "rejected": "\n\nHuman: Who?\n\nAssistant: So."}, "different_prompts"),
        ({"prompt": "Who?", "chosen": HUMAN + "So.", "rejected": HUMAN + "No."}, "different_prompts"),
        ({"chosen": HUMAN + "So.", "rejected": HUMAN}, "empty_turn"),
        ({"chosen": "So.", "rejected": "No."}, "no_prompt"),
        ({"prompt": "", "chosen": "So.", "rejected": "No."}, "empty_turn"),
        ({"prompt": [], "chosen": "So.", "rejected": "No."}, "no_prompt"),
        ({"prompt": "Why?", "chosen": [], "rejected": "No."}, "no_messages"),
        ({"prompt": ROLE_TURNS, "chosen": "So.", "rejected": "No."}, "roles_out_of_order"),
        ({"prompt": "Why?", "chosen": 1, "rejected": "No."}, "not_text"),
        ({"prompt": "W", "response_0": "a", "response_1": "b", "better_response_id": None}, "no_preference"),
    ],
)
def test_a_preference_that_prefers_nothing_is_dropped(tmp_path: Path, row: dict[str, object], reason: str) -> None:
    assert one(tmp_path, "preference", row).reason == reason


# Chats


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, "unsupported_key"),
        ({"role": "tool", "content": "4", "tool_call_id": "1"}, "tool_use"),
        ({"role": "assistant", "content": "x", "name": "Bob"}, "unsupported_key"),
        ({"role": "assistant", "content": "x", "weight": 0}, "unsupported_key"),
        ({"role": "assistant", "content": [{"type": "image_url"}]}, "not_text"),
        ({"role": ["assistant"], "content": "x"}, "unknown_role"),
    ],
)
def test_what_messages_cannot_hold_is_refused_and_not_lost(
    tmp_path: Path, turn: dict[str, object], reason: str
) -> None:
    assert one(tmp_path, "chat", {"messages": [ROLE_TURNS[0], turn]}).reason == reason


def test_keys_that_say_nothing_and_parts_of_text_are_taken(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "cause."}]
    turns = [{**ROLE_TURNS[0], "name": None}, {"role": "assistant", "content": parts, "weight": 1, "tool_calls": []}]
    assert one(tmp_path, "chat", {"messages": turns, "tools": None, "id": 7}) == Example(
        str(tmp_path / "rows.jsonl"), "1", (USER, ASSISTANT), None, {"id": 7}
    )
    assert one(tmp_path, "chat", {"messages": ROLE_TURNS, "tools": [{"name": "add"}]}).reason == "tool_use"


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        ("chat", {"system": "Be terse.", "prompt": "Why?", "completion": "Because."}),
        ("chat", {"system_prompt": "Be terse.", "question": "Why?", "response": "Because."}),
        ("chat", {"system": "Be terse.", "messages": ROLE_TURNS}),
        ("preference", {"system": "Be terse.", "question": "Why?", "chosen": "So.", "rejected": "No."}),
        ("preference", {"system": "Be terse.", "chosen": HUMAN + "So.", "rejected": HUMAN + "No."}),
    ],
)
def test_what_the_system_says_in_a_field_of_its_own_comes_first(
    tmp_path: Path, schema: ExampleSchema, row: dict[str, object]
) -> None:
    found = one(tmp_path, schema, row)
    messages = found.messages if isinstance(found, Example) else found.prompt
    assert messages[:2] == (Message("system", "Be terse."), USER)


def test_the_space_after_a_transcripts_mark_is_no_part_of_the_answer(tmp_path: Path) -> None:
    found = one(tmp_path, "preference", {"prompt": HUMAN, "chosen": " Because.", "rejected": " No."})
    assert found.chosen == (ASSISTANT,)
    kept = one(tmp_path, "preference", {"prompt": "Why?", "chosen": "  return 1\n", "rejected": "No."})
    assert kept.chosen == (Message("assistant", "  return 1\n"),)

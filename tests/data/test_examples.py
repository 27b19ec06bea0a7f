import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from llmkit.config.sections import SplitOptions
from llmkit.data.chat import Example, Message
from llmkit.data.examples import read_examples
from llmkit.data.examples.held_out import group_of, splits_of_groups
from llmkit.errors import DataError, NotFoundError

USER, ASSISTANT = Message("user", "Why?"), Message("assistant", "Because.")


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def turns(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"from {role}"} for role in roles]}


@pytest.mark.parametrize(
    ("row", "form", "messages"),
    [
        ({"prompt": "Why?", "completion": "Because."}, "prompt", (USER, ASSISTANT)),
        ({"prompt": "Why?", "response": "Because.", "id": 4}, "prompt", (USER, ASSISTANT)),
        ({"question": "Why?", "answer": "Because."}, "prompt", (USER, ASSISTANT)),
        (
            {
                "prompt": [{"role": "user", "content": "Why?"}],
                "completion": [{"role": "assistant", "content": "Because."}],
            },
            "prompt",
            (USER, ASSISTANT),
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be terse."},
                    {"role": "user", "content": "Why?"},
                    {"role": "assistant", "content": "Because."},
                ]
            },
            "messages",
            (Message("system", "Be terse."), USER, ASSISTANT),
        ),
        (
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
            "sharegpt",
            (USER, ASSISTANT),
        ),
        (
            {"system": "S", "conversations": [{"role": "user", "content": "Why?"}, {"role": "bot", "content": "x"}]},
            "sharegpt",
            (Message("system", "S"), USER, Message("assistant", "x")),
        ),
        ({"instruction": "Why?", "input": "", "output": "Because."}, "alpaca", (USER, ASSISTANT)),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            "alpaca",
            (Message("user", "Add.\n\n1 2"), Message("assistant", "3")),
        ),
        ({"text": "Once upon a time."}, "text", (Message("assistant", "Once upon a time."),)),
    ],
)  # fmt: skip
def test_every_way_of_writing_examples_becomes_messages(
    tmp_path: Path, row: dict[str, object], form: str, messages: tuple[Message, ...]
) -> None:
    found = read_examples([jsonl(tmp_path / "a.jsonl", row)])
    assert found.forms == {form: 1}
    assert found.examples[0].messages == messages
    assert (found.examples[0].source, found.examples[0].record) == (str(tmp_path / "a.jsonl"), "1")


def test_tables_and_lists_are_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\nWhy?,Because.\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps([{"prompt": "Why?", "completion": "Because."}]), encoding="utf-8")
    parquet.write_table(pa.table({"prompt": ["Why?"], "completion": ["Because."]}), tmp_path / "a.parquet")
    found = read_examples([tmp_path / "a.csv", tmp_path / "a.json", tmp_path / "a.parquet"])
    assert [example.messages for example in found.examples] == [(USER, ASSISTANT)] * 3


BAD_ROWS: list[tuple[object, str, str]] = [
    ("{oops", "bad_json", "not JSON"),
    (turns("user", "user", "assistant"), "roles_out_of_order", "turn 2 is the user's, not the assistant's"),
    (turns("assistant", "user"), "roles_out_of_order", "turn 1"),
    (turns("user", "system", "assistant"), "roles_out_of_order", "turn 2"),
    (turns("user"), "no_completion", "does not end"),
    (turns(), "no_messages", "no messages"),
    ({"messages": "hello"}, "bad_turns", "not a list"),
    ({"messages": [{"role": "user"}]}, "bad_turns", "turn 1"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "unknown_role", "robot"),
    (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " \n"}]},
        "empty_turn",
        "turn 2 (assistant) is empty",
    ),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "not_text", "turn 1"),
    ({"prompt": "x", "completion": "y"}, "mixed_forms", "written as prompt, and the file began with messages"),
    ({"a": 1}, "unknown_form", "no known fields among a"),
]


@pytest.mark.parametrize(("row", "reason", "detail"), BAD_ROWS)
def test_a_bad_row_is_named_with_line_and_reason(tmp_path: Path, row: object, reason: str, detail: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", turns("user", "assistant"), row)
    with pytest.raises(DataError, match="1 of 2 rows") as caught:
        read_examples([path])
    assert caught.value.where == f"{path}:2"
    assert detail in caught.value.message
    found = read_examples([path], on_bad="drop")
    assert (len(found.examples), [drop.reason for drop in found.drops]) == (1, [reason])


def test_several_bad_rows_are_listed_at_once(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", turns("user", "assistant"), *[turns("user")] * 7)
    with pytest.raises(DataError) as caught:
        read_examples([path])
    assert all(f"{path}:{line}:" in caught.value.message for line in range(2, 7))
    assert "2 more" in caught.value.message


def test_files_that_hold_no_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_examples([tmp_path / "gone.jsonl"])
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError, match="not a file of examples"):
        read_examples([tmp_path / "a.txt"])
    with pytest.raises(DataError, match="no example"):
        read_examples([jsonl(tmp_path / "b.jsonl")])
    with pytest.raises(DataError, match="no example") as caught:
        read_examples([jsonl(tmp_path / "c.jsonl", {"a": 1})], on_bad="drop")
    assert "c.jsonl:1: no known fields" in str(caught.value.mend)


def examples(prompts: list[str]) -> list[Example]:
    return [
        Example("/a.jsonl", str(n), (Message("user", prompt), Message("assistant", f"answer {n}")))
        for n, prompt in enumerate(prompts)
    ]


@given(st.lists(st.sampled_from([f"question {n}" for n in range(30)]), min_size=1, max_size=80), st.integers(0, 9))
def test_a_question_is_never_trained_on_and_tested_with(prompts: list[str], seed: int) -> None:
    groups = [group_of(example) for example in examples(prompts)]
    of = splits_of_groups(Counter(groups), {}, SplitOptions(validation=0.2, test=0.0), seed)
    assert set(of) == set(groups)
    assert len(set(groups)) == len(set(prompts))
    assert ("validation" in of.values()) == (len(of) >= 10)


def test_a_split_that_is_given_is_kept() -> None:
    given_split = {"a": "train", "b": "test", "c": "test"}
    assert splits_of_groups(dict.fromkeys(given_split, 1), given_split, SplitOptions(), 0) == given_split


def test_rows_that_are_all_named_train_still_have_some_held_out() -> None:
    named = {f"question {n}": "train" for n in range(30)}
    of = splits_of_groups(dict.fromkeys(named, 1), named, SplitOptions(validation=0.2, test=0.0), 0)
    assert set(of.values()) == {"train", "validation"}


@given(st.integers(0, 20), st.integers(10, 16), st.floats(0.1, 0.5))
def test_contexts_of_one_article_are_never_trained_on_and_tested_with(seed: int, count: int, share: float) -> None:
    of_article = {f"context {n}": f"article {n % count}" for n in range(60)}
    options = SplitOptions(validation=share, test=0.0)
    of = splits_of_groups(dict.fromkeys(of_article, 3), {}, options, seed, of_article)
    splits = {
        article: {of[group] for group, own in of_article.items() if own == article} for article in of_article.values()
    }
    assert all(len(found) == 1 for found in splits.values())
    assert set(of.values()) == {"train", "validation"}


def test_few_articles_are_split_by_their_contexts() -> None:
    of_article = {f"context {n}": f"article {n % 3}" for n in range(30)}
    options = SplitOptions(validation=0.2, test=0.0)
    of = splits_of_groups(dict.fromkeys(of_article, 1), {}, options, 0, of_article)
    assert of == splits_of_groups(dict.fromkeys(of_article, 1), {}, options, 0)
    assert "validation" in of.values()


def test_the_split_a_row_names_is_read_with_it(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}", "completion": "a", "split": "test" if n else "train"} for n in range(3)]
    found = read_examples([jsonl(tmp_path / "train.jsonl", *rows, {"prompt": "x", "completion": "y"})])
    assert [example.split for example in found.examples] == ["train", "test", "test", None]

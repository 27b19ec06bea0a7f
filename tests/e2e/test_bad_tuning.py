"""What cannot be learned from, line by line of the list that fine-tuning promises: message, line, mend, exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny import tiny_model


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


GOOD = {"messages": [user("a"), said("b")]}
SPAN = {"question": "q", "context": "the answer", "answers": {"text": ["answer"], "answer_start": [4]}}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def refusal(cli: Any, *words: object) -> dict[str, Any]:
    """The error as a program reads it, after a look at what a person reads: code 4, the same words, no trace."""
    ran = cli("finetune-lora", *words, "--steps", 1, "--compile", "off", "--name", "x", "--json")
    assert ran.code == 4, ran.err
    assert "Traceback" not in ran.err
    (line,) = ran.out.splitlines()
    error: dict[str, Any] = json.loads(line)["error"]
    assert error["code"] == "bad_data"
    assert f"hint: {error['mend'].splitlines()[0]}" in ran.err
    listed = cli("registry", "list", "--json")
    assert "x@1" not in listed.out
    return error


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, {"text": "good", "label": "x"}], "written as text, and the file began with messages"),
        ([GOOD, {"messages": [user("a"), user("b"), said("c")]}], "turn 2 is the user's, not the assistant's"),
        ([GOOD, {"messages": [user("a"), said("  ")]}], "turn 2 (assistant) is empty"),
        (
            [SPAN, {**SPAN, "answers": {"text": ["nowhere"], "answer_start": [4]}}],
            "the answer 'nowhere' is not in its context",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(cli: Any, rows: Any, message: str) -> None:
    base = tiny_model(cli.folder / "base", "bert", ["good bad"])
    error = refusal(cli, "--model", base, "--data", write(cli.folder / "rows.jsonl", rows).name)
    assert error["where"] == "rows.jsonl:2"
    assert f"rows.jsonl:2: {message}" in error["message"]
    assert error["mend"] == "mend these rows, or drop them with --bad-rows drop"


def test_a_label_that_the_training_part_does_not_have_is_named_with_its_line(cli: Any) -> None:
    base = tiny_model(cli.folder / "base", "bert", ["good bad"])
    write(cli.folder / "train.jsonl", [{"text": f"t {number}", "label": "ab"[number % 2]} for number in range(20)])
    write(cli.folder / "dev.jsonl", [{"text": "u 1", "label": "a"}, {"text": "u 2", "label": "c"}])
    cli.ok("preprocess", "train.jsonl", "dev.jsonl", "--for", "label", "--name", "moods")
    error = refusal(cli, "--model", base, "--data", "moods")
    assert error["where"].endswith("dev.jsonl:2")
    assert "'c' is none of those that the examples to train on" in error["message"]
    assert error["mend"]


def test_a_model_without_a_chat_template_says_how_to_give_one(cli: Any) -> None:
    base = tiny_model(cli.folder / "base", "gpt2", ["good bad"])
    (base / "chat_template.jinja").unlink()
    turns = [{"messages": [user("a"), said("b"), user("c"), said(f"d {number}")]} for number in range(4)]
    error = refusal(cli, "--model", base, "--data", write(cli.folder / "turns.jsonl", turns).name)
    assert error["where"] == "turns.jsonl:1"
    assert "several turns" in error["message"]
    assert "--template chatml" in error["mend"]


def test_an_adapter_for_another_base_is_refused(cli: Any) -> None:
    from safetensors.numpy import load_file, save_file

    base = tiny_model(cli.folder / "base", "bert", ["good bad"])
    rows = [{"text": f"good {number}", "label": "ab"[number % 2]} for number in range(20)]
    file = write(cli.folder / "rows.jsonl", rows).name
    words = ("--steps", 1, "--compile", "off", "--precision", "fp32", "--eval-every", 0)
    cli.ok("finetune-lora", "--model", "./base", "--data", file, "--name", "mood", *words)
    weights = load_file(base / "model.safetensors")
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1}, base / "model.safetensors", metadata={"format": "pt"})
    error = refusal(cli, "--model", "mood", "--data", file)
    assert "made for another base" in error["message"]
    assert "restore the base" in error["mend"]

"""Items that the measured model was trained on are marked, and scored apart."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from llmkit.cli.app import main

SEEN = "The lighthouse keeper counted seventeen fishing boats before the fog rolled over the harbour wall that evening."
UNSEEN = "A beekeeper in the mountains reported that her hives had doubled since the meadow was left to grow wild."


def run(*words: object) -> Any:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*map(str, words), "--json"])
    assert code == 0, err.getvalue() + out.getvalue()
    return json.loads(out.getvalue())


def test_what_the_model_was_trained_on_is_marked_and_scored_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "docs").mkdir()
    for number in range(12):
        words = " ".join(f"word{number}{letter} stands here" for letter in "abcdefghijkl")
        (tmp_path / "docs" / f"{number}.txt").write_text(f"{SEEN} Then came number {number}. {words}.\n")
    rows = [
        {"id": "seen", "prompt": "Tell me of the harbour.", "completion": SEEN},
        {"id": "unseen", "prompt": "Tell me of the bees.", "completion": UNSEEN},
        {"id": "short", "prompt": "The fog?", "completion": "It rolled."},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.yaml").write_text("- {id: told, kind: loss, data: rows.jsonl}\n")
    run("preprocess", "docs", "--name", "corpus", "--vocab-size", 400)
    run("pretrain", "--data", "corpus", "--name", "base", "--steps", 2, "--sequence-length", 128, "--batch-size", 2)
    made = run("eval", "suite.yaml", "--model", "base")
    (part,) = made["contamination"]
    assert (part["task"], part["items"], part["seen"], part["sources"]) == ("told", 3, 1, ["corpus@1"])
    tasks = json.loads((Path(made["artifact"]["path"]) / "tasks.json").read_text())
    names = {row["completion"]: row["id"] for row in rows}
    items = {names[item["detail"]["completion"]]: item for item in tasks[0]["items"]}
    assert {name: item["seen"] for name, item in items.items()} == {"seen": "corpus@1", "unseen": "", "short": ""}
    score = items["seen"]["scores"]["nll_per_token"]
    assert part["metrics"]["loss"]["seen"]["value"] == pytest.approx(score["value"] / score["weight"])
    clean = [items[name]["scores"]["nll_per_token"] for name in ("unseen", "short")]
    expected = sum(each["value"] for each in clean) / sum(each["weight"] for each in clean)
    assert part["metrics"]["loss"]["clean"]["value"] == pytest.approx(expected)
    page = (Path(made["artifact"]["path"]) / "report.html").read_text()
    assert "occurs in the training data: corpus@1" in page and "Contamination" in page

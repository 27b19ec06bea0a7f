"""The promises of a tuning run, each kept by the real command on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.tiny import tiny_model

COLOURS = ("red", "green", "blue", "black")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["say", *COLOURS, "please", *map(str, range(40))]
    return tiny_model(tmp_path_factory.mktemp("base") / "base", "llama", [" ".join(words)])


def pairs(cli: Any, count: int, **more: str) -> Path:
    rows = [{"prompt": f"say {COLOURS[n % 4]} {n}", "completion": f"{COLOURS[n % 4]} please"} for n in range(count)]
    file: Path = cli.folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *([more] if more else [])]), encoding="utf-8")
    return file


def tune(base: Path, data: Path, *more: object) -> tuple[object, ...]:
    return ("finetune-lora", "--model", base, "--data", data, "--task", "text", "--name", "tuned", *more)


def test_too_few_rows_are_all_trained_on_and_the_run_says_so_and_what_memory_it_takes(cli: Any, base: Path) -> None:
    made = cli.ok(*tune(base, pairs(cli, 6), "--steps", 1))
    assert made["examples"] == {"train": 6, "validation": 0}
    assert any("too few distinct examples: none is held out" in warning for warning in made["warnings"])
    assert made["evaluations"] == [] and made["scores"] == {}
    memory = made["memory"]
    assert 0 < memory["weights"] < memory["peak"] < memory["usable"]


def test_an_adapter_that_learned_nothing_fails_the_run_and_is_not_published(cli: Any, base: Path) -> None:
    ran = cli(*tune(base, pairs(cli, 12), "--steps", 1, "--lr", "1e-30"))
    assert ran.code == 6, ran.err
    assert "the same" in ran.err or "does nothing" in ran.err or "differ" in ran.err
    assert cli.ok("registry", "list")["artifacts"] == []


def test_what_was_done_about_long_examples_is_counted_aloud(cli: Any, base: Path) -> None:
    data = pairs(cli, 30, prompt="say " * 80, completion="red")
    words = tune(base, data, "--steps", 1, "--over-length")
    made = cli.ok(*words, "drop")
    assert sum(made["examples"].values()) == 30
    assert any(re.match(r"1 (training|held-out) examples are too long and were dropped", w) for w in made["warnings"])
    cut = cli.ok(*words, "truncate")
    lost = re.compile(r"1 (training|held-out) examples, or pieces of them, had nothing left to learn")
    assert any(lost.match(warning) for warning in cut["warnings"])
    refused = cli(*words, "error")
    assert refused.code == 4
    assert "pairs.jsonl:31: an example of " in refused.err


def test_a_run_that_gets_worse_ends_early_keeps_its_best_and_says_that_it_overfits(cli: Any, base: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": f"{(n * 7919) % 40} {(n * 104729) % 40}"} for n in range(30)]
    data = cli.folder / "noise.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = cli.ok(*tune(base, data, "--lr", 0.003, "--epochs", 40, "--eval-every", 5, "--patience", 3))
    losses = {evaluation["step"]: evaluation["loss"] for evaluation in made["evaluations"]}
    assert made["best_step"] == min(losses, key=lambda step: losses[step]) < max(losses)
    assert made["published_step"] == made["best_step"]
    assert max(losses) < 160, "it ended before its last step"
    page = (Path(made["artifact"]["path"]) / "report.html").read_text(encoding="utf-8")
    assert "held-out loss up from" in page and "it overfits" in page


def test_base_and_adapter_are_compared_with_an_interval_in_the_result_and_on_the_card(cli: Any, base: Path) -> None:
    made = cli.ok(*tune(base, pairs(cli, 60), "--epochs", 4, "--lr", 0.01))
    score = made["scores"]["loss"]
    low, high = score["difference_ci"]
    assert low <= score["difference"] <= high < 0
    assert score["difference"] == pytest.approx(score["after"] - score["before"])
    card = (Path(made["artifact"]["path"]) / "README.md").read_text(encoding="utf-8")
    assert f"({low:+.4g} to {high:+.4g})" in card
    assert made["check"]["changed"] > made["check"]["tolerance"] >= made["check"]["merged"]
    assert made["check"]["reloaded"] == 0
    facts = json.loads((Path(made["artifact"]["path"]) / "task.json").read_text())
    assert facts["task"] == "text" and facts["base"]


def test_words_with_tags_are_learned_from_a_conll_file_and_a_bad_line_is_named(cli: Any) -> None:
    model = tiny_model(cli.folder / "bert", "bert", ["Anna lives in Rome . " + " ".join(map(str, range(40)))])
    lines = "".join(f"Anna NNP B-PER\nlives VB O\nin IN O\nRome NNP B-LOC\n{n} CD O\n\n" for n in range(30))
    (cli.folder / "ner.conll").write_text(f"-DOCSTART- -X- O\n\n{lines}")
    made = cli.ok(
        "finetune-lora", "--model", model, "--data", "ner.conll", "--lr", 0.01, "--epochs", 8, "--name", "ner"
    )
    assert made["metrics"]["span_f1"] > 0.9
    facts = json.loads((Path(made["artifact"]["path"]) / "task.json").read_text())
    assert (facts["task"], facts["labels"]) == ("tag", ["O", "B-LOC", "B-PER"])
    (cli.folder / "bad.conll").write_text(f"{lines}Anna B-PER\n")
    ran = cli("finetune-lora", "--model", model, "--data", "bad.conll", "--name", "bad")
    assert ran.code == 4
    assert "bad.conll:181: 2 columns apart by spaces, and the file began with 3" in ran.err
    made = cli.ok("preprocess", "bad.conll", "--for", "tag", "--name", "tagged", "--tokenizer", "none")
    assert any("1 of 31 rows cannot be used" in warning for warning in made["warnings"])

"""The report of a training run: its rows, its curves, and that equal runs give equal pages."""

import json
from pathlib import Path
from typing import Any

from llmkit.reporting.blocks import Line, Plot, Quote
from llmkit.stages.training import read_log, smoothed
from llmkit.stages.training_report import METRICS, PAGE, SAMPLES, blocks, write_report

FACTS: dict[str, Any] = {
    "metrics": {"loss": 2.5, "perplexity": 12.18, "train_loss": 2.4, "steps": 3, "tokens_per_second": 812.0},
    "evaluations": [
        {"step": 0, "loss": 4.0, "nll": 8.0, "tokens": 2},
        {"step": 3, "loss": 2.5, "nll": 5.0, "tokens": 2},
    ],
    "samples": {"before": "<b>noise</b>", "after": "words"},
    "parameters": 1234,
}  # fmt: skip


def row(step: int, loss: float, seconds: float = 0.1) -> str:
    return json.dumps({"step": step, "loss": loss, "lr": 0.1, "grad_norm": 1.0, "tokens": 8, "seconds": seconds})


def test_a_step_done_twice_counts_as_it_was_done_last_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    log.write_text("\n".join([row(1, 4.0), row(2, 9.0), row(2, 3.0), row(3, 2.0)]) + '\n{"step": 4, "lo', "utf-8")
    assert [(each["step"], each["loss"]) for each in read_log(log)] == [(1, 4.0), (2, 3.0), (3, 2.0)]
    assert read_log(tmp_path / "none") == []


def test_runs_that_differ_in_speed_alone_leave_the_same_files(tmp_path: Path) -> None:
    pages = []
    for name, seconds in (("slow", 3.0), ("fast", 0.1)):
        folder = tmp_path / name
        folder.mkdir()
        log = folder / "log"
        log.write_text("\n".join(row(step, 5.0 - step, seconds) for step in (1, 2, 3)) + "\n", "utf-8")
        facts = {**FACTS, "metrics": {**FACTS["metrics"], "tokens_per_second": 10 / seconds}}
        write_report(folder, log, "Model m", facts, {"steps": 3})
        pages.append(((folder / PAGE).read_bytes(), (folder / METRICS).read_bytes()))
    assert pages[0] == pages[1]
    assert b"<b>noise" not in pages[0][0]
    assert len(pages[0][1].splitlines()) == 3


def test_the_page_has_both_losses_and_leaves_out_what_there_is_not() -> None:
    plots = [block for block in blocks([json.loads(row(1, 4.0))], FACTS, {}) if isinstance(block, Plot)]
    assert set(plots[0].curves) == {"training", "held-out"}
    bare = blocks([], {"metrics": {"steps": 0}, "evaluations": []}, {})
    assert next(block for block in bare if isinstance(block, Plot)).curves == {}


def test_the_average_does_not_begin_at_zero() -> None:
    assert all(abs(y - 3.0) < 1e-9 for _, y in smoothed([(1, 3.0), (2, 3.0), (3, 3.0)]))


def test_the_page_opens_with_the_verdict_and_marks_the_best_step_and_an_early_stop() -> None:
    rows = [json.loads(row(step, 4.0 - step)) for step in (1, 2, 3)]
    facts = {**FACTS, "best_step": 3, "stopped": "stopped early: enough"}
    found = blocks(rows, facts, {})
    verdict = found[1]
    assert isinstance(verdict, Line)
    assert "stopped early: enough" in verdict.text
    plots = [block for block in found if isinstance(block, Plot)]
    assert all(plot.marks == {"best": 3.0, "stopped": 3.0} for plot in plots)


def test_the_page_has_a_curve_for_each_dataset_and_every_sample() -> None:
    evaluations = [{**each, "parts": {"code": each["loss"] + 1}} for each in FACTS["evaluations"]]
    facts = {**FACTS, "evaluations": evaluations, "samples": {"before": "a", "100": "b", "after": "c"}}
    found = blocks([json.loads(row(1, 4.0))], facts, {})
    plot = next(block for block in found if isinstance(block, Plot))
    assert plot.curves["code"] == [(0.0, 5.0), (3.0, 3.5)]
    assert [block.body for block in found if isinstance(block, Quote)] == ["a", "b", "c"]


def test_every_sample_is_in_a_file_and_a_page_shows_as_many_as_one_reads(tmp_path: Path) -> None:
    said = {"before": "a"} | {str(step): f"at {step}" for step in range(5, 1000, 5)} | {"after": "z\n"}
    metrics = {**FACTS["metrics"], "steps": 1000, "published_step": 900}
    facts = {**FACTS, "metrics": metrics, "samples": said, "prompt": 'say "<b>"'}
    write_report(tmp_path, tmp_path / "none", "Model m", facts, {})
    rows = [json.loads(line) for line in (tmp_path / SAMPLES).read_text("utf-8").splitlines()]
    assert [row["text"] for row in rows] == list(said.values())
    assert [row["step"] for row in rows] == [0, *range(5, 1000, 5), 900]
    assert {row["prompt"] for row in rows} == {'say "<b>"'}
    found = blocks([], facts, {})
    quotes = [block for block in found if isinstance(block, Quote)]
    assert 30 < len(quotes) <= 41
    assert (quotes[0].body, quotes[-1].body) == ("a", "z")
    told = next(block.text for block in found if isinstance(block, Line) and SAMPLES in block.text)
    assert r"say \"<b>\"" in told
    assert f"{len(said) - len(quotes)} more" in told
    assert "<b>" not in (tmp_path / PAGE).read_text("utf-8").partition("What it says")[2]


def test_a_run_without_samples_has_no_file_of_them(tmp_path: Path) -> None:
    write_report(tmp_path, tmp_path / "none", "Model m", {**FACTS, "samples": {}}, {})
    assert not (tmp_path / SAMPLES).exists()


def test_a_loss_that_counts_no_tokens_says_what_it_counts() -> None:
    told = blocks([json.loads(row(1, 4.0))], {**FACTS, "loss_unit": "nats a text"}, {})
    assert next(block for block in told if isinstance(block, Plot)).y == "nats a text"
    assert "nats a token" not in str(told)
    assert "nats a token" in str(blocks([], FACTS, {}))

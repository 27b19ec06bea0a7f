"""Following a run: what is shown while it goes on, what is kept of it, and that an interruption leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from llmkit.reporting.blocks import Line, Quote, Table
from llmkit.reporting.reporter import Silent, Trend
from llmkit.stages.sampling import Samples, kept
from llmkit.stages.training import LOG, Summary, View, follow, read_log
from llmkit.stages.training_words import curve, samples, thinned
from llmkit.train.options import Choices
from llmkit.train.records import Evaluation, StepRecord
from llmkit.train.utilisation import Utilisation

CHOICES = Choices("cpu", "fp32", compiled=False, threads=1, processes=1)
STEPS = 6


def evaluation(step: int) -> Evaluation:
    return Evaluation(step, 100.0 * (5.0 - step / 4), 100)


def records(start: int = 0, steps: int = STEPS, seconds: float = 0.5) -> Iterator[StepRecord]:
    """A run of six steps that is evaluated every two, from a checkpoint after `start` of them."""
    done = tuple(evaluation(step) for step in range(0, start + 1, 2))
    yield StepRecord(start, start / steps, CHOICES, evaluations=done, evaluated=start == 0, resumed_from=start)
    for step in range(start + 1, steps + 1):
        if step % 2 == 0:
            done = (*done, evaluation(step))
        yield StepRecord(
            step,
            step / steps,
            CHOICES,
            loss=5.0 - step / 4,
            lr=0.1,
            grad_norm=1.0,
            tokens=90,
            positions=100,
            seconds=seconds,
            evaluations=done,
            evaluated=step % 2 == 0,
            best=done[-1].step,
        )


class Listener(Silent):
    """Keeps what is said, and the facts beside the bar."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.bars: list[tuple[float | None, str]] = []
        self.facts: list[dict[str, Any]] = []
        self.done = 0.0

    def info(self, message: str, *, style: Any = "plain") -> None:
        self.lines.append(message)

    @contextmanager
    def progress(self, label: str, total: float | None = None, *, unit: str = "", done: float = 0) -> Iterator[Any]:
        self.bars.append((total, unit))
        self.done = done
        yield self

    def advance(self, n: float = 1, **facts: object) -> None:
        self.done += n
        self.facts.append(facts)


def run(
    work: Path, *, view: View | None = None, reporter: Silent | None = None, stop: int = STEPS, **how: Any
) -> Summary:
    found = Summary()
    for record, summary in follow(records(**how), STEPS, reporter or Silent(), work / LOG, view):
        found = summary
        if record.step == stop < STEPS:
            break
    return found


def test_a_resumed_run_ends_with_the_facts_of_one_that_was_not_interrupted(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    straight = run(whole, view=View(4.0))
    run(parts, stop=3)  # killed after step 3, with a checkpoint of step 2
    resumed = run(parts, view=View(4.0), start=2)
    assert resumed.resumed_from == 2
    assert resumed.evaluations == straight.evaluations
    speeds = {"tokens_per_second", "train_seconds"}
    left = [{k: v for k, v in s.metrics(STEPS).items() if k not in speeds} for s in (straight, resumed)]
    assert left[0] == left[1]
    assert left[0]["trained_tokens"] == 6 * 90
    assert read_log(whole / LOG) == read_log(parts / LOG)


def test_an_evaluation_is_compared_with_the_training_loss_of_the_steps_before_it(tmp_path: Path) -> None:
    found = run(tmp_path).evaluations
    assert "training_loss" not in found[0]
    assert found[1]["training_loss"] == pytest.approx((4.75 + 4.5) / 2)
    assert found[3]["training_loss"] == pytest.approx((3.75 + 3.5) / 2)


def test_the_bar_shows_the_last_speed_and_at_the_end_the_mean(tmp_path: Path) -> None:
    shown = Listener()
    view = View(None, lambda choices: Utilisation(flops=2.0, peak=1000.0, measured=True))
    summary = run(tmp_path, view=view, reporter=shown)
    assert shown.bars == [(STEPS, "steps")]
    assert shown.done == pytest.approx(STEPS)
    last = shown.facts[-1]
    assert isinstance(last["loss"], Trend)
    assert last["tokens/s"] == 200
    assert last["MFU"] == "40%"
    assert summary.metrics(STEPS)["mfu"] == pytest.approx(0.4)
    assert shown.lines[0] == "on cpu in fp32, 1 process; MFU is of 0 GFLOP/s, a matrix product timed here"


def test_each_evaluation_leaves_a_line_with_bits_per_byte_where_they_are_known(tmp_path: Path) -> None:
    shown = Listener()
    run(tmp_path, view=View(4.0), reporter=shown)
    lines = [line for line in shown.lines if line.startswith("step ")]
    assert len(lines) == 4
    assert lines[-1] == "step 6: held-out loss 3.5000 · perplexity 33.1 · bits per byte 1.2624"


def test_with_a_time_budget_the_bar_shows_the_share_of_the_time(tmp_path: Path) -> None:
    shown = Listener()
    for _ in follow(records(), None, shown, tmp_path / LOG):
        pass
    assert shown.bars == [(1.0, "")]
    assert shown.done == pytest.approx(1.0)
    assert shown.facts[-1]["step"] == STEPS


def test_trackers_are_told_of_every_step_from_the_first_evaluation_on(tmp_path: Path) -> None:
    told: dict[int, dict[str, float]] = {}
    opened: AbstractContextManager[Any] = nullcontext(lambda step, figures: told.update({step: dict(figures)}))
    run(tmp_path, view=View(4.0, tracking=opened))
    assert sorted(told) == list(range(STEPS + 1))
    assert told[0]["held_out/loss"] == 5.0
    assert set(told[1]) == {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second"}
    assert told[6]["held_out/bits_per_byte"] == pytest.approx(1.2624, abs=1e-4)


def test_other_processes_write_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    run(tmp_path)
    assert not (tmp_path / LOG).exists()


def test_a_step_is_in_the_log_before_the_next_one_begins(tmp_path: Path) -> None:
    """What a checkpoint holds must be in the log too, even if the process is killed."""
    for record, _ in follow(records(), STEPS, Silent(), tmp_path / LOG):
        rows = (tmp_path / LOG).read_text().splitlines()
        assert len(rows) == record.step


def test_what_was_said_before_training_survives_an_interruption(tmp_path: Path) -> None:
    assert kept(tmp_path / "before.json", lambda: "noise") == "noise"
    assert kept(tmp_path / "before.json", lambda: "words") == "noise"


def payload(losses: list[float], **more: Any) -> dict[str, Any]:
    rows = [{"step": 10 * i, "loss": loss, "training_loss": loss} for i, loss in enumerate(losses)]
    return {"evaluations": rows, **more}


def test_the_table_has_the_best_step_and_ends_with_the_verdict() -> None:
    losses = [5.0 - 0.1 * i for i in range(20)] + [9.0]
    blocks = curve(payload(losses, best_step=190))
    table = blocks[0]
    assert isinstance(table, Table)
    assert [row[-1] for row in table.rows if row[0] == 190] == ["best"]
    assert len(table.rows) <= 9
    last = blocks[-1]
    assert isinstance(last, Line)
    assert last.style == "bad"


def test_each_dataset_has_its_own_held_out_loss() -> None:
    facts = payload([5.0, 4.0])
    for row, other in zip(facts["evaluations"], (6.0, 3.0), strict=True):
        row["parts"] = {"prose": other, "code": other + 1}
    table = curve(facts)[1]
    assert isinstance(table, Table)
    assert [tuple(row[:3]) for row in table.rows] == [("prose", "6.000", "3.000"), ("code", "7.000", "4.000")]


def test_thinning_keeps_the_first_the_last_and_the_best() -> None:
    rows = [{"step": step} for step in range(100)]
    kept_steps = [row["step"] for row in thinned(rows, 5, keep=33)]
    assert kept_steps[0] == 0
    assert kept_steps[-1] == 99
    assert 33 in kept_steps
    assert len(kept_steps) <= 6


def test_a_terminal_shows_the_first_sample_in_short_and_a_page_all_of_them() -> None:
    said = {"samples": {"before": "noise " * 100, "100": "middle", "after": "words"}}
    short, whole = samples(said), samples(said, whole=True)
    assert [block.title for block in short if isinstance(block, Quote)] == ["before training:", "after training:"]
    assert [block.title for block in whole if isinstance(block, Quote)][1] == "after 100 steps:"
    assert isinstance(short[0], Quote)
    assert len(short[0].body) < 130


def test_samples_are_kept_in_the_order_of_their_steps_and_taken_once(tmp_path: Path) -> None:
    words = iter("abcdef")
    first = Samples(tmp_path / "samples", lambda: next(words))
    assert [first.take(step) for step in (0, 5, 10)] == ["a", "b", "c"]
    resumed = Samples(tmp_path / "samples", lambda: next(words))  # from a checkpoint of before step 10
    assert [resumed.take(step) for step in (0, 10, 15)] == ["a", "c", "d"]
    assert list(resumed.shown("z").items()) == [("before", "a"), ("5", "b"), ("10", "c"), ("15", "d"), ("after", "z")]


def test_what_is_kept_is_json(tmp_path: Path) -> None:
    json.dumps(run(tmp_path, view=View(4.0)).evaluations, allow_nan=False)


def test_a_loss_that_is_no_likelihood_has_no_perplexity(tmp_path: Path) -> None:
    """That of labels or preferences: e to its power is a number without a meaning."""
    shown = Listener()
    summary = run(tmp_path, view=View(likelihood=False), reporter=shown)
    assert "perplexity" not in summary.metrics(STEPS)
    assert not any("perplexity" in line for line in shown.lines)
    table = curve({"evaluations": summary.evaluations})[0]
    assert isinstance(table, Table)
    assert list(table.columns) == ["step", "training loss", "held-out loss", ""]
    told = run(tmp_path, view=View(4.0)).evaluations
    assert list(curve({"evaluations": told})[0].columns)[3:5] == ["perplexity", "bits per byte"]  # type: ignore[union-attr]

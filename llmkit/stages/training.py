"""What pretraining and fine-tuning share: following the loop, and what is kept of a run."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.reporting.curves import History
from llmkit.reporting.reporter import Reporter, Trend
from llmkit.stages.training_words import curve as curve
from llmkit.stages.training_words import perplexity, shown_perplexity
from llmkit.stages.training_words import samples as samples

if TYPE_CHECKING:
    from llmkit.train.options import Choices
    from llmkit.train.records import Evaluation, StepRecord
    from llmkit.train.utilisation import Utilisation

LOG = "steps.jsonl"
"""A row for each step, written while the run goes on."""

SMOOTHING = 0.9
"""Of the training loss that is shown: an average over about ten steps."""

RECENT = 20
"""Steps over which the speed that is shown is taken."""

COMPARED = 50
"""Steps before an evaluation whose mean training loss it is compared with, at most: one step's loss is noisy."""

Figures = Mapping[str, float]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """What is shown and kept of a run besides its losses.

    Attributes:
        bytes_per_token: of the held-out text, where its bits per byte mean something: for causal models.
        utilisation: how to tell the MFU, once the run has settled what it runs on.
        tracking: opened for the run; takes the figures of each step to trackers such as TensorBoard.
        likelihood: whether the loss is a negative log-likelihood per token, so that a perplexity means something.
    """

    bytes_per_token: float | None = None
    utilisation: Callable[[Choices], Utilisation | None] = lambda choices: None
    tracking: AbstractContextManager[Callable[[int, Figures], None]] = field(
        default_factory=lambda: nullcontext(lambda step, figures: None)
    )
    likelihood: bool = True


@dataclass
class Summary:
    """A run as it went: the first and the last held-out loss, every evaluation, tokens and time of this session."""

    bytes_per_token: float | None = None
    likelihood: bool = True
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    loss: float | None = None
    trained_tokens: int = 0
    positions: int = 0
    seconds: float = 0.0
    resumed_from: int = 0
    best: int | None = None
    stopped: str = ""
    choices: dict[str, Any] = field(default_factory=dict)
    measure: Utilisation | None = None
    history: History = field(default_factory=History)
    _latest: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def take(self, record: StepRecord) -> None:
        """Add one record of the loop."""
        self.steps = record.step
        if record.loss is not None:
            smooth = record.loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * record.loss
            self.loss = smooth
            self.history.add(smooth)
            self._latest.append((record.positions, record.seconds))
        self.trained_tokens += record.tokens
        self.positions += record.positions
        self.seconds += record.seconds
        self.best = record.best
        if record.stalled:
            self.stopped = f"stopped early: the held-out loss no longer fell after step {record.best:,}"
        if record.resumed_from is not None:
            self.resumed_from = record.resumed_from
            self.choices = vars(record.choices)
        if record.evaluated or record.resumed_from is not None:
            self.evaluations = [self._facts(evaluation) for evaluation in record.evaluations]

    def settle(self, rows: Sequence[Row]) -> None:
        """Add what the log of the whole run says, so that a run that was interrupted ends with the same facts."""
        if rows:
            self.loss = smoothed([(row["step"], row["loss"]) for row in rows])[-1][1]
            self.trained_tokens = sum(row["tokens"] for row in rows)
        before = 0
        for evaluation in self.evaluations:
            step = evaluation["step"]
            losses = [row["loss"] for row in rows if max(before, step - COMPARED) < row["step"] <= step]
            if losses:
                evaluation["training_loss"] = sum(losses) / len(losses)
            before = step

    @property
    def rate(self) -> float:
        """Positions per second, over the whole session."""
        return self.positions / self.seconds if self.seconds else 0.0

    @property
    def rate_now(self) -> float:
        """Positions per second, over the last steps."""
        seconds = sum(seconds for _, seconds in self._latest)
        return sum(positions for positions, _ in self._latest) / seconds if seconds else 0.0

    def metrics(self, published: int) -> dict[str, float]:
        """Final figures; bits per byte where the held-out text's bytes per predicted token are known.

        Args:
            published: the step whose weights are published; held-out figures are theirs.
        """
        found: dict[str, float] = {"steps": self.steps, "trained_tokens": self.trained_tokens}
        if self.loss is not None:
            found["train_loss"] = self.loss
        if self.evaluations:
            last = self.evaluations[-1]["loss"]
            loss = next((e["loss"] for e in self.evaluations if e["step"] == published), last)
            found |= {"initial_loss": self.evaluations[0]["loss"], "loss": loss}
            if self.likelihood:
                found["perplexity"] = perplexity(loss)
            if published != self.steps:
                found |= {"published_step": published, "last_loss": last}
            if self.bytes_per_token:
                found["bits_per_byte"] = loss / self.bytes_per_token / math.log(2)
        if self.seconds:
            found |= {"tokens_per_second": self.rate, "train_seconds": self.seconds}
            if self.measure is not None:
                found["mfu"] = self.measure.mfu(self.rate)
        return found

    def _facts(self, evaluation: Evaluation) -> dict[str, Any]:
        """An evaluation, JSON-ready."""
        facts: dict[str, Any] = {key: getattr(evaluation, key) for key in ("step", "loss", "nll", "tokens")}
        if self.likelihood:
            facts["perplexity"] = perplexity(evaluation.loss)
        if self.bytes_per_token:
            facts["bits_per_byte"] = evaluation.loss / self.bytes_per_token / math.log(2)
        if evaluation.parts:
            facts["parts"] = {name: part.loss for name, part in evaluation.parts.items()}
        return facts


def follow(
    records: Iterator[StepRecord], steps: int | None, reporter: Reporter, log: Path, view: View | None = None
) -> Iterator[tuple[StepRecord, Summary]]:
    """Pass the loop's records on, showing a bar and, in the main process, writing each step to `log` (JSON lines).

    The bar counts up to `steps`; with None, where a clock may end the run before its steps do, it shows the share of
    the budget that is spent, and the step beside it.

    Once the records have ended, the summary has the training losses of the whole run, from the log.
    """
    from llmkit.train.launch import World

    view = view or View()
    summary = Summary(view.bytes_per_token, view.likelihood)
    first = next(records)
    summary.take(first)
    for note in first.notes:
        reporter.warn(note)
    if summary.resumed_from:
        reporter.info(f"going on from step {summary.resumed_from:,}", style="good")
    summary.measure = view.utilisation(first.choices)
    reporter.info(_where(summary), style="dim")
    _speak(first, summary, reporter)
    total, unit = (1.0, "") if steps is None else (float(steps), "steps")
    done = first.progress * total
    main = World.current().is_main
    with view.tracking as track, _Log(log if main else None) as file:
        track(first.step, _figures(first, summary))
        yield first, summary
        with reporter.progress("training", total, unit=unit, done=done) as bar:
            for record in records:
                summary.take(record)
                _speak(record, summary, reporter)
                position = record.progress * total
                bar.advance(position - done, **_facts(record, summary, timed=not unit))
                done = position
                file.write(_row(record))
                track(record.step, _figures(record, summary))
                yield record, summary
    if main:
        summary.settle(read_log(log))


class _Log:
    """The rows of a run. Each is handed to the system at once: what a checkpoint has, the log has too."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1) if path else None

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, row: Row) -> None:
        if self._file:
            self._file.write(json.dumps(row) + "\n")


def read_log(log: Path) -> list[dict[str, Any]]:
    """The rows of a run's log in order, one for each step; a last line that was cut short by a kill is left out."""
    by_step: dict[int, dict[str, Any]] = {}
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            row.pop("seconds", None)
            by_step[row["step"]] = row
    return [by_step[step] for step in sorted(by_step)]


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """An exponential average, without the pull of its beginning (Kingma and Ba 2015, section 3)."""
    average, weight, found = 0.0, 0.0, []
    for x, y in points:
        average = SMOOTHING * average + (1 - SMOOTHING) * y
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        found.append((x, average / weight))
    return found


def _where(summary: Summary) -> str:
    """`on cpu in bf16, 1 process; MFU is of 412 GFLOP/s, a matrix product timed here`."""
    device, precision, processes = (summary.choices[key] for key in ("device", "precision", "processes"))
    said = f"on {device} in {precision}, {processes} process{'es' if processes > 1 else ''}"
    if summary.choices["sharding"]:
        said += f" that share one model ({summary.choices['sharding']})"
    if summary.measure is None:
        return said
    peak = summary.measure.peak / 1e9
    scale = f"{peak / 1e3:,.4g} TFLOP/s" if peak >= 1e4 else f"{peak:,.0f} GFLOP/s"
    source = "a matrix product timed here" if summary.measure.measured else "the data sheet's dense peak"
    return f"{said}; MFU is of {scale}, {source}"


def _speak(record: StepRecord, summary: Summary, reporter: Reporter) -> None:
    """One line for each evaluation, which stays."""
    if record.evaluation is None:
        return
    last = summary.evaluations[-1]
    parts = [f"step {record.step:,}: held-out loss {last['loss']:.4f}"]
    if "perplexity" in last:
        parts.append(f"perplexity {shown_perplexity(last['loss'])}")
    if "bits_per_byte" in last:
        parts.append(f"bits per byte {last['bits_per_byte']:.4f}")
    parts += [f"{name} {loss:.4f}" for name, loss in last.get("parts", {}).items()]
    reporter.info(" · ".join(parts), style="plain")


def _facts(record: StepRecord, summary: Summary, *, timed: bool) -> dict[str, object]:
    """What stands beside the bar; the last things are the first to go where there is no room."""
    facts: dict[str, object] = {"step": record.step} if timed else {}
    facts["loss"] = Trend(summary.history.values)
    # What stays on the screen after the last step is the mean of the run.
    rate = summary.rate if record.progress >= 1 or record.stalled else summary.rate_now
    facts["tokens/s"] = round(rate)
    if summary.measure is not None:
        facts["MFU"] = f"{summary.measure.mfu(rate):.0%}"
    if summary.evaluations:
        facts["held-out"] = f"{summary.evaluations[-1]['loss']:.3f}"
    return facts | {"lr": f"{record.lr:.2g}"}


def _figures(record: StepRecord, summary: Summary) -> dict[str, float]:
    """What trackers are told of a step."""
    found: dict[str, float] = {}
    if record.loss is not None:
        rate = record.positions / record.seconds if record.seconds else 0.0
        found |= {"train/loss": record.loss, "train/lr": record.lr, "train/grad_norm": record.grad_norm}
        found["train/tokens_per_second"] = rate
        if summary.measure is not None:
            found["train/mfu"] = summary.measure.mfu(rate)
    if record.evaluation is not None:
        last = summary.evaluations[-1]
        found |= {f"held_out/{key}": last[key] for key in ("loss", "perplexity", "bits_per_byte") if key in last}
        found |= {f"held_out/{name}/loss": loss for name, loss in last.get("parts", {}).items()}
    return found


def _row(record: StepRecord) -> dict[str, object]:
    row: dict[str, object] = {
        "step": record.step,
        "loss": record.loss,
        "lr": record.lr,
        "grad_norm": record.grad_norm,
        "tokens": record.tokens,
        "seconds": round(record.seconds, 6),
    }
    return row | ({"held_out_loss": record.evaluation.loss} if record.evaluation else {})

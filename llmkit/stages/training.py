"""What pretraining and fine-tuning share: following the loop, and what is kept of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.reporting.blocks import Block, Line, Quote, Table
from llmkit.reporting.reporter import Reporter

if TYPE_CHECKING:
    from llmkit.train.records import StepRecord

LOG = "steps.jsonl"
"""A row for each step, written while the run goes on."""

SMOOTHING = 0.9
"""Of the training loss shown while running: an average over about ten steps."""


@dataclass
class Summary:
    """A run as it went: the first and the last held-out loss, every evaluation, tokens and time of this session."""

    evaluations: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    loss: float | None = None
    tokens: int = 0
    positions: int = 0
    seconds: float = 0.0
    resumed_from: int = 0
    choices: dict[str, Any] = field(default_factory=dict)

    def take(self, record: StepRecord) -> None:
        """Add one record of the loop."""
        self.steps = record.step
        if record.loss is not None:
            smooth = record.loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * record.loss
            self.loss = smooth
        self.tokens += record.tokens
        self.positions += record.positions
        self.seconds += record.seconds
        if record.resumed_from is not None:
            self.resumed_from = record.resumed_from
            self.choices = vars(record.choices)
        self.evaluations = [
            {"step": e.step, "loss": e.loss, "nll": e.nll, "tokens": e.tokens} for e in record.evaluations
        ]

    @property
    def rate(self) -> float:
        """Positions per second."""
        return self.positions / self.seconds if self.seconds else 0.0

    def metrics(self, bytes_per_token: float | None = None) -> dict[str, float]:
        """Final figures; bits per byte where the held-out text's bytes per predicted token are known."""
        found: dict[str, float] = {"steps": self.steps}
        if self.loss is not None:
            found["train_loss"] = self.loss
        if self.evaluations:
            last = float(self.evaluations[-1]["loss"])
            found |= {"initial_loss": self.evaluations[0]["loss"], "loss": last}
            found["perplexity"] = math.exp(min(last, 700))
            if bytes_per_token:
                found["bits_per_byte"] = last / bytes_per_token / math.log(2)
        if self.seconds:
            found |= {"tokens_per_second": self.rate, "train_seconds": self.seconds}
        return found


def follow(
    records: Iterator[StepRecord], steps: int, reporter: Reporter, log: Path
) -> Iterator[tuple[StepRecord, Summary]]:
    """Pass the loop's records on, showing a bar and writing each step to `log` (JSON lines)."""
    summary = Summary()
    first = next(records)
    summary.take(first)
    for note in first.notes:
        reporter.warn(note)
    if summary.resumed_from:
        reporter.info(f"going on from step {summary.resumed_from:,}", style="good")
    precision, processes = summary.choices["precision"], summary.choices["processes"]
    device = summary.choices["device"]
    reporter.info(f"on {device} in {precision}, {processes} process{'es' if processes > 1 else ''}", style="dim")
    yield first, summary
    with (
        log.open("a", encoding="utf-8") as file,
        reporter.progress("training", steps, unit="steps", done=first.step) as bar,
    ):
        done: float = first.step
        for record in records:
            summary.take(record)
            facts: dict[str, object] = {"loss": summary.loss, "tokens/s": round(summary.rate)}
            if record.evaluation is not None:
                facts["held-out"] = record.evaluation.loss
            # A time budget ends before the last step: the bar follows the share of the run that is over.
            position = record.progress * steps
            bar.advance(position - done, **facts)
            done = position
            file.write(json.dumps(_row(record)) + "\n")
            yield record, summary


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


def curve(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The held-out losses of a run as a table, and what they say in words."""
    evaluations = payload["evaluations"]
    if not evaluations:
        return [Line("no held-out part: nothing says how well this generalises", "bad")]
    rows = [(int(e["step"]), e["loss"], math.exp(min(e["loss"], 700))) for e in evaluations]
    table = Table(("step", "held-out loss", "perplexity"), thinned(rows), "", frozenset({0, 1, 2}))
    return [table, Line(verdict([e["loss"] for e in evaluations]))]


def thinned(rows: Sequence[Any], most: int = 8) -> list[Any]:
    """At most `most` of the rows, evenly, with the first and the last."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def verdict(losses: Sequence[float]) -> str:
    """What a held-out curve says: still falling, flat, or rising again."""
    first, last, best = losses[0], losses[-1], min(losses)
    if len(losses) < 2 or last >= first:
        return f"the held-out loss did not fall ({first:.3f} to {last:.3f})"
    fell = f"held-out loss {first:.3f} to {last:.3f}"
    if last > best * 1.01:
        return f"{fell}, but it was {best:.3f} before: the model began to memorise; train less or on more text"
    if len(losses) < 4:
        return fell
    if losses[-2] - last > 0.02 * (first - last):
        return f"{fell}, and still falling: more steps would help"
    return f"{fell}, and flat at the end"


def samples(payload: Mapping[str, Any]) -> Sequence[Block]:
    """Generated text before and after training."""
    found = payload.get("samples") or {}
    return [Quote(text.strip() or "(nothing)", f"{when} training:") for when, text in found.items()]

"""A training run in words and tables: its held-out curve, the verdict on it, and what the model said on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmkit.reporting.blocks import Block, Line, Quote, Table
from llmkit.reporting.curves import sparkline
from llmkit.train.verdict import Point, Verdict, judge

_MOST_ROWS = 8
_MOST_SAMPLES = 40
_SPARK = 40
_FIRST_CHARS, _LAST_CHARS = 120, 400
"""What a terminal shows of a sample: of noise, little."""


def verdict(payload: Mapping[str, Any]) -> Verdict:
    """What the curves of a finished run say."""
    points = [Point(int(e["step"]), e["loss"], e.get("training_loss")) for e in payload["evaluations"]]
    return judge(points, stopped=str(payload.get("stopped") or ""))


def verdict_lines(said: Verdict) -> Sequence[Block]:
    """What was seen, and below it what to do."""
    return [Line(said.seen, said.style), *([Line(f"→ {said.advice}", said.style)] if said.advice else [])]


def perplexity(loss: float) -> float:
    """Of a loss in nats; finite where the loss is."""
    return math.exp(min(loss, 700.0))


def shown_perplexity(loss: float) -> str:
    """With the digits that mean something."""
    value = perplexity(loss)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def curve(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The losses of a run as a table, and what they say in words."""
    said = verdict(payload)
    losses = [evaluation["loss"] for evaluation in payload["evaluations"]]
    found = [*table(payload), *parts(payload)]
    if len(losses) > _MOST_ROWS:
        found.append(Line(f"held-out {losses[0]:.3f} {sparkline(losses, _SPARK)} {losses[-1]:.3f}", "dim"))
    published = payload.get("published_step")
    if losses and published is not None and published != payload["evaluations"][-1]["step"]:
        found.append(Line(f"the weights are those of step {published:,}; the last ones are in last/", "plain"))
    return [*found, *verdict_lines(said)]


def table(payload: Mapping[str, Any], most: int = _MOST_ROWS) -> Sequence[Block]:
    """The evaluations, or `most` of them: both losses, and perplexity and bits per byte where they mean something."""
    evaluations = payload["evaluations"]
    if not evaluations:
        return []
    best = payload.get("best_step")
    columns: dict[str, Callable[[Mapping[str, Any]], object]] = {
        "step": lambda e: int(e["step"]),
        "training loss": lambda e: _figure(e.get("training_loss")),
        "held-out loss": lambda e: _figure(e["loss"]),
        "perplexity": lambda e: shown_perplexity(e["loss"]),
        "bits per byte": lambda e: _figure(e.get("bits_per_byte")),
        "": lambda e: "best" if e["step"] == best and len(evaluations) > 1 else "",
    }
    for name in ("perplexity", "bits per byte"):
        if name.replace(" ", "_") not in evaluations[-1]:
            del columns[name]
    rows = [tuple(cell(e) for cell in columns.values()) for e in thinned(evaluations, most, keep=best)]
    return [Table(tuple(columns), rows, "", frozenset(range(len(columns) - 1)))]


def parts(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The last held-out loss of each dataset, where there were several."""
    evaluations = payload["evaluations"]
    last = evaluations[-1].get("parts", {}) if evaluations else {}
    if not last:
        return []
    first = evaluations[0].get("parts", {})
    rows = [(name, _figure(first.get(name)), _figure(loss)) for name, loss in last.items()]
    return [Table(("dataset", "held-out loss before", "after"), rows, "", frozenset({1, 2}))]


def thinned(rows: Sequence[Mapping[str, Any]], most: int, *, keep: int | None = None) -> list[Mapping[str, Any]]:
    """At most `most` of the rows and one more, evenly: the first, the last and that of step `keep` among them."""
    if len(rows) <= most:
        return list(rows)
    wanted = {round(i * (len(rows) - 1) / (most - 1)) for i in range(most)}
    wanted |= {i for i, row in enumerate(rows) if row["step"] == keep}
    return [rows[i] for i in sorted(wanted)]


def samples(payload: Mapping[str, Any], *, whole: bool = False) -> Sequence[Block]:
    """Generated text by the steps that were done: the first and the last in short, or `whole`, many of them."""
    said = payload.get("samples") or {}
    if whole:
        rows = thinned([{"step": step, "text": text} for step, text in said.items()], _MOST_SAMPLES)
        said = {row["step"]: row["text"] for row in rows}
    found = [(_when(step), text.strip() or "(nothing)") for step, text in said.items()]
    if whole or not found:
        return [Quote(text, f"{when}:") for when, text in found]
    shown = [(*found[0], _FIRST_CHARS), (*found[-1], _LAST_CHARS)] if len(found) > 1 else [(*found[0], _LAST_CHARS)]
    return [Quote(text if len(text) <= most else f"{text[:most].rstrip()} …", f"{when}:") for when, text, most in shown]


def _when(step: str) -> str:
    if step in ("0", "before"):
        return "before training"
    return f"after {int(step):,} steps" if step.isdecimal() else f"{step} training"


def _figure(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.3f}"

"""A training run as a page: its figures and curves, what they say in words, what the model said before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit.registry.disk import write_whole
from llmkit.reporting.blocks import Block, Figures, Heading, Line, Plot, Table
from llmkit.reporting.page import page
from llmkit.stages.training import read_log, smoothed
from llmkit.stages.training_words import parts, samples, table, verdict, verdict_lines

METRICS, PAGE, SAMPLES = "metrics.jsonl", "report.html", "samples.jsonl"

_MOST_ROWS = 40

_CURVES = (("lr", "Learning rate", ""), ("grad_norm", "Gradient norm, before clipping", ""))


def write_report(folder: Path, log: Path, title: str, facts: Mapping[str, Any], options: Mapping[str, object]) -> None:
    """Write `metrics.jsonl` (a row per step), `report.html` and, of samples, `samples.jsonl` into a finished artifact.

    None says how fast it went: two runs that make the same weights make the same files, so that what was made from
    the one is not stale because of the other. Speeds are among the metrics of the manifest.

    Args:
        folder: of the artifact.
        log: the rows as they were written while the run went on; of a step that an interruption made it do twice,
            the later row counts.
        title: of the page.
        facts: what the run returned: `metrics`, `evaluations`, and whatever samples it has; `loss_unit` where its
            loss is not one of tokens.
        options: what was asked for, by dotted key.

    Raises:
        StorageError: the folder cannot be written to.
    """
    rows = read_log(log)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(folder / METRICS, text.encode("utf-8"))
    if said := facts.get("samples"):
        text = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in _samples(facts, said))
        write_whole(folder / SAMPLES, text.encode("utf-8"))
    shown = page(title, blocks(rows, facts, options))
    write_whole(folder / PAGE, shown.encode("utf-8"))


def _samples(facts: Mapping[str, Any], said: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of step, prompt and text; the last is of the weights that are published."""
    metrics = facts["metrics"]
    steps = {"before": 0, "after": metrics.get("published_step", metrics["steps"])}
    for when, text in said.items():
        yield {"step": steps[when] if when in steps else int(when), "prompt": facts.get("prompt", ""), "text": text}


def blocks(
    rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], options: Mapping[str, object]
) -> Sequence[Block]:
    """The page's content."""
    unit = facts.get("loss_unit", "nats a token")
    figures = _figures(facts["metrics"], facts.get("parameters"), unit)
    found: list[Block] = [Figures(figures), *verdict_lines(verdict(facts))]
    held_out = [(float(e["step"]), float(e["loss"])) for e in facts["evaluations"]]
    losses = {"training": smoothed([(row["step"], row["loss"]) for row in rows]), "held-out": held_out}
    names = facts["evaluations"][0].get("parts", {}) if facts["evaluations"] else {}
    losses |= {name: [(float(e["step"]), float(e["parts"][name])) for e in facts["evaluations"]] for name in names}
    marks = _marks(facts)
    drawn = {name: at for name, at in losses.items() if at}
    found += [Heading("Loss"), Plot(drawn, "", "step", unit, marks)]
    found += [*table(facts, _MOST_ROWS), *parts(facts)]
    found.append(Heading("The run"))
    for key, title, unit in _CURVES:
        found.append(Plot({title: [(row["step"], row[key]) for row in rows]}, title, "step", unit, marks))
    if quotes := samples(facts, whole=True):
        found += [Heading("What it says"), *_prompt(facts, len(quotes)), *quotes]
    found += [Heading("Options"), Table(("option", "value"), [(key, str(value)) for key, value in options.items()])]
    return found


def _prompt(facts: Mapping[str, Any], shown: int) -> Sequence[Block]:
    """What the samples go on from, and where the ones are that a page has no room for."""
    if not (prompt := facts.get("prompt")):
        return []
    more = len(facts["samples"]) - shown
    said = f"Each goes on from the beginning of a text: {json.dumps(prompt, ensure_ascii=False)}"
    return [Line(f"{said}. {more:,} more are in {SAMPLES}." if more > 0 else f"{said}.", "dim")]


def _marks(facts: Mapping[str, Any]) -> dict[str, float]:
    """Steps that the curves are marked at: the best one, and the last of a run that was stopped early."""
    marks: dict[str, float] = {}
    if facts.get("best_step") is not None and len(facts["evaluations"]) > 1:
        marks["best"] = float(facts["best_step"])
    if facts.get("stopped"):
        marks["stopped"] = float(facts["metrics"]["steps"])
    return marks


def _figures(metrics: Mapping[str, Any], parameters: int | None, unit: str) -> list[tuple[str, object, str]]:
    shown = [
        ("loss", "held-out loss", unit),
        ("perplexity", "perplexity", "held-out"),
        ("bits_per_byte", "bits per byte", "held-out"),
        ("train_loss", "training loss", "of the last steps"),
        ("steps", "steps", ""),
    ]
    figures: list[tuple[str, object, str]] = [
        (label, float(f"{metrics[key]:.4g}") if isinstance(metrics[key], float) else metrics[key], note)
        for key, label, note in shown
        if key in metrics
    ]
    return figures + ([("parameters", parameters, "")] if parameters else [])

"""What an evaluation leaves in its report artifact: results per item, gates, and a page for people."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.registry.disk import write_whole, writing
from llmkit.reporting.blocks import Block, Figures, Fold, Heading, Line, Plot, Quote, Table
from llmkit.reporting.page import page
from llmkit.stages.eval_view import (
    contamination_table,
    difference_tables,
    gate_blocks,
    headline,
    pairs_table,
    results_table,
    short_names,
    systems_table,
)

if TYPE_CHECKING:
    from llmkit.evaluation.gate import GateResult
    from llmkit.evaluation.result import ItemRecord, TaskResult

TASKS_FILE, BASELINE_FILE, GATES_FILE, SYSTEMS_FILE = "tasks.json", "baseline.json", "gates.json", "systems.json"
PAGE = "report.html"

MOST_ITEMS = 20
"""Items of a task that the page shows in full, of the worst and of those that changed."""
_MOST_TEXT = 4000
"""Code points of one text on the page; the whole is in tasks.json."""


def rows_of(result: TaskResult) -> list[dict[str, Any]]:
    """A task's metrics as `--json` prints them."""
    return [
        {"task": result.task, "metric": name, **estimate.model_dump(mode="json")}
        for name, estimate in result.metrics.items()
    ]


def write_report(
    folder: Path, title: str, payload: Mapping[str, Any], results: Sequence[TaskResult], before: Sequence[TaskResult]
) -> None:
    """`tasks.json`, `gates.json`, `baseline.json` where there is one, and `report.html`.

    Raises:
        StorageError: the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / TASKS_FILE, [result.model_dump(mode="json") for result in results])
    if before:
        _dump(folder / BASELINE_FILE, [result.model_dump(mode="json") for result in before])
    _dump(folder / GATES_FILE, payload["gates"])
    blocks: list[Block] = [_figures(payload, results)]
    if payload["gates"]:
        blocks += [Heading("Gates"), *gate_blocks(payload)]
    blocks += [Heading("Results"), results_table(payload), *(Line(note, "dim") for note in payload["notes"])]
    if tables := difference_tables(payload):
        blocks += [Heading("Against the baseline"), *tables]
    if seen := contamination_table(payload):
        blocks += [Heading("Contamination"), *seen]
    systems = {title: results, **({str(payload["baseline"]): before} if before else {})}
    for result in results:
        blocks += _task(result, systems, payload)
    _write_page(folder, f"Evaluation of {title}", headline(payload), blocks)


def write_comparison(folder: Path, payload: Mapping[str, Any], systems: Mapping[str, Sequence[TaskResult]]) -> None:
    """`systems.json` with the results of each system, and `report.html`.

    Raises:
        StorageError: the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    each = {label: [result.model_dump(mode="json") for result in results] for label, results in systems.items()}
    _dump(folder / SYSTEMS_FILE, each)
    _dump(folder / GATES_FILE, [])
    blocks: list[Block] = [Heading("Systems"), *systems_table(payload)]
    blocks += [Line(note, "dim") for note in payload["notes"]]
    if pairs := pairs_table(payload):
        blocks += [Heading("Which differences are significant"), *pairs]
    if seen := contamination_table(payload):
        blocks += [Heading("Contamination"), *seen]
    names = short_names(payload)
    systems = {names[label]: results for label, results in systems.items()}
    tasks = {result.task: result for results in systems.values() for result in results}
    for result in tasks.values():
        blocks += _task(result, systems, payload)
    _write_page(folder, f"Comparison of {', '.join(systems)}", headline(payload), blocks)


def read_results(file: Path) -> list[TaskResult]:
    """The results that a report holds."""
    from llmkit.evaluation.result import TaskResult

    return [TaskResult.model_validate(row) for row in json.loads(file.read_text("utf-8"))]


def read_gates(folder: Path) -> list[GateResult]:
    """The gates that a report holds."""
    from llmkit.evaluation.gate import GateResult

    return [GateResult(**row) for row in json.loads((folder / GATES_FILE).read_text("utf-8"))]


def write_summary(path: Path, ref: str, payload: Mapping[str, Any]) -> None:
    """A Markdown summary. GitHub's own file is appended to, as other steps write into it as well; any other is made
    anew.

    Raises:
        StorageError: the file cannot be written to.
    """
    from llmkit.stages.eval_summary import summary

    shared = str(path) == os.environ.get("GITHUB_STEP_SUMMARY")
    with writing(path.parent), path.open("a" if shared else "w", encoding="utf-8") as file:
        file.write(summary(ref, payload))


def _dump(file: Path, value: object) -> None:
    write_whole(file, json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8"))


def _write_page(folder: Path, title: str, lead: str, blocks: Sequence[Block]) -> None:
    write_whole(folder / PAGE, page(title, blocks, lead=lead).encode("utf-8"))


def _figures(payload: Mapping[str, Any], results: Sequence[TaskResult]) -> Figures:
    figures: list[tuple[str, object, str]] = []
    if payload["gates"]:
        passed = sum(gate["outcome"] == "passed" for gate in payload["gates"])
        figures.append(("gates passed", f"{passed} of {len(payload['gates'])}", ""))
    figures += [("tasks", len(results), ""), ("items", sum(len(result.items) for result in results), "")]
    if failed := sum(payload["failures"].values()):
        figures.append(("items failed", failed, "no gate passes on the rest"))
    return Figures(figures)


def _task(result: TaskResult, systems: Mapping[str, Sequence[TaskResult]], payload: Mapping[str, Any]) -> list[Block]:
    """A task's items: how their scores are spread, which are worst, which changed, which failed."""
    name = _main_score(result)
    answers = {
        label: {record.id: record for each in results if each.task == result.task for record in each.items}
        for label, results in systems.items()
    }
    if name is None:
        return []
    blocks: list[Block] = [Heading(f"Items of {result.task}")]
    curves = {
        label: list(enumerate(sorted((record.scores[name].rate for record in items.values()), reverse=True), start=1))
        for label, items in answers.items()
        if items
    }
    blocks.append(Plot(curves, f"{name} of each item, sorted", "items", name))
    worst = sorted(result.items, key=lambda record: (_badness(name, record), record.id))[:MOST_ITEMS]
    whose = [label for label, results in systems.items() if any(each is result for each in results)]
    blocks.append(Heading(f"The worst of {whose[0]}" if len(systems) > 1 and whose else "The worst", 2))
    blocks += [_item(record, answers, name) for record in worst]
    for title, ids in _changes(result.task, name, payload):
        by_id = {record.id: record for record in result.items}
        blocks += [Heading(title, 2), *(_item(by_id[i], answers, name) for i in ids[:MOST_ITEMS] if i in by_id)]
    if result.failures:
        rows = [(failure.id, failure.message) for failure in result.failures[:MOST_ITEMS]]
        blocks += [Heading("Not evaluated", 2), Table(("item", "why"), rows)]
    return blocks


def _main_score(result: TaskResult) -> str | None:
    """The per-item score that items are ranked by: that of the first metric which says how good an item is."""
    from llmkit.evaluation.metrics.table import metric, score_name

    names = [name for name in result.metrics if not metric(name).unit]
    # A share between no and yes tells more of an item than yes or no.
    names.sort(key=lambda name: name not in ("f1", "mrr"))
    for name in names:
        if all(score_name(name) in record.scores for record in result.items):
            return score_name(name)
    return None


def _badness(name: str, record: ItemRecord) -> float:
    from llmkit.evaluation.metrics.table import METRICS

    lower = any((row.of or head) == name and row.better == "lower" for head, row in METRICS.items())
    return -record.scores[name].rate if lower else record.scores[name].rate


def _changes(task: str, name: str, payload: Mapping[str, Any]) -> Iterable[tuple[str, Sequence[str]]]:
    from llmkit.evaluation.metrics.table import score_name

    for comparison in payload["comparisons"]:
        if comparison["task"] != task:
            continue
        difference = next((d for m, d in comparison["differences"].items() if score_name(m) == name), None)
        for title, key in (("Worse than the baseline", "worse"), ("Better than the baseline", "better")):
            if difference and difference[key]:
                yield f"{title}: {len(difference[key])}", difference[key]


def _item(record: ItemRecord, answers: Mapping[str, Mapping[str, ItemRecord]], name: str) -> Fold:
    """One item: what was put, what would be right, and what each system said, side by side."""
    from llmkit.evaluation.result import SAID

    scores = ", ".join(f"{score} {value.rate:.3g}" for score, value in record.scores.items() if score != "latency")
    asked = {key: value for key, value in record.detail.items() if key not in SAID}
    inside: list[Block] = [Quote(_text(value), key) for key, value in asked.items() if value not in ("", [], None)]
    said = [
        (label, _text([value for key, value in items[record.id].detail.items() if key in SAID]), items[record.id])
        for label, items in answers.items()
        if record.id in items
    ]
    if any(text for _, text, _ in said):
        rows = [(label, text, f"{found.scores[name].rate:.3g}") for label, text, found in said if name in found.scores]
        inside.append(Table(("system", "said", name), rows, "", frozenset({2})))
    elif len(said) > 1:
        bare = [(label, f"{found.scores[name].rate:.3g}") for label, _, found in said if name in found.scores]
        inside.append(Table(("system", name), bare, "", frozenset({1})))
    inside.append(Line(scores, "dim"))
    if record.seen:
        inside.append(Line(f"occurs in the training data: {record.seen}", "bad"))
    first = next((text for value in asked.values() if (text := _text(value))), record.id)
    shown = " ".join(first.split())
    short = shown if len(shown) <= 100 else f"{shown[:99]}…"
    return Fold(f"{record.scores[name].rate:.3g}  {short}", inside)


def _text(value: object) -> str:
    """A detail of an item as text; lists a line each."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(each, str | int | float | None) for each in value):
            parts = [str(each) for each in value if each is not None]
            text = "\n".join(parts) if all(isinstance(each, str) for each in value) else "  ".join(parts)
        else:
            text = "\n".join(filter(None, map(_text, value)))
    elif isinstance(value, Mapping):
        text = "\n".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    else:
        text = "" if value is None else str(value)
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"

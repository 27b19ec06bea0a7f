"""An evaluation's result as blocks, for the terminal and for its page, from the payload that `--json` prints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.errors import GateError
from llmkit.reporting.blocks import Block, Line, Style, Table
from llmkit.reporting.figures import size

MARKS: dict[str, tuple[str, Style]] = {
    "passed": ("✓", "good"),
    "failed": ("✗", "bad"),
    "inconclusive": ("?", "bad"),
    "skipped": ("-", "dim"),
}
STOPPING = ("failed", "inconclusive")
_ENDPOINT = re.compile(r"^openai:[^#]*#")
MOST_PAIRS = 12
"""Rows of differences on a terminal: what is not significant goes first where there are more."""


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """Every metric with its interval, the paired differences, and the gates; of a comparison, its systems."""
    if payload.get("systems"):
        return [*systems_table(payload), *pairs_table(payload, most=MOST_PAIRS), *_notes(payload)]
    return [
        results_table(payload),
        *difference_tables(payload),
        *contamination_table(payload),
        *_notes(payload),
        *gate_blocks(payload),
    ]


def results_table(payload: Mapping[str, Any]) -> Table:
    rows = [
        (r["task"], r["metric"], number(r["value"], r["unit"]), interval(r["ci"], r["unit"]), r["n"])
        for r in payload["results"]
    ]
    return Table(("task", "metric", "value", "95% interval", "items"), rows, "", frozenset({2, 3, 4}))


def difference_tables(payload: Mapping[str, Any]) -> list[Block]:
    """A table for each task that the baseline was measured on too."""
    blocks: list[Block] = []
    for comparison in payload["comparisons"]:
        rows = [
            (
                metric,
                signed(d["value"], d["unit"]),
                interval(d["ci"], d["unit"], plus=True),
                p_value(d["p_value"]),
                d["test"].partition(",")[0],
                len(d["better"]),
                len(d["worse"]),
            )
            for metric, d in comparison["differences"].items()
        ]
        if rows:
            title = f"{comparison['task']} against {payload['baseline']}, item by item"
            columns = ("metric", "difference", "95% interval", "p", "test", "items better", "worse")
            blocks.append(Table(columns, rows, title, frozenset({1, 2, 3, 5, 6})))
        blocks += [Line(f"{comparison['task']}: {note}", "dim") for note in comparison["notes"]]
    return blocks


def contamination_table(payload: Mapping[str, Any]) -> list[Block]:
    """Of every task with items that the model was trained on: its figures without them, and on them alone."""
    rows = []
    for part in payload.get("contamination", ()):
        for metric, figures in part["metrics"].items():
            shown = [_estimate(figures.get(side)) for side in ("clean", "seen")]
            rows.append((part["task"], metric, *shown))
    if not rows:
        return []
    said = "; ".join(
        f"{part['task']}: {part['seen']:,} of {part['items']:,} items occur in {', '.join(part['sources'])}"
        for part in payload["contamination"]
    )
    title = "Without the items that this model was trained on, and on them alone"
    return [Table(("task", "metric", "clean", "seen"), rows, title, frozenset({2, 3})), Line(said, "bad")]


def gate_blocks(payload: Mapping[str, Any]) -> list[Block]:
    """A table of the gates, and in words why those that stop a release do."""
    if not payload["gates"]:
        return []
    rows = []
    for gate in payload["gates"]:
        mark, _ = MARKS[gate["outcome"]]
        value = signed if gate["of_baseline"] else number
        bound = f"{gate['op']} {value(gate['bound'], gate['unit'])}" if gate["outcome"] != "skipped" else "-"
        needed = f"{gate['items_needed']:,}" if gate["items_needed"] else "-"
        rows.append(
            (
                f"{mark} {gate['outcome']}",
                gate["expr"],
                value(gate["value"], gate["unit"]),
                interval(gate["ci"], gate["unit"], plus=gate["of_baseline"]),
                bound,
                gate["items"],
                needed,
            )
        )
    columns = ("", "gate", "value", "95% interval", "required", "items", "would decide")
    lines = [
        Line(f"{MARKS[gate['outcome']][0]} {gate['expr']}: {gate['explanation']}", MARKS[gate["outcome"]][1])
        for gate in payload["gates"]
        if gate["outcome"] != "passed"
    ]
    return [Table(columns, rows, "Gates", frozenset({2, 3, 4, 5, 6})), *lines]


def systems_table(payload: Mapping[str, Any]) -> list[Block]:
    """For each task a table with a row for each system."""
    blocks: list[Block] = []
    for task in dict.fromkeys(row["task"] for row in payload["systems"]):
        rows = [row for row in payload["systems"] if row["task"] == task]
        names = short_names(payload)
        metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
        # A metric that is the same for all by its nature says nothing; times have columns of their own.
        shown = [name for name in metrics if not name.startswith("latency_")]
        timed = any("latency_p50" in row["metrics"] for row in rows)
        cells = []
        for row in rows:
            figures = [_estimate(row["metrics"].get(name)) for name in shown]
            extra = [_latency(row["metrics"]), _price(row["cost_per_1000"])] if timed else []
            peak = "-" if row["peak_bytes"] is None else size(row["peak_bytes"])
            cells.append((names[row["system"]], *figures, *extra, peak, row["items"]))
        times = ("p50 / p95", "cost / 1,000") if timed else ()
        columns = ("system", *shown, *times, "peak memory", "items")
        blocks.append(Table(columns, cells, task, frozenset(range(1, len(columns)))))
    return blocks


def pairs_table(payload: Mapping[str, Any], *, most: int | None = None) -> list[Block]:
    """The differences of every two systems, those that are significant first where not all have room."""
    pairs = payload["pairs"]
    if not pairs:
        return []
    names = short_names(payload)
    kept = pairs
    if most is not None and len(pairs) > most:
        kept = [pair for pair in pairs if pair["significant"]]
    rows = [
        (
            pair["task"],
            pair["metric"],
            f"{names[pair['second']]} - {names[pair['first']]}",
            signed(pair["difference"]["value"]),
            interval(pair["difference"]["ci"], plus=True),
            p_value(pair["adjusted_p"]),
            "yes" if pair["significant"] else "no",
        )
        for pair in kept
    ]
    columns = ("task", "metric", "systems", "difference", "95% interval", "p (Holm)", "significant")
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(columns, rows, "Differences, item by item", frozenset({3, 4, 5})))
    if len(kept) < len(pairs):
        blocks.append(Line(f"{len(pairs) - len(kept)} more differences are not significant; the page has them", "dim"))
    family = "p-values are corrected by Holm's method over all pairs of systems in one metric; significant is p < 0.05"
    return [*blocks, Line(family, "dim")]


def short_names(payload: Mapping[str, Any]) -> dict[str, str]:
    """The systems as tables name them: of an endpoint the model only, where that tells it from the others."""
    labels = list(dict.fromkeys(row["system"] for row in payload["systems"]))
    short = [_ENDPOINT.sub("", label) for label in labels]
    return dict(zip(labels, short if len(set(short)) == len(short) else labels, strict=True))


def headline(payload: Mapping[str, Any]) -> str:
    """`2 of 2 gates passed`, or how much was measured."""
    if payload.get("systems"):
        count = len({row["system"] for row in payload["systems"]})
        significant = sum(pair["significant"] for pair in payload["pairs"])
        return f"{count} systems; {significant} of {len(payload['pairs'])} differences are significant"
    gates = payload["gates"]
    if gates:
        skipped = sum(gate["outcome"] == "skipped" for gate in gates)
        said = f"{sum(gate['outcome'] == 'passed' for gate in gates)} of {len(gates)} gates passed"
        return said + (f", {skipped} skipped" if skipped else "")
    return f"{len(payload['results'])} metrics"


def gate_error(payload: Mapping[str, Any]) -> GateError | None:
    """The gates that did not pass, as an error."""
    failing = [gate for gate in payload["gates"] if gate["outcome"] in STOPPING]
    if not failing:
        return None
    words = "; ".join(f"{gate['expr']}: {gate['outcome']}" for gate in failing)
    more = [gate["items_needed"] for gate in failing if gate["outcome"] == "inconclusive" and gate["items_needed"]]
    mend = "see the table for values and intervals"
    if more and len(more) == len(failing):
        mend = f"about {max(more):,} items, from as many more documents in proportion, would decide it"
    return GateError(f"{len(failing)} of {len(payload['gates'])} gates did not pass: {words}", mend=mend)


def number(value: float, unit: str = "") -> str:
    if unit == "s":
        return f"{value:.3g} s" if abs(value) >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:.4g}"


def signed(value: float, unit: str = "") -> str:
    return number(value, unit) if value < 0 else f"+{number(value, unit)}"


def interval(ci: Sequence[float] | None, unit: str = "", *, plus: bool = False) -> str:
    if ci is None:
        return "-"
    each = signed if plus else number
    return f"[{each(ci[0], unit)}, {each(ci[1], unit)}]"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _estimate(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    shown = number(figure["value"], figure["unit"])
    return shown if figure["ci"] is None else f"{shown} {interval(figure['ci'], figure['unit'])}"


def _latency(metrics: Mapping[str, Any]) -> str:
    found = [metrics[name] for name in ("latency_p50", "latency_p95") if name in metrics]
    return " / ".join(number(each["value"], "s") for each in found) or "-"


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _notes(payload: Mapping[str, Any]) -> list[Block]:
    return [Line(note, "dim") for note in payload["notes"]]

"""`llmkit eval`: measure a model or an index, compare with a baseline on the same items, and gate a release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from llmkit.config.base import option
from llmkit.config.document import load_yaml
from llmkit.config.problems import Problem, raise_problems, translate
from llmkit.config.trust import leaves_this_machine
from llmkit.errors import GateError, UsageError
from llmkit.registry.refs import slug
from llmkit.reporting.blocks import Block, Line, Style, Table
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig

if TYPE_CHECKING:
    from llmkit.evaluation.result import TaskComparison, TaskResult
    from llmkit.evaluation.tasks import Suite
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

TASKS_FILE, GATES_FILE = "tasks.json", "gates.json"
MARKS: dict[str, tuple[str, Style]] = {"passed": ("✓", "good"), "failed": ("✗", "bad"), "inconclusive": ("?", "bad")}


class EvalConfig(StageConfig):
    """Options of `llmkit eval`."""

    suites: tuple[str, ...] = option(..., "YAML files of tasks.", argument="SUITE", min_length=1)
    model: str | None = option(None, "Model or adapter to measure.", command_line_only=leaves_this_machine)
    index: str | None = option(None, "Index to measure; the only one where a task needs one.")
    baseline: str | None = option(
        None, "Model, adapter or index to compare with, item by item.", command_line_only=leaves_this_machine
    )
    gate: tuple[str, ...] = option((), "Condition that must hold, such as 'f1>=0.70' or 'loss<=baseline-0.01'.")
    junit: str | None = option(None, "Write a JUnit XML file for CI.", keyed=False)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", keyed=False)


def inputs(cfg: EvalConfig, registry: Registry) -> Inputs:
    """The suites, every task's data, and what is measured; gates are checked against what will be measured."""
    from llmkit.evaluation.gate import check_unit, parse_gate, resolve
    from llmkit.evaluation.metrics.table import metric
    from llmkit.evaluation.tasks import KINDS, metrics_of
    from llmkit.stages.measuring import find_data

    suite = read_suites(cfg.suites)
    for text in cfg.gate:
        gate = parse_gate(text)
        check_unit(gate, metric(resolve(gate, metrics_of(suite))[1]).unit)
        if gate.baseline and cfg.baseline is None:
            raise UsageError(
                f"the gate '{text}' compares with a baseline, and none is named", mend="add --baseline REF"
            )
    needs = {KINDS[task.kind].needs for task in suite.root}
    found = Inputs()
    if cfg.model:
        found = found.joined(models.find_model(cfg.model, registry))
    elif "model" in needs:
        named = ", ".join(task.id for task in suite.root if KINDS[task.kind].needs == "model")
        raise UsageError(f"these tasks measure a model, and none is named: {named}", mend="add --model REF")
    if cfg.index or "index" in needs or (needs == {"either"} and not cfg.model):
        index = registry.resolve(cfg.index, "index") if cfg.index else registry.only("index")
        found = found.joined(Inputs({"index": index}))
    if cfg.baseline:
        found = found.joined(_baseline(cfg.baseline, registry))
    digests = {f"suite {name}": Raw(name, registry.input_digest([Path(name)]).digest) for name in cfg.suites}
    return found.joined(Inputs(raw=digests)).joined(find_data(suite, registry))


def run(cfg: EvalConfig, found: Inputs, ctx: Context) -> Outcome:
    """Measure the candidate, measure the baseline on the same items, compare, judge the gates."""
    from llmkit.evaluation.compare import compare
    from llmkit.evaluation.gate import judge, parse_gate
    from llmkit.stages.measuring import measure

    suite = read_suites(cfg.suites)
    results = measure(suite, found, "", cfg, ctx)
    comparisons: list[TaskComparison] | None = None
    if cfg.baseline:
        before = {result.task: result for result in measure(suite, found, "baseline-", cfg, ctx)}
        comparisons = [compare(result, before[result.task]) for result in results if result.task in before]
    gates = [judge(parse_gate(text), results, comparisons) for text in cfg.gate]
    rows = [row for result in results for row in _rows(result)]
    payload = {
        "results": rows,
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons or ()],
        "gates": [asdict(gate) for gate in gates],
        "baseline": cfg.baseline,
        "notes": [f"{result.task}: {note}" for result in results for note in result.notes],
    }
    metrics = {f"{row['task']}.{row['metric']}": row["value"] for row in rows}
    return Outcome([Made("report", _write(ctx.work / "report", results, payload))], metrics, payload)


def read_suites(files: Sequence[str]) -> Suite:
    """All tasks of all suite files.

    Raises:
        NotFoundError: a file is not there.
        ConfigError: with everything that is wrong with them, each with file and line.
    """
    from llmkit.evaluation.tasks import KINDS, Suite

    tasks: list[Any] = []
    problems: list[Problem] = []
    for name in files:
        file = load_yaml(Path(name))
        try:
            Suite.model_validate(file.values)
        except ValidationError as error:
            found = translate(error, lambda path: file.where(tuple(p for p in path if p not in KINDS)))  # noqa: B023
            # A suite with a wrong task is said to have too few as well.
            problems += [problem for problem in found if problem.key] or found
        else:
            tasks += file.values
    raise_problems(problems, mend="a suite is a list of tasks, each with a `kind`: see docs/eval.md")
    try:
        return Suite.model_validate(tasks)
    except ValidationError as error:
        raise_problems(translate(error, lambda path: ", ".join(files)))
        raise AssertionError("an invalid suite has problems") from error


def deliver(cfg: EvalConfig, artifacts: Sequence[Artifact]) -> None:
    """Write the JUnit file, also where the result was reused."""
    if cfg.junit is None:
        return
    from llmkit.evaluation.gate import GateResult
    from llmkit.evaluation.junit import junit_xml
    from llmkit.evaluation.result import TaskResult

    folder = artifacts[0].path
    results = [TaskResult.model_validate(row) for row in json.loads((folder / TASKS_FILE).read_text("utf-8"))]
    gates = [GateResult(**row) for row in json.loads((folder / GATES_FILE).read_text("utf-8"))]
    Path(cfg.junit).write_bytes(junit_xml(results, gates))


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """Every metric with its interval, the paired differences, and the gates."""
    rows = [
        (r["task"], r["metric"], _number(r["value"], r["unit"]), _interval(r["ci"], r["unit"]), r["n"])
        for r in payload["results"]
    ]
    blocks: list[Block] = [Table(("task", "metric", "value", "95% interval", "items"), rows, "", frozenset({2, 3, 4}))]
    for comparison in payload["comparisons"]:
        differences = [
            (
                metric,
                f"{d['value']:+.4g}",
                _interval(d["ci"], signed=True),
                _p(d["p_value"]),
                len(d["better"]),
                len(d["worse"]),
            )
            for metric, d in comparison["differences"].items()
        ]
        if differences:
            title = f"{comparison['task']} against {payload['baseline']}, item by item"
            columns = ("metric", "difference", "95% interval", "p", "items better", "worse")
            blocks.append(Table(columns, differences, title, frozenset({1, 2, 3, 4, 5})))
    blocks += [Line(note, "dim") for note in payload["notes"]]
    for gate in payload["gates"]:
        mark, style = MARKS[gate["outcome"]]
        blocks.append(Line(f"{mark} gate {gate['expr']}: {gate['outcome']}; {gate['explanation']}", style))
    return blocks


def headline(payload: Mapping[str, Any]) -> str:
    """`2 of 2 gates passed`, or how much was measured."""
    gates = payload["gates"]
    if gates:
        return f"{sum(gate['outcome'] == 'passed' for gate in gates)} of {len(gates)} gates passed"
    return f"{len(payload['results'])} metrics"


def gate_error(payload: Mapping[str, Any]) -> GateError | None:
    """The gates that did not pass, as an error."""
    failing = [gate for gate in payload["gates"] if gate["outcome"] != "passed"]
    if not failing:
        return None
    words = "; ".join(f"{gate['expr']}: {gate['outcome']}" for gate in failing)
    more = [gate["items_needed"] for gate in failing if gate["outcome"] == "inconclusive" and gate["items_needed"]]
    mend = "see the table for values and intervals"
    if more and len(more) == len(failing):
        mend = f"about {max(more):,} items, from as many more documents in proportion, would decide it"
    return GateError(f"{len(failing)} of {len(payload['gates'])} gates did not pass: {words}", mend=mend)


def default_name(cfg: EvalConfig, found: Inputs) -> str:
    """The first suite's name, as a report."""
    return slug(f"{Path(cfg.suites[0]).stem}-report")


def _baseline(ref: str, registry: Registry) -> Inputs:
    from llmkit.registry.refs import RegistryRef, parse

    if isinstance(parse(ref), RegistryRef):
        artifact = registry.resolve(ref)
        if artifact.kind == "index":
            return Inputs({"baseline-index": artifact})
    return models.find_model(ref, registry, role="baseline-model")


def _rows(result: TaskResult) -> list[dict[str, Any]]:
    return [
        {"task": result.task, "metric": name, **estimate.model_dump(mode="json")}
        for name, estimate in result.metrics.items()
    ]


def _write(folder: Path, results: Sequence[TaskResult], payload: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [result.model_dump(mode="json") for result in results]
    (folder / TASKS_FILE).write_text(json.dumps(tasks, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    (folder / GATES_FILE).write_text(json.dumps(payload["gates"], allow_nan=False), encoding="utf-8")
    return folder


def _number(value: float, unit: str = "") -> str:
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:.4g}"


def _interval(ci: Sequence[float] | None, unit: str = "", *, signed: bool = False) -> str:
    if ci is None:
        return "-"
    if signed:
        return f"[{ci[0]:+.4g}, {ci[1]:+.4g}]"
    return f"[{_number(ci[0], unit)}, {_number(ci[1], unit)}]"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


STAGE = Stage(
    name="eval",
    version=1,
    kind="report",
    config=EvalConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
    gate=gate_error,
    deliver=deliver,
)

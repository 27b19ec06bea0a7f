"""`llmkit eval`: measure a model or an index, compare with a baseline on the same items, and gate a release."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from llmkit.config.base import option
from llmkit.config.document import load_yaml
from llmkit.config.problems import Problem, raise_problems, translate
from llmkit.config.trust import leaves_this_machine
from llmkit.errors import NotFoundError, UsageError
from llmkit.registry.refs import RegistryRef, parse, slug
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.eval_view import gate_error, headline, show

if TYPE_CHECKING:
    from llmkit.evaluation.result import TaskComparison, TaskResult
    from llmkit.evaluation.tasks import Suite
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

TASKS_FILE, BASELINE_FILE, GATES_FILE = "tasks.json", "baseline.json", "gates.json"
BASELINE_REPORT = "baseline-report"


class EvalConfig(StageConfig):
    """Options of `llmkit eval`."""

    suites: tuple[str, ...] = option(..., "YAML files of tasks.", argument="SUITE", min_length=1)
    model: str | None = option(None, "Model or adapter to measure.", command_line_only=leaves_this_machine)
    index: str | None = option(None, "Index to measure; the only one where a task needs one.")
    reader: str | None = option(None, "Reader that marks the exact answer in the index's quotes, where no model is.")
    judge: str | None = option(
        None, "Model that judges the answers of `judge` tasks.", command_line_only=leaves_this_machine
    )
    baseline: str | None = option(
        None,
        "Model, adapter or index to compare with, item by item; or the report of an earlier evaluation.",
        command_line_only=leaves_this_machine,
    )
    allow_missing_baseline: bool = option(
        False, "Go on where the baseline does not exist yet; gates on it are skipped.", keyed=False
    )
    compare: tuple[str, ...] = option(
        (),
        "Systems to set side by side, such as base,lora,base+kb,lora+kb: a model, an index, or MODEL+INDEX.",
        commas=True,
        command_line_only=leaves_this_machine,
    )
    gate: tuple[str, ...] = option((), "Condition that must hold, such as 'f1>=0.70' or 'loss<=baseline-0.05'.")
    price_per_hour: float | None = option(None, "What an hour of this machine costs, for --compare.", gt=0)
    price_in: float | None = option(None, "What an endpoint takes for a million tokens it reads.", ge=0)
    price_out: float | None = option(None, "What an endpoint takes for a million tokens it writes.", ge=0)
    junit: str | None = option(None, "Write a JUnit XML file for CI.", keyed=False)
    summary: str | None = option(None, "Write a Markdown summary, such as GitHub's $GITHUB_STEP_SUMMARY.", keyed=False)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", keyed=False)


def inputs(cfg: EvalConfig, registry: Registry) -> Inputs:
    """The suites, every task's data, and what is measured; gates are checked against what will be measured."""
    from llmkit.evaluation.tasks import KINDS
    from llmkit.stages.measuring_data import find_data
    from llmkit.stages.systems import find_systems

    suite = read_suites(cfg.suites)
    _check_gates(cfg, suite)
    if cfg.compare:
        found = find_systems(cfg, suite, registry)
    else:
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
            found = found.joined(_baseline(cfg, registry))
    if cfg.judge:
        found = found.joined(models.find_model(cfg.judge, registry, role="judge"))
    if cfg.reader:
        found = found.joined(models.find_model(cfg.reader, registry, role="reader"))
    digests = {f"suite {name}": Raw(name, registry.input_digest([Path(name)]).digest) for name in cfg.suites}
    return found.joined(Inputs(raw=digests)).joined(find_data(suite, registry))


def run(cfg: EvalConfig, found: Inputs, ctx: Context) -> Outcome:
    """Measure the candidate, measure the baseline on the same items, compare, judge the gates."""
    from llmkit.evaluation.compare import compare
    from llmkit.evaluation.gate import judge, parse_gate
    from llmkit.stages.eval_report import rows_of, write_report
    from llmkit.stages.measuring import measure
    from llmkit.stages.seen import mark_seen, split_scores
    from llmkit.stages.systems import side_by_side

    suite = read_suites(cfg.suites)
    if cfg.compare:
        return side_by_side(suite, found, cfg, ctx)
    results = mark_seen(measure(suite, found, "", cfg, ctx), found, ctx)
    comparisons: list[TaskComparison] | None = None
    before: dict[str, TaskResult] = {}
    if cfg.baseline and (measured := _measure_baseline(suite, found, cfg, ctx)) is not None:
        before = {result.task: result for result in measured}
        comparisons = [compare(result, before[result.task]) for result in results if result.task in before]
    awaited = str(cfg.baseline) if cfg.baseline and comparisons is None else ""
    if awaited:
        ctx.reporter.warn(f"there is no baseline {awaited} yet: nothing is compared, and gates on it are skipped")
    gates = [judge(parse_gate(text), results, comparisons, awaited=awaited) for text in cfg.gate]
    rows = [row for result in results for row in rows_of(result)]
    payload = {
        "results": rows,
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons or ()],
        "gates": [asdict(gate) for gate in gates],
        "baseline": cfg.baseline,
        "failures": {result.task: len(result.failures) for result in results if result.failures},
        "contamination": split_scores(results),
        "notes": [f"{result.task}: {note}" for result in results for note in result.notes],
    }
    metrics = {f"{row['task']}.{row['metric']}": row["value"] for row in rows}
    folder = ctx.work / "report"
    write_report(folder, _title(cfg, found), payload, results, list(before.values()))
    return Outcome([Made("report", folder)], metrics, payload)


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
    """Write the files for CI, also where the result was reused."""
    if cfg.junit is None and cfg.summary is None:
        return
    from llmkit.evaluation.junit import junit_xml
    from llmkit.stages.eval_report import read_gates, read_results, write_summary

    folder = artifacts[0].path
    if cfg.junit is not None:
        Path(cfg.junit).write_bytes(junit_xml(read_results(folder / TASKS_FILE), read_gates(folder)))
    if cfg.summary is not None:
        payload = json.loads((folder / "result.json").read_text("utf-8"))
        write_summary(Path(cfg.summary), artifacts[0].ref, payload)


def default_name(cfg: EvalConfig, found: Inputs) -> str:
    """The first suite's name, as a report."""
    return slug(f"{Path(cfg.suites[0]).stem}-{'comparison' if cfg.compare else 'report'}")


def _check_gates(cfg: EvalConfig, suite: Suite) -> None:
    """Refuse, before anything is measured, gates that could not be decided, and options that exclude each other."""
    from llmkit.evaluation.gate import check_unit, parse_gate, resolve
    from llmkit.evaluation.metrics.table import metric
    from llmkit.evaluation.tasks import metrics_of

    if cfg.compare:
        for flag, value in (("--model", cfg.model), ("--index", cfg.index), ("--baseline", cfg.baseline)):
            if value:
                raise UsageError(f"--compare names all systems; {flag} names another", mend=f"leave {flag} out")
        if cfg.gate:
            raise UsageError(
                "a comparison has no candidate that a gate could be about",
                where=f"--gate {cfg.gate[0]}",
                mend="gate one system: --model A --index B, with --baseline C",
            )
    for text in cfg.gate:
        gate = parse_gate(text)
        check_unit(gate, metric(resolve(gate, metrics_of(suite))[1]).unit)
        if gate.baseline and cfg.baseline is None:
            raise UsageError(
                f"the gate '{text}' compares with a baseline, and none is named", mend="add --baseline REF"
            )


def _baseline(cfg: EvalConfig, registry: Registry) -> Inputs:
    ref = str(cfg.baseline)
    parsed = parse(ref)
    try:
        if isinstance(parsed, RegistryRef) and registry.versions(parsed.name):
            artifact = registry.resolve(ref)
            if artifact.kind == "index":
                return Inputs({"baseline-index": artifact})
            if artifact.kind == "report":
                return Inputs({BASELINE_REPORT: artifact})
        return models.find_model(ref, registry, role="baseline-model")
    except NotFoundError as error:
        may_come = isinstance(parsed, RegistryRef) and parsed.version is None
        if may_come and cfg.allow_missing_baseline:
            return Inputs()
        if may_come:
            error.mend = f"{error.mend}; or add --allow-missing-baseline, for the first run"
        raise


def _measure_baseline(suite: Suite, found: Inputs, cfg: EvalConfig, ctx: Context) -> list[TaskResult] | None:
    """The baseline's results: measured now, or those that a report holds; None where there is no baseline yet."""
    from llmkit.stages.eval_report import read_results
    from llmkit.stages.measuring import measure

    if (report := found.artifacts.get(BASELINE_REPORT)) is not None:
        if not (report.path / TASKS_FILE).is_file():
            raise UsageError(f"{report.ref} has no results of one system", mend="name the report of an `llmkit eval`")
        return read_results(report.path / TASKS_FILE)
    if not any(role.startswith("baseline-") for role in (*found.artifacts, *found.raw)):
        return None
    return measure(suite, found, "baseline-", cfg, ctx)


def _title(cfg: EvalConfig, found: Inputs) -> str:
    named = [found.artifacts[role].ref for role in ("model", "index") if role in found.artifacts]
    return " with ".join(named or [str(cfg.model)])


STAGE = Stage(
    name="eval",
    version=2,
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

"""`llmkit eval history NAME`: what the evaluations of a name measured, version by version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import NotFoundError, UsageError, closest
from llmkit.reporting.blocks import Block, Heading, Line, Plot, Table
from llmkit.reporting.curves import sparkline
from llmkit.stages.eval_view import interval, number

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

MEASURED = ("model", "index")
_SPARK_WIDTH = 24


@dataclass(frozen=True)
class Point:
    """A metric of one version.

    Attributes:
        version: of the artifact, or of the report itself where that was asked for.
        comparable: whether it was measured on the same items as the point before it.
    """

    version: int
    ref: str
    report: str
    value: float
    ci: tuple[float, float] | None
    unit: str
    n: int
    comparable: bool

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def history(name: str, registry: Registry, wanted: Sequence[str] = ()) -> dict[str, list[Point]]:
    """The points of each metric (`task.metric`), oldest version first.

    Args:
        name: of a report; or of a model, adapter or index, of each version of which the latest report counts that
            measured the metric.
        wanted: metrics, with or without their task; all, if none is named.

    Raises:
        NotFoundError: there is no such name, or nothing measured it.
        UsageError: a metric was never measured.
    """
    versions = registry.versions(name)
    if not versions:
        registry.resolve(name)  # raises, and names the closest
    artifacts = [registry.resolve(f"{name}@{version}") for version in versions]
    pairs = _reports(artifacts, registry)
    if not pairs:
        raise NotFoundError(
            f"no version of '{name}' has been evaluated", mend=f"llmkit eval SUITE --{_flag(artifacts[-1])} {name}"
        )
    found: dict[str, dict[int, tuple[Point, str]]] = {}
    for artifact, report in pairs:
        digests = _digests(report)
        for row in json.loads((report.path / "result.json").read_text(encoding="utf-8")).get("results", ()):
            if "system" in row:
                continue
            ci = None if row["ci"] is None else (row["ci"][0], row["ci"][1])
            point = Point(
                artifact.version, artifact.ref, report.ref, row["value"], ci, row["unit"], row["n"], comparable=True
            )
            key = f"{row['task']}.{row['metric']}"
            found.setdefault(key, {})[artifact.version] = (point, digests.get(row["task"], ""))
    chosen = [key for key in found if not wanted or key in wanted or key.partition(".")[2] in wanted]
    for each in wanted:
        if not any(each in (key, key.partition(".")[2]) for key in found):
            raise UsageError(
                f"{each} was never measured{closest(each, found)}", mend=f"measured are {', '.join(found)}"
            )
    return {key: _in_order(found[key]) for key in chosen}


def show(name: str, points: dict[str, list[Point]]) -> list[Block]:
    """A table with a row for each metric and its course, and one for each version."""
    rows = []
    for key, course in points.items():
        last, first = course[-1], course[0]
        curve = sparkline([point.value for point in course], _SPARK_WIDTH)
        change = number(last.value - first.value, last.unit) if len(course) > 1 else "-"
        rows.append((key, curve, number(first.value, first.unit), number(last.value, last.unit), change, len(course)))
    columns = ("metric", "course", "first", "last", "change", "versions")
    blocks: list[Block] = [Table(columns, rows, f"History of {name}", frozenset({2, 3, 4, 5}))]
    blocks += _details(points)
    return blocks


def page_blocks(points: dict[str, list[Point]]) -> list[Block]:
    """The same with a plot for each metric; its interval is drawn as two more curves."""
    blocks: list[Block] = []
    for key, course in points.items():
        curves = {key: [(float(point.version), point.value) for point in course]}
        bounded = [point for point in course if point.ci]
        if bounded:
            curves["lower end"] = [(float(point.version), point.ci[0]) for point in bounded if point.ci]
            curves["upper end"] = [(float(point.version), point.ci[1]) for point in bounded if point.ci]
        blocks += [Heading(key), Plot(curves, "", "version", key.partition(".")[2]), *_details({key: course})]
    return blocks


def _details(points: dict[str, list[Point]]) -> list[Block]:
    several = len(points) > 1
    rows = [
        (
            *((key,) if several else ()),
            point.ref,
            number(point.value, point.unit),
            interval(point.ci, point.unit),
            point.n,
            point.report,
            "" if point.comparable else "other items than before",
        )
        for key, course in points.items()
        for point in course
    ]
    names = (*(("metric",) if several else ()), "version", "value", "95% interval", "items", "report", "")
    numeric = frozenset(each + several for each in (1, 2, 3))
    blocks: list[Block] = [Table(names, rows, "", numeric)]
    if not all(point.comparable for course in points.values() for point in course):
        blocks.append(Line("figures on other items are not comparable with those before them", "bad"))
    return blocks


def _reports(artifacts: Sequence[Artifact], registry: Registry) -> list[tuple[Artifact, Artifact]]:
    """(version, report) pairs; later reports of a version come later."""
    if artifacts and artifacts[0].kind == "report":
        return [(report, report) for report in artifacts if report.manifest.command == "eval"]
    by_digest: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_digest.setdefault(artifact.digest, []).append(artifact)
    reports = sorted(registry.artifacts("report"), key=lambda report: report.manifest.ended)
    return [
        (artifact, report)
        for report in reports
        if report.manifest.command == "eval"
        for used in report.manifest.inputs
        if used.role in MEASURED
        for artifact in by_digest.get(used.digest, ())
    ]


def _digests(report: Artifact) -> dict[str, str]:
    """Which items each task of a report was measured on."""
    file = report.path / "tasks.json"
    if not file.is_file():
        return {}
    return {task["task"]: task["data_digest"] for task in json.loads(file.read_text(encoding="utf-8"))}


def _in_order(found: dict[int, tuple[Point, str]]) -> list[Point]:
    from dataclasses import replace

    course: list[Point] = []
    before: str | None = None
    for version in sorted(found):
        point, digest = found[version]
        course.append(replace(point, comparable=before in (None, digest)))
        before = digest
    return course


def _flag(artifact: Artifact) -> str:
    return "index" if artifact.kind == "index" else "model"

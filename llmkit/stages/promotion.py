"""Whether an artifact may be promoted: its own evaluations must have gates, and all of them must have passed.

A report speaks for an artifact only if it measured exactly these files (by digest), completely, and if the same
evaluation asked for today would measure the same things: the suites, their data, the other half of the system and the
baseline are resolved again and compared with what the report was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import GateError, LlmkitError
from llmkit.stages.eval import STAGE, EvalConfig
from llmkit.stages.eval_view import STOPPING

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

MEASURED = ("model", "index")
"""Roles of what an evaluation measures; `baseline-…` is what it compares with."""


@dataclass(frozen=True)
class Verdict:
    """What one report says of an artifact; `against` is empty where it may be promoted."""

    report: str
    gates: int
    against: str = ""


def check_promotion(artifact: Artifact, registry: Registry) -> list[Verdict]:
    """The reports that speak for this artifact.

    Of each report's name the latest on this artifact counts. One without gates says nothing, but at least one must
    have some.

    Raises:
        GateError: nothing speaks for it, or something against it; the message says what.
    """
    latest: dict[str, Artifact] = {}
    for report in registry.artifacts("report"):
        if report.manifest.command == STAGE.name and _role(report, artifact) is not None:
            latest[report.name] = report  # by name and version, so the last one is the latest
    if not latest:
        raise GateError(
            f"{artifact.ref} has not been evaluated: no report is of exactly these files ({artifact.digest[:12]})",
            mend=f"llmkit eval SUITE --{_flag(artifact)} {artifact.ref} --gate ...",
        )
    verdicts = [verdict(report, artifact, registry) for report in latest.values()]
    gated = [each for each in verdicts if each.gates]
    if not gated:
        reports = ", ".join(each.report for each in verdicts)
        raise GateError(
            f"{artifact.ref} was evaluated without gates: {reports}",
            mend=f"llmkit eval SUITE --{_flag(artifact)} {artifact.ref} --gate ...",
        )
    against = [each for each in gated if each.against]
    if against:
        words = "; ".join(f"{each.report}: {each.against}" for each in against)
        raise GateError(f"{artifact.ref} is not promoted: {words}", mend="evaluate it again when that is mended")
    return gated


def verdict(report: Artifact, artifact: Artifact, registry: Registry) -> Verdict:
    """What a report of an artifact says for or against it."""
    payload: dict[str, Any] = json.loads((report.path / "result.json").read_text(encoding="utf-8"))
    gates = payload.get("gates", [])
    stopping = [f"{gate['expr']} {gate['outcome']}" for gate in gates if gate["outcome"] in STOPPING]
    missing = payload.get("failures") or {}
    lost = sum(comparison.get("missing", 0) for comparison in payload.get("comparisons", ()))
    if stopping:
        return Verdict(report.ref, len(gates), ", ".join(stopping))
    if missing or lost:
        said = ", ".join(f"{count} items of {task}" for task, count in missing.items()) or f"{lost} items"
        return Verdict(report.ref, len(gates), f"it is of part of the data: {said} could not be evaluated")
    if gates and not any(gate["outcome"] == "passed" for gate in gates):
        return Verdict(report.ref, len(gates), "no gate was decided: all were skipped for want of a baseline")
    return Verdict(report.ref, len(gates), _stale(report, artifact, registry) if gates else "")


def _stale(report: Artifact, artifact: Artifact, registry: Registry) -> str:
    """In words, what has changed since the report was made; "" where nothing has."""
    manifest = report.manifest
    if manifest.stage_version != STAGE.version:
        return "it was made by another version of llmkit's evaluation"
    role = _role(report, artifact)
    try:
        cfg = EvalConfig.model_validate({**manifest.config, str(role): artifact.ref, "allow_missing_baseline": True})
        now = STAGE.inputs(cfg, registry).digests()
    except LlmkitError as error:
        return f"whether it still holds cannot be seen from here: {error}"
    except ValueError:
        return "it was made by another version of llmkit's evaluation"
    then = {used.role: used.digest for used in manifest.inputs}
    changed = [_named(each, manifest.config) for each in sorted({*then, *now}) if then.get(each) != now.get(each)]
    return f"it is stale: {', '.join(changed)} changed since" if changed else ""


def _named(role: str, config: Mapping[str, Any]) -> str:
    ref = config.get("baseline") if role.startswith("baseline") else config.get(role)
    return f"the {role} ({ref})" if ref else f"the {role}"


def _role(report: Artifact, artifact: Artifact) -> str | None:
    """What the artifact was in an evaluation: its model or its index; None where it was not what was measured."""
    return next(
        (used.role for used in report.manifest.inputs if used.role in MEASURED and used.digest == artifact.digest), None
    )


def _flag(artifact: Artifact) -> str:
    return "index" if artifact.kind == "index" else "model"

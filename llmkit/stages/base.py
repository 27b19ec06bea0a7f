"""What a command is made of, and the one way in which commands are executed.

A stage says what it takes (`inputs`), and makes it (`run`). Everything that all commands share is here, once: reuse of
a finished result, the workspace that survives an interruption, publishing, and the result that `--json` prints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from llmkit.config.base import Config, identity, option
from llmkit.config.resolve import Resolved
from llmkit.registry.artifact import Artifact, Draft, InputRef, Kind
from llmkit.registry.store import Registry
from llmkit.reporting.blocks import Block
from llmkit.reporting.reporter import Reporter

RESULT_FILE = "result.json"
RESULT_SCHEMA = 1


class StageConfig(Config):
    """Options that every command has."""

    name: str | None = option(None, "Name of what is made; chosen from the inputs where not given.", keyed=False)
    seed: int = option(0, "Seed of everything random.", ge=0)


C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Raw:
    """An input that is not an artifact: files, an endpoint, an installed encoder. `value` is what the stage found."""

    ref: str
    digest: str
    value: Any = None


@dataclass(frozen=True)
class Inputs:
    """What a command works from, by role, found before anything heavy is imported."""

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    raw: Mapping[str, Raw] = field(default_factory=dict)

    def refs(self) -> list[InputRef]:
        """As the manifest records them, with digests."""
        made = [InputRef(role=r, ref=a.ref, kind=a.kind, digest=a.digest) for r, a in self.artifacts.items()]
        return made + [InputRef(role=r, ref=raw.ref, kind=None, digest=raw.digest) for r, raw in self.raw.items()]

    def digests(self) -> dict[str, str]:
        return {ref.role: ref.digest for ref in self.refs()}


@dataclass(frozen=True)
class Context:
    """What running work is handed: exactly the registry, the reporter and a directory that survives an interruption."""

    registry: Registry
    reporter: Reporter
    work: Path


@dataclass(frozen=True)
class Made:
    """One artifact's content, ready to be published: a directory below the work directory.

    `suffix` is appended to the command's name, for an artifact that comes along (`corpus-tokenizer`).
    """

    kind: Kind
    directory: Path
    suffix: str = ""
    metrics: Mapping[str, object] = field(default_factory=dict)
    schema: str | None = None
    inputs: Sequence[InputRef] = ()


@dataclass(frozen=True)
class Outcome:
    """What `run` hands back. The first of `made` is the command's artifact; `payload` joins the JSON result."""

    made: Sequence[Made] = ()
    metrics: Mapping[str, object] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    resumed_from: int | None = None
    device: str = "cpu"
    finish: Callable[[Sequence[Artifact]], None] | None = None
    """Called with the published artifacts, for what lives beside them (an index's store)."""


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One command.

    Attributes:
        version: raised when the same config and inputs would now make something else; older results are then stale.
        config: its options.
        inputs: resolves what it takes; raises before anything is imported or done.
        run: does the work below `ctx.work`.
        default_name: the artifact's name where none is given; None where the command then makes no artifact.
        show: the result's payload as blocks for people; the same for a fresh and for a reused result.
        gate: exit code for a finished result, from its payload (eval's gates).
        resumable: whether an interrupted run goes on from what is in `ctx.work`.
    """

    name: str
    version: int
    config: type[C]
    inputs: Callable[[C, Registry], Inputs]
    run: Callable[[C, Inputs, Context], Outcome]
    default_name: Callable[[C, Inputs], str | None]
    show: Callable[[Mapping[str, Any]], Sequence[Block]]
    gate: Callable[[Mapping[str, Any]], int] = lambda payload: 0
    resumable: bool = False
    nameable_anew: bool = True
    """Whether a finished result can be reused under another name; an index cannot: its name is its store's."""


@dataclass(frozen=True)
class Mode:
    """How to treat what is already there."""

    force: bool = False
    restart: bool = False


@dataclass(frozen=True)
class Result:
    """What `--json` prints."""

    command: str
    artifacts: Sequence[Artifact]
    reused: bool
    resumed_from: int | None
    metrics: Mapping[str, object]
    warnings: Sequence[str]
    seconds: float
    payload: Mapping[str, Any]

    @property
    def artifact(self) -> Artifact | None:
        return self.artifacts[0] if self.artifacts else None

    def to_json(self) -> dict[str, Any]:
        described = [
            {
                "ref": a.ref,
                "kind": a.kind,
                "path": str(a.path),
                "digest": a.digest,
                "name": a.name,
                "version": a.version,
            }
            for a in self.artifacts
        ]
        return {
            "schema": RESULT_SCHEMA,
            "command": self.command,
            "artifact": described[0] if described else None,
            "artifacts": described,
            "reused": self.reused,
            "resumed_from": self.resumed_from,
            "metrics": dict(self.metrics),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            **self.payload,
        }


@dataclass(frozen=True)
class Plan:
    """What executing a stage would do, found without doing it."""

    action: Literal["reuse", "resume", "run"]
    why: str
    name: str | None
    key: str
    inputs: Inputs
    found: Sequence[Artifact] = ()


def plan(stage: Stage[C], cfg: C, registry: Registry, mode: Mode) -> Plan:
    """Resolve the inputs and say whether a finished result answers.

    Raises:
        LlmkitError: an input is not there or not usable.
    """
    from llmkit.registry.keys import reuse_key

    inputs = stage.inputs(cfg, registry)
    name = cfg.name or stage.default_name(cfg, inputs)
    chosen = dict(identity(cfg), **({} if stage.nameable_anew else {"name": name}))
    key = reuse_key(stage.name, stage.version, chosen, inputs.digests())
    found = registry.find_by_key(key) if name is not None else ()
    if found and not mode.force:
        return Plan("reuse", f"made before as {found[0].ref}", name, key, inputs, found)
    if not mode.restart and stage.resumable and registry.has_work(key):
        return Plan("resume", "an interrupted run left a checkpoint", name, key, inputs)
    return Plan("run", _why(stage, cfg, inputs, name, registry, forced=bool(found)), name, key, inputs)


def execute(stage: Stage[C], resolved: Resolved[C], registry: Registry, reporter: Reporter, mode: Mode) -> Result:
    """Do what a command asks: reuse, resume, or run and publish.

    Raises:
        LlmkitError: anything that stops it; whatever was published before is intact.
    """
    started = time.time()
    planned = plan(stage, resolved.config, registry, mode)
    if planned.action == "reuse":
        artifacts = _under_name(planned, registry)
        payload = _recorded(artifacts[0])
        return Result(
            stage.name, artifacts, True, None, artifacts[0].manifest.metrics, (), time.time() - started, payload
        )
    with registry.workspace(planned.key, restart=mode.restart) as work:
        outcome = stage.run(resolved.config, planned.inputs, Context(registry, reporter, work))
        artifacts = _publish(stage, resolved, planned, outcome, registry, reporter.warnings, started)
        if outcome.finish is not None:
            outcome.finish(artifacts)
    return Result(
        stage.name,
        artifacts,
        False,
        outcome.resumed_from,
        outcome.metrics,
        reporter.warnings,
        time.time() - started,
        outcome.payload,
    )

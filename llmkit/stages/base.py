"""What a command is made of, and the one way in which commands are executed.

A stage says what it takes (`inputs`), and makes it (`run`). Everything that all commands share is here, once: reuse of
a finished result, the workspace that survives an interruption, publishing, and the result that `--json` prints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from llmkit.config.base import identity, option, recorded
from llmkit.config.resolve import Resolved
from llmkit.config.sections import Seeded
from llmkit.errors import LlmkitError, UsageError
from llmkit.reporting.blocks import Block
from llmkit.reporting.reporter import Reporter, Silent
from llmkit.stages.changes import Changes
from llmkit.stages.result import Result

if TYPE_CHECKING:  # `--help` imports this module, and needs nothing of the registry
    from llmkit.registry.artifact import Artifact, DataSchema, Draft, InputRef, Kind
    from llmkit.registry.store import Registry

RESULT_FILE = "result.json"


class StageConfig(Seeded):
    """Options that every command has."""

    name: str | None = option(None, "Name of what is made; chosen from the inputs where not given.", keyed=False)


C = TypeVar("C", bound=StageConfig)
C_contra = TypeVar("C_contra", bound=StageConfig, contravariant=True)


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

    def joined(self, other: Inputs) -> Inputs:
        """These and others."""
        return Inputs({**self.artifacts, **other.artifacts}, {**self.raw, **other.raw})

    def refs(self) -> list[InputRef]:
        """As the manifest records them, with digests."""
        from llmkit.registry.artifact import InputRef

        made = [artifact.as_input(role) for role, artifact in self.artifacts.items()]
        return made + [InputRef(role=role, ref=raw.ref, digest=raw.digest) for role, raw in self.raw.items()]

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
    """One artifact's content, ready to be published: a directory below `ctx.work`.

    `suffix` is appended to the command's name, for an artifact that comes along (`corpus-tokenizer`).
    """

    kind: Kind
    directory: Path
    suffix: str = ""
    metrics: Mapping[str, object] = field(default_factory=dict)
    schema: DataSchema | None = None


@dataclass(frozen=True)
class Outcome:
    """What `run` hands back. The last of `made` is the command's artifact, the others come along with it.

    `payload` joins the JSON result, and is stored with the artifact so that a reused result says the same. `inputs` are
    what it was made from, where that changed while the work was done.
    """

    made: Sequence[Made] = ()
    metrics: Mapping[str, object] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    resumed_from: int | None = None
    device: str | None = None
    inputs: Inputs | None = None


@dataclass(frozen=True)
class Trial(Generic[C]):
    """Trying a command on a sample of its input: `run` gives the findings, JSON-ready, and `show` draws them."""

    run: Callable[[C, Inputs, int], Mapping[str, Any]]
    show: Callable[[Mapping[str, Any]], Sequence[Block]]


class Fetch(Protocol[C_contra]):
    """See `Stage.fetch`."""

    def __call__(self, cfg: C_contra, registry: Registry, reporter: Reporter, *, offline: bool) -> Any: ...


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One command.

    Attributes:
        version: raised when the same config and inputs would now make something else; older results are then stale.
        config: its options.
        inputs: resolves what it takes, from the config and the registry; raises before anything is imported or done.
        run: does the work below `ctx.work`.
        default_name: the artifact's name where none is given; None where the command then makes no artifact.
        show: the result's payload as blocks for people; the same for a fresh and for a reused result.
        kind: of the artifact it makes; `partners` come along under the name with a suffix.
        headline: the result in a few words, for an overview of many.
        unchanged: a finished result's payload as it reads when nothing had to be done about these inputs.
        gate: what a finished result fails, from its payload (eval's gates; an answer that Ctrl-C cut).
        deliver: writes what the options ask for outside the registry, for a reused result too.
        resumable: whether an interrupted run goes on from what is in `ctx.work`.
        renamable: whether a finished result can be reused under another name; an index's name is its store's.
        fetch: brings here what is not on this machine, before the inputs are resolved; `inputs` is handed what it
            returns. Offline, it uses what earlier runs fetched.
        part: which part of the work this run does, where several runs share one result; None for all of it. A part
            publishes nothing, and leaves what it did for the run that makes the whole.
        trial: the work tried on a sample, for `--dry-run N`.
        forecast: what the work will take, for `--dry-run`: `(JSON-ready, blocks)`.
        watch: where the options ask to be kept up to date, what tells of changes; else None.
    """

    name: str
    version: int
    kind: Kind
    config: type[C]
    inputs: Callable[..., Inputs]
    run: Callable[[C, Inputs, Context], Outcome]
    default_name: Callable[[C, Inputs], str | None]
    show: Callable[[Mapping[str, Any]], Sequence[Block]]
    headline: Callable[[Mapping[str, Any]], str]
    unchanged: Callable[[Mapping[str, Any], Inputs], Mapping[str, Any]] = lambda payload, found: payload
    gate: Callable[[Mapping[str, Any]], LlmkitError | None] = lambda payload: None
    deliver: Callable[[C, Sequence[Artifact]], None] = lambda cfg, artifacts: None
    partners: Mapping[Kind, str] = field(default_factory=dict)
    resumable: bool = False
    renamable: bool = True
    fetch: Fetch[C] | None = None
    part: Callable[[C], str | None] = lambda cfg: None
    trial: Trial[C] | None = None
    forecast: Callable[[C, Inputs, Registry], tuple[Mapping[str, Any], Sequence[Block]]] | None = None
    watch: Callable[[C, Registry], AbstractContextManager[Changes] | None] = lambda cfg, registry: None
    kind_of: Callable[[C], Kind] | None = None
    """The kind, where it depends on the options (a full fine-tuning makes a model, not an adapter)."""

    def names(self, cfg: C, name: str) -> dict[Kind, str]:
        """The name of each kind of artifact that the command makes under `name`; the main one first."""
        kind = self.kind_of(cfg) if self.kind_of else self.kind
        return {kind: name, **{partner: f"{name}{suffix}" for partner, suffix in self.partners.items()}}


@dataclass(frozen=True)
class Mode:
    """How to treat what is already there."""

    force: bool = False
    restart: bool = False


@dataclass(frozen=True)
class Plan:
    """What executing a stage would do, found without doing it."""

    action: Literal["reuse", "resume", "run"]
    why: str
    name: str | None
    key: str
    inputs: Inputs
    found: Sequence[Artifact] = ()


def plan(stage: Stage[C], cfg: C, registry: Registry, mode: Mode, reporter: Reporter | None = None) -> Plan:
    """Resolve the inputs and say whether a finished result answers.

    Args:
        reporter: hears of what is fetched; without one, nothing is fetched.

    Raises:
        LlmkitError: an input is not there or not usable.
    """
    from llmkit.registry.digests import reuse_key

    inputs = find_inputs(stage, cfg, registry, reporter)
    name = cfg.name or stage.default_name(cfg, inputs)
    names = stage.names(cfg, name) if name is not None else {}
    for kind, each in names.items():
        registry.check_free(each, kind)
    chosen = _identity(stage, cfg, name)
    key = reuse_key(stage.name, stage.version, chosen, inputs.digests())
    if name is None:
        return Plan("run", "makes no artifact", None, key, inputs)
    found = registry.find_by_key(key, names)
    if found and not mode.force:
        return Plan("reuse", f"made before as {found[-1].ref}", name, key, inputs, found)
    if stage.resumable and not mode.restart and _interrupted(registry, key):
        return Plan("resume", "an interrupted run left a checkpoint", name, key, inputs)
    why = "forced" if found else _why(name, chosen, inputs, registry)
    return Plan("run", why, name, key, inputs)


def _identity(stage: Stage[C], cfg: C, name: str | None) -> dict[str, Any]:
    return identity(cfg) if stage.renamable else {**identity(cfg), "name": name}


def execute(stage: Stage[C], resolved: Resolved[C], registry: Registry, reporter: Reporter, mode: Mode) -> Result:
    """Do what a command asks: reuse, resume, or run and publish.

    Raises:
        LlmkitError: anything that stops it; whatever was published before is intact.
    """
    started = datetime.now(UTC)
    planned = plan(stage, resolved.config, registry, mode, reporter)
    result = _reused(stage, resolved.config, planned, registry, started)
    if result is None:
        result = _run(stage, resolved, planned, Run(registry, reporter, mode, started))
    stage.deliver(resolved.config, result.artifacts)
    return result


@dataclass(frozen=True)
class Run:
    """What one execution has besides its plan."""

    registry: Registry
    reporter: Reporter
    mode: Mode
    started: datetime


def _reused(stage: Stage[C], cfg: C, planned: Plan, registry: Registry, started: datetime) -> Result | None:
    """The finished result that answers, under the name that was asked for."""
    if planned.action != "reuse" or planned.name is None:
        return None
    found = registry.reuse(planned.key, stage.names(cfg, planned.name))
    if found is None:
        return None
    main = found[-1]
    payload = stage.unchanged(_recorded(main), planned.inputs)
    return Result(stage.name, found[::-1], True, None, main.manifest.metrics, (), _since(started), payload)


def _run(stage: Stage[C], resolved: Resolved[C], planned: Plan, run: Run) -> Result:
    published: list[Artifact] = []
    with _workspace(planned, run, stage.part(resolved.config)) as work:
        outcome = stage.run(resolved.config, planned.inputs, Context(run.registry, run.reporter, work))
        planned = _as_it_was(stage, resolved.config, planned, outcome)
        for made in outcome.made if planned.name is not None else ():
            draft = _draft(stage, resolved, planned, run, (outcome, made))
            last = made is outcome.made[-1]
            if last:
                _record(made.directory, outcome.payload)
            # Until the last one closes the run, nothing of it counts as finished.
            completes = tuple(artifact.ref for artifact in published) if last else None
            published.append(run.registry.publish(made.directory, draft.model_copy(update={"completes": completes})))
    return Result(
        stage.name,
        published[::-1],
        False,
        outcome.resumed_from,
        outcome.metrics,
        run.reporter.warnings,
        _since(run.started),
        outcome.payload,
    )


def _as_it_was(stage: Stage[C], cfg: C, planned: Plan, outcome: Outcome) -> Plan:
    """The plan as it would have been made of what the work found: nothing is recorded as made of what it was not."""
    if outcome.inputs is None:
        return planned
    from llmkit.registry.digests import reuse_key

    chosen = _identity(stage, cfg, planned.name)
    key = reuse_key(stage.name, stage.version, chosen, outcome.inputs.digests())
    return replace(planned, inputs=outcome.inputs, key=key)


def find_inputs(stage: Stage[C], cfg: C, registry: Registry, reporter: Reporter | None) -> Inputs:
    """What a command works from; without a reporter, nothing is fetched for it."""
    if stage.fetch is None:
        return stage.inputs(cfg, registry)
    return stage.inputs(cfg, registry, stage.fetch(cfg, registry, reporter or Silent(), offline=reporter is None))


def _workspace(planned: Plan, run: Run, part: str | None) -> AbstractContextManager[Path]:
    """What makes an artifact works where an interruption leaves it; what only answers needs no registry to write to."""
    if planned.name is None:
        return _scratch()
    if part is not None:
        if run.mode.restart:
            raise UsageError(
                "one part cannot throw away what the others did", mend="give --restart to the run of the whole"
            )
        return run.registry.shared_workspace(planned.key, part)
    return run.registry.workspace(planned.key, restart=run.mode.restart)


@contextmanager
def _scratch() -> Iterator[Path]:
    with TemporaryDirectory(prefix="llmkit-") as folder:
        yield Path(folder)


def _draft(stage: Stage[C], resolved: Resolved[C], planned: Plan, run: Run, result: tuple[Outcome, Made]) -> Draft:
    from llmkit.registry.artifact import Draft
    from llmkit.registry.provenance import git_state, package_versions

    outcome, made = result
    return Draft(
        kind=made.kind,
        name=f"{planned.name}{made.suffix}",
        command=stage.name,
        stage_version=stage.version,
        key=planned.key,
        config=recorded(resolved.config),
        given=resolved.given,
        inputs=tuple(planned.inputs.refs()),
        git=git_state(Path.cwd()),
        packages=package_versions(),
        device=outcome.device,
        seed=resolved.config.seed,
        started=run.started,
        metrics=dict(made.metrics or outcome.metrics),
        warnings=tuple(run.reporter.warnings),
        schema=made.schema,
    )


def _record(folder: Path, payload: Mapping[str, Any]) -> None:
    if payload:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, indent=1)
        (folder / RESULT_FILE).write_text(text, encoding="utf-8")


def _recorded(artifact: Artifact) -> dict[str, Any]:
    file = artifact.path / RESULT_FILE
    payload: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return payload


def _why(name: str, chosen: Mapping[str, Any], inputs: Inputs, registry: Registry) -> str:
    """What differs from the latest artifact of that name."""
    from llmkit.registry.values import flat

    versions = registry.versions(name)
    if not versions:
        return "not made yet"
    latest = registry.resolve(f"{name}@{versions[-1]}")
    for ref in inputs.refs():
        before = next((used for used in latest.manifest.inputs if used.role == ref.role), None)
        if before is None or before.digest != ref.digest:
            return f"its {ref.role} changed: {ref.ref}"
    before_all = dict(flat(latest.manifest.config))
    for key, value in flat(chosen):
        was = before_all.get(key)
        if was != value:
            return f"{key} changed: {was} -> {value}"
    return "an earlier version of the command made it"


def _interrupted(registry: Registry, key: str) -> bool:
    folder = registry.layout.work / key
    return folder.is_dir() and any(folder.iterdir())


def _since(started: datetime) -> float:
    return (datetime.now(UTC) - started).total_seconds()

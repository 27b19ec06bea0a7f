"""A recipe's stages in order, each later one reading exactly what an earlier one made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.recipe import Recipe, RecipeStage
from llmkit.config.resolve import Layer, Resolved, environment_layer, project_layer, resolve, set_layer
from llmkit.errors import LlmkitError, NotFoundError, UsageError, closest
from llmkit.reporting.reporter import Reporter
from llmkit.stages.base import Mode, Plan, Stage, execute, plan
from llmkit.stages.result import Result
from llmkit.stages.table import STAGES, load

if TYPE_CHECKING:
    from llmkit.registry.store import Registry


@dataclass(frozen=True)
class Link:
    """One stage of a chain with its command and its options."""

    recipe: RecipeStage
    stage: Stage[Any]
    resolved: Resolved[Any]


@dataclass(frozen=True)
class Forecast:
    """What `--dry-run` says of one stage."""

    id: str
    command: str
    action: str
    why: str


@dataclass
class Pins:
    """Name -> version made by this very run, so that nobody else's newer version slips in between two stages."""

    versions: dict[str, int] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        for artifact in result.artifacts:
            self.versions[artifact.name] = artifact.version

    def view(self, registry: Registry) -> Registry:
        return registry.with_pins(self.versions)


def links(recipe: Recipe, assignments: Sequence[str], environment: Mapping[str, str], start: Path) -> list[Link]:
    """Every stage of the recipe with its options resolved: all options are checked before the first stage runs.

    Raises:
        ConfigError: an option is wrong; UsageError: a `--set` names no stage.
    """
    by_stage = _assignments(recipe, assignments)
    found = []
    for item in recipe.stages:
        stage = load(item.command)
        layers = [
            project_layer(stage.config, item.command, STAGES, start),
            item.layer(stage.config),
            environment_layer(stage.config, item.command, environment),
            set_layer(stage.config, by_stage[item.id]) if item.id in by_stage else Layer({}),
        ]
        found.append(Link(item, stage, resolve(stage.config, layers)))
    return found


def select(chain: Sequence[Link], only: Sequence[str], start: str | None) -> list[Link]:
    """The links that `--only` and `--from` leave.

    Raises:
        NotFoundError: an id that the recipe does not have.
    """
    ids = [link.recipe.id for link in chain]
    for name in (*only, *([start] if start else [])):
        if name not in ids:
            raise NotFoundError(f"no stage '{name}'{closest(name, ids)}", mend=f"stages: {', '.join(ids)}")
    kept = chain[ids.index(start) :] if start else chain
    return [link for link in kept if not only or link.recipe.id in only]


def run_chain(
    chain: Sequence[Link], registry: Registry, reporter: Reporter, mode: Mode
) -> Iterator[tuple[Link, Result]]:
    """Execute the links in order, yielding each result; what one makes is pinned for those after it."""
    pins = Pins()
    for number, link in enumerate(chain, start=1):
        reporter.info(f"[{number}/{len(chain)}] {link.recipe.id} · {link.stage.name}", style="heading")
        result = execute(link.stage, link.resolved, pins.view(registry), reporter, mode)
        pins.add(result)
        yield link, result


def forecast(chain: Sequence[Link], registry: Registry, mode: Mode) -> list[Forecast]:
    """What `run_chain` would do, found without doing it.

    A stage that reads what another will make anew cannot be judged yet: it runs unless that comes out the same.
    """
    pins = Pins()
    fresh: dict[str, str] = {}
    rows = []
    for link in chain:
        row, planned = _forecast(link, pins.view(registry), mode, fresh)
        rows.append(row)
        if planned is not None and planned.action == "reuse":
            pins.versions.update({artifact.name: artifact.version for artifact in planned.found})
        else:
            fresh.update(dict.fromkeys(_names(link, planned), link.recipe.id))
    return rows


def _forecast(link: Link, registry: Registry, mode: Mode, fresh: Mapping[str, str]) -> tuple[Forecast, Plan | None]:
    waits = sorted({made_by for name, made_by in fresh.items() if name in _words(link.resolved.config.model_dump())})
    if waits:
        why = f"reads what {', '.join(waits)} will make"
        return Forecast(link.recipe.id, link.stage.name, "run", why), None
    try:
        planned = plan(link.stage, link.resolved.config, registry, mode)
    except LlmkitError as error:
        return Forecast(link.recipe.id, link.stage.name, "fail", str(error)), None
    return Forecast(link.recipe.id, link.stage.name, planned.action, planned.why), planned


def _names(link: Link, planned: Plan | None) -> list[str]:
    name = planned.name if planned else link.resolved.config.name
    return [name, f"{name}-tokenizer"] if name else []


def _words(value: object) -> set[str]:
    """Every text value of a config, without version or tag."""
    if isinstance(value, dict):
        return {word for item in value.values() for word in _words(item)}
    if isinstance(value, list | tuple):
        return {word for item in value for word in _words(item)}
    return {value.partition("@")[0]} if isinstance(value, str) else set()


def _assignments(recipe: Recipe, assignments: Sequence[str]) -> dict[str, list[str]]:
    by_stage: dict[str, list[str]] = {}
    for assignment in assignments:
        stage_id, dot, rest = assignment.partition(".")
        if not dot:
            raise UsageError(f"--set {assignment}: name the stage too", mend="--set STAGE.option=value")
        by_stage.setdefault(recipe.stage(stage_id).id, []).append(rest)
    return by_stage

"""A recipe: stages in order, each one command with its options.

    stages:
      - id: corpus
        preprocess: {inputs: [docs/], name: corpus}
      - id: base
        pretrain: {data: corpus, name: base}

A file with one command key (`pretrain: {...}`) is the short form of a recipe with one stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmkit.config.base import Config
from llmkit.config.document import Path_, Yaml, load_yaml
from llmkit.config.problems import Problem, raise_problems
from llmkit.config.resolve import Layer, mapping_layer, require_section
from llmkit.errors import ConfigError, NotFoundError, UsageError, closest


@dataclass(frozen=True)
class RecipeStage:
    """One step of a recipe: its id, its command, and where its options stand in the file."""

    id: str
    command: str
    file: Yaml
    at: Path_

    @property
    def where(self) -> str:
        return self.file.where(self.at)

    def layer(self, config: type[Config]) -> Layer:
        return mapping_layer(config, self.file, self.at, "recipe")


@dataclass(frozen=True)
class Recipe:
    path: Path
    stages: tuple[RecipeStage, ...]

    def stage(self, stage_id: str) -> RecipeStage:
        """The stage of that id.

        Raises:
            NotFoundError: naming the closest.
        """
        for stage in self.stages:
            if stage.id == stage_id:
                return stage
        ids = [stage.id for stage in self.stages]
        raise NotFoundError(
            f"no stage '{stage_id}'{closest(stage_id, ids)}", where=str(self.path), mend=f"its stages: {', '.join(ids)}"
        )

    def for_command(self, command: str, stage_id: str | None) -> RecipeStage:
        """The one stage that `command --recipe` means.

        Raises:
            UsageError: there is none, or several and none was named.
        """
        if stage_id is not None:
            stage = self.stage(stage_id)
            if stage.command != command:
                raise UsageError(f"stage '{stage_id}' is {stage.command}, not {command}", where=stage.where)
            return stage
        fitting = [stage for stage in self.stages if stage.command == command]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            present = ", ".join(dict.fromkeys(stage.command for stage in self.stages))
            raise UsageError(f"has no stage for {command}", where=str(self.path), mend=f"it has: {present}")
        ids = ", ".join(stage.id for stage in fitting)
        raise UsageError(
            f"has several stages for {command}", where=str(self.path), mend=f"choose one by --stage: {ids}"
        )


def load_recipe(path: Path, commands: Iterable[str]) -> Recipe:
    """Read a recipe's shape; the options of each stage are checked when its layer is resolved.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: with all that is wrong with its shape.
    """
    file = load_yaml(path)
    top = file.mapping("a recipe")
    known = list(commands)
    if "stages" not in top:
        return Recipe(path, (_short_form(file, top, known),))
    problems = [Problem(str(key), "no such key beside 'stages'", file.where((key,))) for key in top if key != "stages"]
    items = top["stages"]
    if not isinstance(items, list) or not items:
        raise ConfigError("'stages' must be a list with at least one stage", where=file.where(("stages",)))
    stages: list[RecipeStage] = []
    for index, item in enumerate(items):
        at: Path_ = ("stages", index)
        if not isinstance(item, dict):
            problems.append(Problem(f"stages[{index}]", "must be {id: ..., COMMAND: {...}}", file.where(at)))
            continue
        found = [key for key in item if key in known]
        problems += [
            Problem(str(key), f"no such command{closest(str(key), [*known, 'id'])}", file.where((*at, key)))
            for key in item
            if key not in known and key != "id"
        ]
        if len(found) != 1:
            if not problems:
                problems.append(Problem(f"stages[{index}]", "must have exactly one command", file.where(at)))
            continue
        stage_id = str(item.get("id", found[0]))
        if stage_id in {stage.id for stage in stages}:
            problems.append(Problem(stage_id, "two stages have this id; give one another `id:`", file.where(at)))
        require_section(item[found[0]], file.where((*at, found[0])))
        stages.append(RecipeStage(stage_id, found[0], file, (*at, found[0])))
    raise_problems(problems)
    return Recipe(path, tuple(stages))


def _short_form(file: Yaml, top: dict[str, object], known: list[str]) -> RecipeStage:
    raise_problems(
        [
            Problem(str(key), f"no such command{closest(str(key), known)}", file.where((key,)))
            for key in top
            if key not in known
        ]
    )
    if len(top) != 1:
        raise ConfigError(
            "a recipe has `stages:`, or exactly one command as its key",
            where=str(file.path),
            mend=f"commands: {', '.join(known)}",
        )
    command = next(iter(top))
    require_section(top[command], file.where((command,)))
    return RecipeStage(command, command, file, (command,))

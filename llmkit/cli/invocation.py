"""How a command is called, apart from its options: where values come from, what is printed, whether to do it again."""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from llmkit.errors import Interrupted
from llmkit.reporting.inert import inert_json

if TYPE_CHECKING:
    from llmkit.config.base import Config
    from llmkit.config.resolve import Resolved
    from llmkit.registry.store import Registry
    from llmkit.reporting.reporter import Reporter
    from llmkit.stages.base import Plan, Stage
    from llmkit.stages.result import Result

PANEL = "Every command"


@dataclass(frozen=True)
class Invocation:
    """The flags every command has besides its own options."""

    recipe: str | None = None
    stage: str | None = None
    set: tuple[str, ...] = ()
    show_config: bool = False
    json: bool = False
    quiet: bool = False
    debug: bool = False
    force: bool = False
    restart: bool = False
    dry_run: bool = False
    sample: int | None = None

    @classmethod
    def take(cls, given: dict[str, Any]) -> Invocation:
        """Remove these flags from the parsed values and return them."""
        values = {f.name: given.pop(f.name, None) for f in fields(cls)}
        values["set"] = tuple(values["set"] or ())
        return cls(**{name: value for name, value in values.items() if value is not None})


def flag(name: str, kind: Any, text: str, *names: str, hidden: bool = False) -> inspect.Parameter:
    """One flag of the panel that every command shows last."""
    info: Any = typer.Option(*names, help=text, rich_help_panel=PANEL, show_default=False, hidden=hidden)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], info],  # noqa: UP045  # built at run time
    )


RECIPE = flag("recipe", str, "Take options from this recipe.", "--recipe")
STAGE = flag("stage", str, "Which stage of the recipe, where it has several.", "--stage")
SET = flag("set", list[str], "Set any option by its dotted path: --set a.b=value.", "--set")
SHOW_CONFIG = flag("show_config", bool, "Print every option and where its value comes from.", "--show-config")
JSON = flag("json", bool, "Print one machine-readable result on stdout.", "--json")
QUIET = flag("quiet", bool, "No progress; only results and errors.", "--quiet")
DEBUG = flag("debug", bool, "Show the stack trace of an error.", "--debug")
FORCE = flag("force", bool, "Do the work even where a finished result could be reused.", "--force")
RESTART = flag("restart", bool, "Throw away what an interrupted run left, and begin anew.", "--restart")
DRY_RUN = flag("dry_run", bool, "Say what would be done, and stop; N: try preprocessing on N documents.", "--dry-run")
SAMPLE = flag("sample", int, "The N of --dry-run N.", "--sample", hidden=True)

REPORT_PAGE = "report.html"
"""What an artifact has for people to read."""

FOR_STAGES = [RECIPE, STAGE, SET, SHOW_CONFIG, DRY_RUN, SAMPLE, FORCE, RESTART, JSON, QUIET, DEBUG]
FOR_REPORTS = [JSON, DEBUG]


def open_registry() -> Registry:
    """The registry that this directory and environment mean."""
    from llmkit.registry.layout import find_home
    from llmkit.registry.store import Registry

    return Registry(find_home(os.environ, Path.cwd()))


def resolve_stage(stage: Stage[Any], given: Mapping[str, Any], call: Invocation) -> Resolved[Any]:
    """A command's options from all five sources."""
    from llmkit.config.recipe import load_recipe
    from llmkit.config.resolve import Layer, environment_layer, flag_layer, project_layer, resolve, set_layer
    from llmkit.stages.table import STAGES

    recipe = Layer({})
    if call.recipe:
        recipe = load_recipe(Path(call.recipe), STAGES).for_command(stage.name, call.stage).layer(stage.config)
    return resolve(
        stage.config,
        [
            project_layer(stage.config, stage.name, STAGES, Path.cwd()),
            recipe,
            environment_layer(stage.config, stage.name, os.environ),
            set_layer(stage.config, call.set) if call.set else Layer({}),
            flag_layer(stage.config, given),
        ],
    )


def run_stage(stage: Stage[Any], given: Mapping[str, Any], call: Invocation) -> int:
    """One command from its parsed flags to its exit code."""
    resolved = resolve_stage(stage, given, call)
    if call.show_config:
        return print_config(resolved, as_json=call.json)
    from llmkit.cli.console import make_reporter
    from llmkit.stages.base import Mode, execute, plan

    registry = open_registry()
    mode = Mode(force=call.force, restart=call.restart)
    if call.sample is not None:
        return _print_trial(stage, resolved.config, registry, call)
    if call.dry_run:
        return _print_plan(stage, resolved.config, registry, plan(stage, resolved.config, registry, mode), call)
    if (watching := stage.watch(resolved.config, registry)) is not None:
        from llmkit.cli.following import follow

        return follow(stage, resolved, registry, call, watching)
    reporter = make_reporter(quiet=call.quiet or call.json)
    reporter.parts = parts = Parts(stage, reporter, as_json=call.json)
    result = execute(stage, resolved, registry, reporter, mode)
    print_result(stage, result, as_json=call.json, quiet=call.quiet, printed=parts.printed)
    return gate_code(stage, result)


def gate_code(stage: Stage[Any], result: Result) -> int:
    """0, or the exit code of the gates that the result fails, which are named on stderr."""
    failed = stage.gate(result.payload)
    if failed is None:
        return 0
    if isinstance(failed, Interrupted):
        raise failed  # what was said until then is printed; there is nothing to gate
    from llmkit.cli.edge import show_error

    show_error(failed, as_json=False)
    return failed.exit_code


class Parts:
    """Prints the parts of a result (a batch's answers) as they come, each in the shape that the whole would have."""

    def __init__(self, stage: Stage[Any], reporter: Reporter, *, as_json: bool) -> None:
        self.printed = 0
        self._stage, self._reporter, self._as_json = stage, reporter, as_json
        self._started = time.monotonic()

    def __call__(self, part: Mapping[str, Any]) -> None:
        if self._as_json:
            from llmkit.stages.result import Result

            seconds = time.monotonic() - self._started
            print_json(Result(self._stage.name, (), False, None, {}, self._reporter.warnings, seconds, part).to_json())
            sys.stdout.flush()
        else:
            from llmkit.cli.console import stdout_console
            from llmkit.cli.render import print_blocks

            print_blocks(stdout_console(), self._stage.show(part))
            sys.stdout.flush()
        self.printed += 1


def print_result(stage: Stage[Any], result: Result, *, as_json: bool, quiet: bool = False, printed: int = 0) -> None:
    """The result on stdout: one JSON object, or its blocks and a line about what was made.

    Args:
        printed: parts of it that were printed before.
    """
    if as_json:
        for line in result.json_lines()[printed:]:
            print_json(line)
        return
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import duration, print_blocks
    from llmkit.reporting.blocks import Line

    console = stdout_console()
    if printed:
        print_blocks(console, [Line(""), Line(stage.headline(result.payload), "dim")])
    else:
        print_blocks(console, stage.show(result.payload))
    if result.artifact is not None and not quiet:
        refs = ", ".join(f"{artifact.ref}" for artifact in result.artifacts)
        how = "reused" if result.reused else f"made in {duration(result.seconds)}"
        print_blocks(console, [Line(f"{result.artifact.kind} {refs} ({how})", "dim" if result.reused else "good")])
        if (page := result.artifact.path / REPORT_PAGE).is_file():
            print_blocks(console, [Line(f"report: {page}", "dim")])


def print_json(value: object) -> None:
    """One line of strict JSON on stdout."""
    typer.echo(inert_json(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)))


def print_config(resolved: Resolved[Any], *, as_json: bool) -> int:
    """Every option, its value, and who said so."""
    from llmkit.config.base import leaves

    origins = resolved.origins
    config: type[Config] = type(resolved.config)
    rows = [(leaf.key, leaf.value(resolved.config), origins[leaf.key]) for leaf in leaves(config)]
    if as_json:
        print_json({key: {"value": value, "origin": o.source, "where": o.where} for key, value, o in rows})
        return 0
    from llmkit.cli.console import stdout_console
    from llmkit.cli.options import shown
    from llmkit.cli.render import print_blocks
    from llmkit.reporting.blocks import Table

    cells = [(key, shown(value) or "-", origin.where) for key, value, origin in rows]
    print_blocks(stdout_console(), [Table(("option", "value", "from"), cells)])
    return 0


def _print_trial(stage: Stage[Any], cfg: Any, registry: Registry, call: Invocation) -> int:
    from llmkit.cli.console import make_reporter, stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.errors import UsageError
    from llmkit.stages.base import find_inputs

    if stage.trial is None:
        raise UsageError("only preprocessing can be tried on a sample of documents", mend="give --dry-run alone")
    if not call.sample:
        raise UsageError("a sample of no documents shows nothing", mend="give --dry-run N with N of at least 1")
    found = find_inputs(stage, cfg, registry, make_reporter(quiet=call.quiet or call.json))
    tried = stage.trial.run(cfg, found, call.sample)
    if call.json:
        print_json({"command": stage.name, "trial": tried})
        return 0
    print_blocks(stdout_console(), stage.trial.show(tried))
    return 0


def _print_plan(stage: Stage[Any], cfg: Any, registry: Registry, planned: Plan, call: Invocation) -> int:
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.reporting.blocks import Block, Table

    takes: Mapping[str, Any] = {}
    blocks: Sequence[Block] = ()
    if stage.forecast is not None and planned.action != "reuse":
        takes, blocks = stage.forecast(cfg, planned.inputs, registry)
    inputs = [ref.model_dump() for ref in planned.inputs.refs()]
    if call.json:
        facts = {"command": stage.name, "action": planned.action, "why": planned.why, "name": planned.name}
        print_json({**facts, "inputs": inputs, **({"takes": takes} if takes else {})})
        return 0
    rows = [("would", planned.action), ("because", planned.why), ("name", planned.name or "-")]
    rows += [(f"input {ref['role']}", f"{ref['ref']} ({ref['digest'][:12]})") for ref in inputs]
    print_blocks(stdout_console(), [Table((stage.name, ""), rows), *blocks])
    return 0

"""`llmkit run RECIPE`: the chain, with an overview of stages, times and results at its end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from llmkit.cli.invocation import PANEL, open_registry, print_json
from llmkit.stages.base import Mode
from llmkit.stages.chain import Forecast, Link, forecast, links, run_chain, select
from llmkit.stages.result import Result
from llmkit.stages.table import STAGES


def run(  # noqa: PLR0913  # each is a flag
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file with stages.", show_default=False)],
    only: Annotated[Optional[list[str]], typer.Option(help="Only this stage (repeatable).")] = None,  # noqa: UP045
    start: Annotated[Optional[str], typer.Option("--from", help="This stage and those after it.")] = None,  # noqa: UP045
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", help="Set an option of a stage: --set STAGE.option=value."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="A table: reuse or run, and why.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run every selected stage again.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin interrupted stages anew.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per stage.", rich_help_panel=PANEL)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only results and errors.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    from llmkit.config.recipe import load_recipe

    loaded = load_recipe(Path(recipe), STAGES)
    chain = select(links(loaded, set_ or (), os.environ, Path.cwd()), only or (), start)
    mode = Mode(force=force, restart=restart)
    if dry_run:
        return _print_forecast(forecast(chain, open_registry(), mode), as_json=json)
    return _execute(chain, mode, as_json=json, quiet=quiet)


COMMAND = run


def _execute(chain: list[Link], mode: Mode, *, as_json: bool, quiet: bool) -> int:
    from llmkit.cli.console import make_reporter
    from llmkit.cli.invocation import gate_code, print_result

    registry = open_registry()
    reporter = make_reporter(quiet=quiet or as_json)
    started = time.monotonic()
    done: list[tuple[Link, Result]] = []
    worst = 0
    for link, result in run_chain(chain, registry, reporter, mode):
        done.append((link, result))
        print_result(link.stage, result, as_json=as_json, quiet=quiet)
        worst = gate_code(link.stage, result)
        if worst:
            break
    if not as_json:
        _overview(done, time.monotonic() - started)
    return worst


def _overview(done: list[tuple[Link, Result]], seconds: float) -> None:
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import duration, print_blocks
    from llmkit.reporting.blocks import Line, Table
    from llmkit.stages.lineage import family_tree

    rows = []
    for link, result in done:
        made = result.artifact.ref if result.artifact else "-"
        how = "reused" if result.reused else "resumed" if result.resumed_from else "done"
        rows.append(
            (link.recipe.id, link.stage.name, how, duration(result.seconds), made, link.stage.headline(result.payload))
        )
    console = stdout_console()
    table = Table(("stage", "command", "", "time", "made", "result"), rows, "Overview", frozenset({3}))
    reused = sum(result.reused for _, result in done)
    line = f"{len(done)} stages in {duration(seconds)}" + (f"; {reused} reused" if reused else "")
    print_blocks(console, [table, Line(line, "heading"), Line(""), Line("Lineage", "heading")])
    artifacts = [artifact for _, result in done for artifact in result.artifacts]
    print_blocks(console, family_tree(open_registry(), artifacts))


def _print_forecast(rows: list[Forecast], *, as_json: bool) -> int:
    if as_json:
        for row in rows:
            print_json({"stage": row.id, "command": row.command, "action": row.action, "why": row.why})
    else:
        from llmkit.cli.console import stdout_console
        from llmkit.cli.render import print_blocks
        from llmkit.reporting.blocks import Table

        cells = [(row.id, row.command, row.action, row.why) for row in rows]
        print_blocks(stdout_console(), [Table(("stage", "command", "would", "because"), cells)])
    failing = [row for row in rows if row.action == "fail"]
    return 2 if failing else 0

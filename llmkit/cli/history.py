"""`llmkit eval history NAME`: a metric over versions, as a table with its course, as JSON, or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from llmkit.cli.invocation import PANEL, open_registry, print_json


def history(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A report, or a model, adapter or index.", show_default=False)
    ],
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045  # read by Typer
        typer.Option(help="Only this metric, as METRIC or TASK.METRIC (repeatable)."),
    ] = None,
    page: Annotated[Optional[str], typer.Option(help="Write an HTML page with plots to this file.")] = None,  # noqa: UP045
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    """What the evaluations of a name measured, version by version."""
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.registry.disk import writing
    from llmkit.stages.eval_history import history as collect
    from llmkit.stages.eval_history import page_blocks, show

    points = collect(name, open_registry(), metric or ())
    if page is not None:
        from llmkit.reporting.page import page as drawn

        with writing(Path(page).parent):
            Path(page).write_text(drawn(f"History of {name}", page_blocks(points)), encoding="utf-8")
    if json:
        print_json({"name": name, "metrics": {key: [p.to_json() for p in course] for key, course in points.items()}})
        return 0
    print_blocks(stdout_console(), show(name, points))
    return 0


COMMAND = history

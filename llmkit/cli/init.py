"""`llmkit init DIR`: writes the project, and says what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmkit.cli.invocation import PANEL, print_json


def init(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where; made if it is not there.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.reporting.blocks import Line
    from llmkit.stages.init import write_project

    written = write_project(Path(folder))
    if json:
        print_json({"folder": folder, "files": [str(path) for path in written]})
        return 0
    lines = [Line(f"+ {path}", "dim") for path in written]
    go = [] if Path(folder).resolve() == Path.cwd() else [Line(f"  cd {folder}")]
    said = [Line(f"a project of {len(written)} files", "good"), *go, Line("  llmkit run recipe.yaml")]
    print_blocks(stdout_console(), [*lines, *said])
    return 0


COMMAND = init

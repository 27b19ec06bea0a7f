"""`llmkit doctor`: the examination as a table, or as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.invocation import PANEL, open_registry, print_json


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one object.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    from dataclasses import asdict

    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.errors import UnavailableError
    from llmkit.reporting.blocks import Line, Style
    from llmkit.stages.doctor import State, examine

    styles: dict[State, tuple[str, Style]] = {"ok": ("✓", "good"), "note": ("·", "dim"), "missing": ("✗", "bad")}
    console = stdout_console()
    checks = []
    for check in examine(open_registry().home):
        checks.append(check)
        if not json:
            mark, style = styles[check.state]
            print_blocks(console, [Line(f"{mark} {check.name}: {check.finding}", style)])
            if check.mend:
                print_blocks(console, [Line(f"    {check.mend}")])
    missing = [check for check in checks if check.state == "missing"]
    if json:
        print_json({"checks": [asdict(check) for check in checks], "ok": not missing})
    return UnavailableError.exit_code if missing else 0


COMMAND = doctor

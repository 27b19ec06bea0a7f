"""`llmkit index repair NAME`: is an index whole, and if not, made so."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.invocation import PANEL, open_registry, print_json


def repair(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An index.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    """Check an index part by part against what it is made from, and make again what is not as it should be."""
    from llmkit.cli.console import make_reporter, stdout_console
    from llmkit.cli.edge import show_error
    from llmkit.cli.render import print_blocks
    from llmkit.errors import LlmkitError
    from llmkit.stages.repair import repair as mend
    from llmkit.stages.repair import show

    told = mend(name, open_registry(), make_reporter(quiet=quiet or json))
    if json:
        print_json(told)
    else:
        print_blocks(stdout_console(), show(told))
    for left in told["left"]:
        show_error(LlmkitError(left["message"], where=left["where"], mend=left["mend"]), as_json=False)
    return max((left["code"] for left in told["left"]), default=0)


COMMAND = repair

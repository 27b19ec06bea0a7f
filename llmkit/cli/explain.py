"""`llmkit preprocess explain NAME DOC_ID`: why a document is in a dataset, or is not."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.invocation import PANEL, open_registry, print_json


def explain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset of texts.", show_default=False)],
    document: Annotated[
        str,
        typer.Argument(
            metavar="DOC_ID",
            help="A document's id, its source (the end of a path), or a record's id.",
            show_default=False,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)] = False,
) -> int:
    """One document's story: every step, what it changed, and how it ended."""
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.stages.story import explain as tell
    from llmkit.stages.story import show

    registry = open_registry()
    story = tell(registry.resolve(name, "dataset"), document, registry)
    if json:
        print_json({key: value for key, value in story.items() if key != "text"})
        return 0
    print_blocks(stdout_console(), show(story))
    return 0


COMMAND = explain

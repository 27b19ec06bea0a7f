"""`llmkit config schema`: what an editor needs to complete and check recipes."""

from __future__ import annotations

import typer

from llmkit.cli.help import PlainCommand, PlainGroup
from llmkit.cli.invocation import print_json
from llmkit.stages.table import STAGES, load

COMMAND = typer.Typer(cls=PlainGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@COMMAND.callback()
def config() -> None:
    """About options: where they come from is shown by `--show-config` on each command."""


@COMMAND.command(cls=PlainCommand)
def schema() -> None:
    """Print the JSON Schema of recipes and project files."""
    from llmkit.config.schema import recipe_schema

    print_json(recipe_schema({name: load(name).config for name in STAGES}))

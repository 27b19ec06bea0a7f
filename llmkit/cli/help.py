"""Help pages: Typer's, written by its plain formatter and grouped into panels.

Typer's rich pages cost 90 ms of imports and layout, half of what a quick `--help` may take.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDTH = 110
"""Characters of a line at most: wider is hard to read."""
OPTIONS, COMMANDS = "Options", "Commands"


class PlainCommand(TyperCommand):
    """A command whose help page is quick."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _page(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """A group of commands whose help page is quick."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _page(self, ctx, formatter)
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panel = getattr(command, "rich_help_panel", None)
            panels.setdefault(panel if isinstance(panel, str) else COMMANDS, []).append((name, command.help or ""))
        _sections(formatter, panels)


def _page(command: Any, ctx: Any, formatter: Any) -> None:
    formatter.write_usage(ctx.command_path, " ".join(command.collect_usage_pieces(ctx)))
    if command.help:
        formatter.write_paragraph()
        formatter.write_text(command.help)
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            name = getattr(parameter, "rich_help_panel", None)
            panel = name if isinstance(name, str) else "Arguments" if _is_argument(parameter) else OPTIONS
            panels.setdefault(panel, []).append(record)
    _sections(formatter, panels)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _sections(formatter: Any, panels: dict[str, list[tuple[str, str]]]) -> None:
    for name, rows in panels.items():
        heading = typer.style(name, bold=True) if sys.stdout.isatty() else name
        with formatter.section(heading):
            formatter.write_dl(rows)

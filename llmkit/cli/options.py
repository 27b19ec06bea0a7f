"""From a Config to Typer flags: the only place where options and the command line meet."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Optional

import typer

from llmkit.config.base import Config, Leaf, leaves


def parameters(config: type[Config]) -> list[inspect.Parameter]:
    """Keyword parameters with Typer annotations, one an option.

    All default to None, which means "not given": a recipe's value then survives.
    """
    return [_parameter(leaf) for leaf in leaves(config)]


def _parameter(leaf: Leaf) -> inspect.Parameter:
    kind: Any = leaf.item_type
    help_text = leaf.help
    if leaf.many and leaf.choices:
        kind = str  # Typer knows no lists of choices; the config checks them
        help_text = f"{help_text[:-1]}: {', '.join(leaf.choices)}."
    elif leaf.traits.commas or (kind not in (int, float, bool) and not leaf.choices):
        kind = str
    annotation = list[kind] if leaf.many else kind
    if leaf.traits.argument is not None:
        info: Any = typer.Argument(help=help_text, metavar=_metavar(leaf), show_default=False)
    else:
        flag = f"{leaf.flag}/--no-{leaf.flag[2:]}" if kind is bool else leaf.flag
        names = [flag, leaf.traits.short] if leaf.traits.short else [flag]
        if default := shown(leaf.default):
            help_text += f" (default: {default})"
        info = typer.Option(
            *names, help=help_text, metavar=_metavar(leaf), show_default=False, rich_help_panel=leaf.panel
        )
    return inspect.Parameter(
        leaf.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[annotation], info],  # noqa: UP045  # built at run time
    )


def shown(default: Any) -> str:
    """A default as help and docs print it."""
    if default is None or default == () or default == "":
        return ""
    if isinstance(default, tuple):
        return ", ".join(str(item) for item in default)
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)


def _metavar(leaf: Leaf) -> str | None:
    if leaf.traits.argument is not None:
        return f"{leaf.traits.argument}..." if leaf.many else leaf.traits.argument
    if leaf.traits.commas:
        return "NUMBER[,NUMBER]" if leaf.item_type in (int, float) else "NAME[,NAME]"
    return "<str>..." if leaf.many else None


def signature(groups: Sequence[Sequence[inspect.Parameter]]) -> inspect.Signature:
    """One signature of several groups of parameters."""
    return inspect.Signature([parameter for group in groups for parameter in group])

"""The command line. Commands are a table; only the one that is called is imported, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import typer

from llmkit import __version__
from llmkit.cli.edge import guarded
from llmkit.cli.help import WIDTH, PlainCommand, PlainGroup
from llmkit.stages.table import STAGES, load

TOOLS: dict[str, tuple[str, str]] = {
    "init": ("llmkit.cli.init", "Write a small project that runs as it is: documents, a recipe, a suite, a workflow."),
    "run": ("llmkit.cli.run", "Run a recipe's stages in order; only what is stale runs again."),
    "registry": ("llmkit.cli.registry", "What was made, from what, and whether it is intact."),
    "questions": (
        "llmkit.cli.questions",
        "What was asked on this machine, and what was answered; to read or to delete.",
    ),
    "config": ("llmkit.cli.config", "JSON Schema of recipes, for editors."),
    "plan": ("llmkit.cli.plan", "What a training run will take: memory, time, energy; and what would make it fit."),
    "doctor": ("llmkit.cli.doctor", "What this machine can do, and what is missing."),
}
"""Commands that are not stages: module and help."""

BELOW: dict[str, tuple[str, str]] = {
    "index repair": ("llmkit.cli.repair", "NAME, is the index whole; what is not is made again."),
    "finetune-lora preview": ("llmkit.cli.preview", "--model M --data D, what would be learned, token by token."),
    "eval history": ("llmkit.cli.history", "NAME, a metric over the versions of a model, an index or a report."),
    "preprocess explain": ("llmkit.cli.explain", "NAME DOC_ID, why a document is in a dataset or is not."),
}
"""Commands below a stage's command, by both words."""

LIFE, AROUND = "A model's life", "Around it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = _joined(list(sys.argv[1:] if argv is None else argv)) or ["--help"]
    if "--debug" not in arguments:
        # What libraries announce to programmers; their users can do nothing about it.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
    if "WORLD_SIZE" in os.environ:
        from llmkit.cli.worker import among_others

        return among_others(lambda: _run(arguments))
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    app = build_app(_called(arguments))
    return guarded(
        lambda: app(args=arguments, prog_name="llmkit", standalone_mode=False),
        as_json="--json" in arguments,
        debug="--debug" in arguments,
    )


def build_app(called: str | None = None) -> typer.Typer:
    """The application: `called` with all its flags, every other command by name and help only."""
    app = typer.Typer(
        cls=PlainGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
        help="One toolkit for the whole life of a language model: from files to a model, an index, answers and a gate.",
    )
    app.callback()(_version_flag)
    for name, text in STAGES.items():
        function = stage_command(name) if name == called else _placeholder
        more = "".join(
            f"\n\nAlso: llmkit {words} {said}"
            for words, (_, said) in BELOW.items()
            if words.split()[0] == name == called
        )
        app.command(name, cls=PlainCommand, help=text + more, rich_help_panel=LIFE)(function)
    if called in BELOW:
        app.command(called, cls=PlainCommand, hidden=True)(import_module(BELOW[called][0]).COMMAND)
    for name, (module, text) in TOOLS.items():
        if name != called:
            app.command(name, cls=PlainCommand, help=text, rich_help_panel=AROUND)(_placeholder)
            continue
        tool = import_module(module).COMMAND
        if isinstance(tool, typer.Typer):
            app.add_typer(tool, name=name, help=text, rich_help_panel=AROUND)
        else:
            app.command(name, cls=PlainCommand, help=text, rich_help_panel=AROUND)(tool)
    return app


def stage_command(name: str) -> Callable[..., int]:
    """The function behind a stage's command, with a signature made of its Config."""
    from llmkit.cli.invocation import FOR_STAGES, Invocation, run_stage
    from llmkit.cli.options import parameters, signature

    stage = load(name)

    def command(**given: Any) -> int:
        call = Invocation.take(given)
        return run_stage(stage, given, call)

    command.__signature__ = signature([parameters(stage.config), FOR_STAGES])  # type: ignore[attr-defined]  # read by Typer
    command.__name__ = name.replace("-", "_")
    return command


def _joined(arguments: list[str]) -> list[str]:
    """The arguments with a command of two words as one, and the N of `--dry-run N` as a flag of its own."""
    if " ".join(arguments[:2]) in BELOW:
        arguments = [" ".join(arguments[:2]), *arguments[2:]]
    for position, (flag, value) in enumerate(pairwise(arguments)):
        if flag == "--dry-run" and value.isdecimal():
            return [*arguments[: position + 1], "--sample", *arguments[position + 1 :]]
    return arguments


def _called(arguments: Sequence[str]) -> str | None:
    """The command among the arguments: the first that is not a flag."""
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _placeholder() -> None:
    """Stands for a command that was not called; never runs."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmkit {__version__}")
        raise typer.Exit()


def _version_flag(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, help="Print the version and stop.", is_eager=True
    ),
) -> None:
    """Declares the flag; its callback does the work."""

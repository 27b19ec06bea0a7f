"""`llmkit questions`: what was asked on this machine; list, show, clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from llmkit.cli.help import PlainCommand, PlainGroup
from llmkit.cli.invocation import PANEL, open_registry, print_json

if TYPE_CHECKING:
    from llmkit.reporting.blocks import Block
    from llmkit.traces.log import Trace

COMMAND = typer.Typer(cls=PlainGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.", rich_help_panel=PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)]
SHOWN = 70
"""Characters of a question in a table."""


@COMMAND.callback()
def questions() -> None:
    """Questions that were asked here, with their answers; kept on this machine only."""


@COMMAND.command("list", cls=PlainCommand)
def list_(
    most: Annotated[int, typer.Option("--most", help="How many of the latest.", min=1)] = 20,
    unanswered: Annotated[bool, typer.Option("--unanswered", help="Only those that nothing answered.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """The latest questions, latest first."""
    from llmkit.reporting.blocks import Line, Table
    from llmkit.stages.question_log import trace_log
    from llmkit.traces.log import to_json

    found = trace_log(open_registry()).traces(most, abstained=True if unanswered else None)
    if json:
        for trace in found:
            print_json(to_json(trace))
        return 0
    rows = [(trace.id, _when(trace), _short(trace.question), _outcome(trace)) for trace in found]
    _print([Table(("id", "asked", "question", ""), rows)] if rows else [Line("no questions recorded", "dim")])
    return 0


@COMMAND.command(cls=PlainCommand)
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", show_default=False)], json: Json = False, debug: Debug = False
) -> int:
    """One question: its answer, what it was made with, and the passages."""
    from llmkit.errors import NotFoundError, closest
    from llmkit.reporting.blocks import Line, Quote, Table
    from llmkit.stages.answers import reachable
    from llmkit.stages.question_log import trace_log
    from llmkit.traces.log import to_json

    log = trace_log(open_registry())
    trace = log.find(identity)
    if trace is None:
        known = [each.id for each in log.traces(1000)]
        raise NotFoundError(f"no question {identity}{closest(identity, known)}", mend="see `llmkit questions list`")
    if json:
        print_json(to_json(trace))
        return 0
    facts = [("asked", _when(trace)), ("took", f"{trace.seconds:.2f} s"), ("scrubbed", "yes" if trace.scrubbed else "")]
    facts += [(used.role, f"{used.ref} ({used.digest[:12]})") for used in trace.used]
    blocks: list[Block] = [Line(trace.question, "heading"), Quote(trace.answer)]
    blocks.append(Table(("", ""), [(name, value) for name, value in facts if value]))
    places = [
        (reachable(p.source) + (f", record {p.record}" if p.record else ""), p.start, p.end, f"{p.score:.3f}", p.cited)
        for p in trace.passages
    ]
    if places:
        blocks.append(Table(("passage", "from", "to", "score", "cited"), places, "", frozenset({1, 2, 3})))
    _print(blocks)
    return 0


@COMMAND.command(cls=PlainCommand)
def clear(
    older: Annotated[
        Optional[float],  # noqa: UP045  # Typer reads it at run time
        typer.Option("--older-than", help="Only those asked more than so many days ago.", min=0, show_default=False),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Delete what was recorded, for good."""
    from datetime import UTC, datetime, timedelta

    from llmkit.reporting.blocks import Line
    from llmkit.stages.question_log import trace_log

    before = None if older is None else datetime.now(UTC) - timedelta(days=older)
    count = trace_log(open_registry()).clear(before)
    if json:
        print_json({"deleted": count})
    else:
        _print([Line(f"{count:,} question{'' if count == 1 else 's'} deleted")])
    return 0


def _when(trace: Trace) -> str:
    return trace.asked.astimezone().strftime("%Y-%m-%d %H:%M") if trace.asked else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _outcome(trace: Trace) -> str:
    if trace.abstained:
        return "not answered"
    cited = sum(passage.cited for passage in trace.passages)
    return f"{cited} passage{'' if cited == 1 else 's'} cited" if trace.passages else "a model's words"


def _print(blocks: Sequence[Block]) -> None:
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks

    print_blocks(stdout_console(), blocks)

"""A command that stays, and does its work again whenever its inputs change."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llmkit.cli.console import make_reporter, stdout_console
from llmkit.cli.edge import show_error
from llmkit.cli.invocation import Invocation, print_json, print_result
from llmkit.cli.render import print_blocks
from llmkit.errors import Interrupted, LlmkitError, Terminated
from llmkit.reporting.blocks import Line
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Mode, Stage, execute
from llmkit.stages.changes import Changes

if TYPE_CHECKING:
    from llmkit.config.resolve import Resolved
    from llmkit.registry.store import Registry
    from llmkit.stages.result import Result

TRY_AGAIN_SECONDS = 15
"""After a failure that may pass by itself: another writer, a full disk."""


def follow(
    stage: Stage[Any],
    resolved: Resolved[Any],
    registry: Registry,
    call: Invocation,
    watching: AbstractContextManager[Changes],
) -> int:
    """Run the command, then again at each change; a line for each result that is new. It ends by a signal only.

    A first run that fails ends it; what fails later is said, once, and tried again.

    Raises:
        Interrupted: always, unless a run or the watching fails for good.
    """
    quiet = call.quiet or call.json
    with watching as changes:
        reporter = make_reporter(quiet=quiet)
        last = execute(stage, resolved, registry, reporter, Mode(force=call.force, restart=call.restart))
        print_result(stage, last, as_json=call.json, quiet=call.quiet)
        reporter.info(f"watching {changes.of}; Ctrl-C ends it", style="dim")
        said = ""
        while True:
            try:
                changes.wait(TRY_AGAIN_SECONDS if said else None)
                found = execute(stage, resolved, registry, hears := Silent(), Mode())
            except KeyboardInterrupt:
                ref = last.artifact.ref if last.artifact else "what was made before"
                raise Interrupted(f"watching ended; {ref} is intact", mend="start it again to go on") from None
            except (Interrupted, Terminated):
                raise
            except LlmkitError as error:
                if str(error) != said:
                    show_error(error, as_json=False)
                said = str(error)
                continue
            said = ""
            for warning in hears.warnings:
                reporter.warn(warning)
            if _ref(found) != _ref(last):
                _print_update(stage, found, call)
                last = found


def _ref(result: Result) -> str:
    return result.artifact.ref if result.artifact else ""


def _print_update(stage: Stage[Any], result: Result, call: Invocation) -> None:
    if call.json:
        for line in result.json_lines():
            print_json(line)
        return
    lines = [block.text for block in stage.show(result.payload) if isinstance(block, Line)]
    when = datetime.now().astimezone().strftime("%H:%M:%S")
    print_blocks(stdout_console(), [Line(f"{when}  {_ref(result)}  {'; '.join(lines)}")])

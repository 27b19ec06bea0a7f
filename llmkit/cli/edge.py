"""The edge: the one place where exceptions become a message, a hint and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from llmkit.errors import (
    BUG_EXIT_CODE,
    Interrupted,
    LlmkitError,
    RunError,
    Terminated,
    UsageError,
    closest,
)


def guarded(work: Callable[[], int | None], *, as_json: bool, debug: bool) -> int:
    """Run `work`; return its exit code, or that of the error it ended with, after showing the error.

    With `as_json` the error is printed on stdout as one object as well; with `debug` the stack trace goes to stderr.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = work() or 0
        if code == Interrupted.exit_code:  # the parser has turned Ctrl-C into a code
            raise KeyboardInterrupt
        return code
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing and do not let the interpreter complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 1
        if debug:
            traceback.print_exc()
        known = as_known(error)
        if known is None:
            return _bug(error, as_json, debug)
        show_error(known, as_json=as_json)
        return known.exit_code


def as_known(error: BaseException) -> LlmkitError | None:
    """The deliberate error that `error` amounts to, or None where it is a bug of ours."""
    if isinstance(error, LlmkitError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted; nothing half-done was kept as a result", mend="run it again to go on")
    if isinstance(error, OSError):
        from llmkit.registry.disk import storage_error

        return storage_error(error, Path(error.filename or "."))
    if isinstance(error, MemoryError):
        return RunError("out of memory", mend="use a smaller --batch-size, or a smaller model")
    if hasattr(error, "format_message"):  # the command-line parser's own errors; its classes are private
        where, message = _parser_words(str(error.format_message()))
        return UsageError(message, where=where, mend=_usage_hint(error))
    return None


_INVALID = re.compile(r"Invalid value for '(?:[^']* / )?(--?[^' ]+)'?[^:]*: (.*)", re.DOTALL)
_NOT_ONE_OF = re.compile(r"(?:Value error, )?'(.*)' is not one of (.*)\.")
_NUMBERS = {"valid integer": "must be a whole number", "valid number": "must be a number"}


def _parser_words(message: str) -> tuple[str | None, str]:
    """The flag that the parser complains of, and its complaint in the words that we use elsewhere."""
    invalid = _INVALID.match(message)
    if not invalid:
        return None, message
    flag, said = invalid[1], invalid[2]
    if choice := _NOT_ONE_OF.fullmatch(said):
        choices = [each.strip().strip("'") for each in choice[2].split(",")]
        return flag, f"must be one of {', '.join(choices)}, not '{choice[1]}'{closest(choice[1], choices)}"
    number = next((words for sign, words in _NUMBERS.items() if sign in said), None)
    return flag, number or said.removeprefix("Value error, ")


def show_error(error: LlmkitError, *, as_json: bool) -> None:
    """The error's message, place and mend on stderr; with `as_json` also as an object on stdout."""
    if as_json:
        body = {"code": error.code, "message": error.message, "where": error.where, "mend": error.mend}
        print(json.dumps({"error": body}, ensure_ascii=False), flush=True)
    from rich.console import Console
    from rich.text import Text

    from llmkit.cli.render import inert

    console = Console(stderr=True, highlight=False)
    head = Text("error: ", style="bold red")
    if error.where:
        head.append(f"{inert(error.where)}: ", style="bold")
    console.print(head.append(inert(error.message), style=""), soft_wrap=True)
    if error.mend:
        console.print(Text("  hint: ", style="cyan").append(inert(error.mend), style=""), soft_wrap=True)


def _bug(error: BaseException, as_json: bool, debug: bool) -> int:
    last = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f"{os.path.basename(last.filename)}:{last.lineno}" if last else None  # noqa: PTH119  # a name to print
    mend = "please report it with this trace" if debug else "run again with --debug and report what it prints"
    show_error(
        LlmkitError(f"a bug in llmkit: {type(error).__name__}: {error}", where=where, mend=mend), as_json=as_json
    )
    return BUG_EXIT_CODE


def _usage_hint(error: BaseException) -> str | None:
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None)
    return f"see `{path} --help`" if path else None


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated("terminated", mend="run it again to go on from the last checkpoint")

"""Processes that share a command's work: those that a command started itself, and those that a launcher started.

A launcher (torchrun, accelerate launch) runs the whole command in every process. Only the main one does the command:
it resolves, locks, publishes and reports. The others take part in its training, and leave with its exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from llmkit.cli.console import make_reporter
from llmkit.cli.edge import guarded
from llmkit.reporting.reporter import Silent
from llmkit.stages.jobs import read_job, serve, take_part


def among_others(command: Callable[[], int]) -> int:
    """Run a command as one of the processes that a launcher's environment speaks of; the exit code."""
    from llmkit.train.channel import channel
    from llmkit.train.launch import World

    worlds: list[World] = []

    def look() -> None:
        worlds.append(World.current())
        if worlds[0].size > 1:
            channel()

    code = guarded(look, as_json=False, debug=False)
    if code or worlds[0].size == 1:
        return code or command()
    if not worlds[0].is_main:
        return guarded(lambda: take_part(Silent()), as_json=False, debug=False)
    code = command()
    channel().end(code)
    return code


def main() -> int:
    """Do the job described in the file that is the only argument; `launch` starts it, nobody by hand."""
    job, quiet = read_job(Path(sys.argv[1]))
    silent = quiet or os.environ.get("RANK", "0") != "0"
    return guarded(lambda: serve(job, make_reporter(quiet=silent)), as_json=False, debug=False)


if __name__ == "__main__":
    sys.exit(main())

"""One of several processes that share a command's work; started by the command, never by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmkit.cli.console import make_reporter
from llmkit.cli.edge import guarded
from llmkit.stages.jobs import read_job, serve


def main() -> int:
    """Do the job described in the file that is the only argument."""
    job, quiet = read_job(Path(sys.argv[1]))
    silent = quiet or os.environ.get("RANK", "0") != "0"
    return guarded(lambda: serve(job, make_reporter(quiet=silent)), as_json=False, debug=False)


if __name__ == "__main__":
    sys.exit(main())

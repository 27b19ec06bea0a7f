"""`python -m llmkit` and the `llmkit` script."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Set before anything imports the libraries that read them: no telemetry, no fork warnings, no stray bars.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait spin for a moment and then sleep. Spinning on, as GNU's OpenMP does by itself, cost training on
    # 2 cores half its speed or more beside one other busy process; sleeping at once cost small models half of theirs.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    # pydantic would read the metadata of every installed package, 15 ms, to look for plug-ins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from llmkit.cli.app import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()

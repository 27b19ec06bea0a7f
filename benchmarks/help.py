"""How long `--help` takes, in wall-clock seconds of whole processes: the goal is under 0.2 s.

python benchmarks/help.py [--runs 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from llmkit.cli.app import TOOLS
from llmkit.stages.table import STAGES

GOAL = 0.2


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    llmkit = str(Path(sys.executable).with_name("llmkit"))
    bare = statistics.median(seconds([sys.executable, "-c", "pass"]) for _ in range(runs))
    print(f"{'command':<16} {'median':>8} {'best':>8}   (an empty python takes {bare:.3f} s)")
    slowest = 0.0
    for words in ([], *([name] for name in (*STAGES, *TOOLS)), ["preprocess", "explain"]):
        command = [llmkit, *words, "--help"]
        seconds(command)
        times = [seconds(command) for _ in range(runs)]
        median = statistics.median(times)
        slowest = max(slowest, median)
        print(f"{' '.join(words) or '(none)':<16} {median:>8.3f} {min(times):>8.3f}")
    print(f"slowest median {slowest:.3f} s; goal {GOAL} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

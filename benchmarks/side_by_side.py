"""What benchmarks share that run contestants in processes of their own: output, peak memory, the hardware's name."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil


def watched(command: Sequence[str], folder: Path) -> tuple[str, float]:
    """Standard output of a command, and its peak memory in MiB."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, high_water(process))
            time.sleep(0.1)
        if process.returncode:
            err.seek(0)
            raise SystemExit(f"{command[1]} failed:\n{err.read()[-3000:]}")
        out.seek(0)
        return out.read(), peak


def high_water(process: psutil.Process) -> float:
    """VmHWM of a process in MiB, where there is /proc; else what it has now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        try:
            return float(process.memory_info().rss) / 2**20
        except psutil.Error:
            return 0.0


def hardware() -> str:
    """Processor and cores, as far as the system tells."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    )
    return f"{names[0] if names else platform.processor()}, {psutil.cpu_count()} cores"

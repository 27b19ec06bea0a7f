"""Draws docs/demo.svg: the last page of `llmkit run recipes/demo.yaml`, as a terminal shows it.

python docs/picture.py      run after `make demo`, so that everything is reused and it takes seconds
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
WIDTH, LINES = 118, 400
FIRST = "Overview"


def terminal_output(command: list[str]) -> str:
    """What a command prints on a terminal of its own, with its colours."""
    primary, secondary = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "LINES": str(LINES), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=secondary, stderr=subprocess.DEVNULL, env=environment)
    os.close(secondary)
    parts = []
    while True:
        try:
            part = os.read(primary, 65536)
        except OSError:  # the terminal closes with its last writer
            break
        if not part:
            break
        parts.append(part)
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    return b"".join(parts).decode("utf-8").replace("\r\n", "\n")


def main() -> None:
    shown = terminal_output([str(Path(sys.executable).with_name("llmkit")), "run", "recipes/demo.yaml"])
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if FIRST in line)
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text("$ make demo", style="bold"))
    console.print(Text.from_ansi("\n".join(lines[start:])))
    svg = console.export_svg(title="llmkit run recipes/demo.yaml", unique_id="llmkit-demo")
    # rich names a web font; a picture should load nothing from anywhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (ROOT / "docs" / "demo.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()

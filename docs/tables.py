"""Writes the option tables of the command pages, from the same Configs that make the flags.

    python docs/tables.py           write them
    python docs/tables.py --check   fail if a page is not what it would be
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llmkit.cli.options import shown
from llmkit.config.base import Config, Leaf, leaves
from llmkit.stages.table import STAGES, load

DOCS = Path(__file__).parent
BEGIN, END = "<!-- options: written by docs/tables.py -->", "<!-- /options -->"


def table(command: str, config: type[Config]) -> str:
    """The options of a command as a Markdown table."""
    rows = ["| flag | key | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [_row(leaf) for leaf in leaves(config)]
    variable = leaves(config)[0].variable(command)
    return "\n".join([*rows, "", f"As a variable: `{variable}` and so on."])


def _row(leaf: Leaf) -> str:
    flag = f"`{leaf.traits.argument}`" if leaf.traits.argument else f"`{leaf.flag}`"
    choices = f" One of {', '.join(f'`{choice}`' for choice in leaf.choices)}." if leaf.choices else ""
    default = f"`{shown(leaf.default)}`" if shown(leaf.default) else ""
    meaning = (leaf.help + choices).replace("|", "\\|")
    return f"| {flag} | `{leaf.key}` | {default} | {meaning} |"


def with_table(page: str, command: str) -> str:
    """`page` with the part between the markers made anew.

    Raises:
        ValueError: the page has no markers.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"docs/{command}.md has no {BEGIN} ... {END}")
    text = f"{BEGIN}\n\n{table(command, load(command).config)}\n\n{END}"
    return pattern.sub(lambda _: text, page)


def main() -> int:
    check = "--check" in sys.argv
    stale = []
    for command in STAGES:
        path = DOCS / f"{command}.md"
        before = path.read_text(encoding="utf-8")
        after = with_table(before, command)
        if after != before:
            stale.append(path.name)
            if not check:
                path.write_text(after, encoding="utf-8")
    verb = "stale" if check else "written"
    sys.stdout.write(f"{verb}: {', '.join(stale) or 'none'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

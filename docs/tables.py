"""Writes the tables of the documentation from the code that they describe, so that they cannot disagree with it.

    python docs/tables.py           write them
    python docs/tables.py --check   fail if a page is not what it would be

A page has a table where it has `<!-- NAME: written by docs/tables.py -->` ... `<!-- /NAME -->`; `TABLES` has the names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from llmkit.cli.app import BELOW, TOOLS
from llmkit.cli.invocation import FOR_STAGES
from llmkit.cli.options import shown
from llmkit.config.base import Config, Leaf, leaves
from llmkit.data.steps.quality.presets import RULES
from llmkit.data.steps.quality.words import Variant
from llmkit.evaluation.tasks import KINDS
from llmkit.models.families import FAMILIES, Family
from llmkit.models.published import PUBLISHED
from llmkit.models.shapes import Size
from llmkit.stages.table import STAGES, load

DOCS = Path(__file__).parent
MARKED = re.compile(r"<!-- (\w+): written by docs/tables\.py -->.*?<!-- /\1 -->", re.DOTALL)
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def options(command: str) -> str:
    """The options of a command: of a stage from its Config, of a tool from its signature."""
    if command not in STAGES:
        return _tool_options(command)
    config: type[Config] = load(command).config
    found = leaves(config)
    rows = ["| flag | key | default | meaning |", "| --- | --- | --- | --- |", *map(_row, found)]
    return "\n".join([*rows, "", f"As a variable: `{found[0].variable(command)}` and so on."])


def _row(leaf: Leaf) -> str:
    names = f"`{leaf.traits.argument or leaf.flag}`"
    if leaf.item_type is bool:
        names = f"`{leaf.flag}`, `--no-{leaf.flag[2:]}`"
    choices = f" One of {', '.join(f'`{choice}`' for choice in leaf.choices)}." if leaf.choices else ""
    default = "required" if leaf.required else f"`{shown(leaf.default)}`" if shown(leaf.default) else ""
    return f"| {names} | `{leaf.key}` | {default} | {_cell(leaf.help + choices)} |"


def _tool_options(command: str) -> str:
    rows = ["| flag | meaning |", "| --- | --- |"]
    for parameter in tool_parameters(command):
        name = ", ".join(f"`{name}`" for name in parameter.opts if name.startswith("-")) or f"`{parameter.metavar}`"
        rows.append(f"| {name} | {_cell(parameter.help or '')} |")
    return "\n".join(rows)


def tool_parameters(command: str) -> Iterator[Any]:
    """The parameters of a tool as the command line's parser has them; of a group, those of all its commands."""
    tool = import_module((TOOLS | BELOW)[command][0]).COMMAND
    if not isinstance(tool, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command()(tool)
        tool = app
    parsed: Any = typer.main.get_command(tool)
    for part in [parsed, *getattr(parsed, "commands", {}).values()]:
        yield from part.params


def flags(page: str) -> str:
    """The flags that every stage has besides its own options."""
    rows = ["| flag | meaning |", "| --- | --- |"]
    for parameter in FOR_STAGES:
        info = parameter.annotation.__metadata__[0]
        rows.append(f"| `--{parameter.name.replace('_', '-')}` | {_cell(info.help)} |")
    return "\n".join(rows)


def families(page: str) -> str:
    """The model families, with the sizes' published configurations behind their names."""
    rows = ["| family | objective | sizes | weights' licence | source |", "| --- | --- | --- | --- | --- |"]
    for family in FAMILIES.values():
        source = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", family.source)
        rows.append(f"| `{family.name}` | {family.objective} | {_sizes(family)} | {family.licence} | {_cell(source)} |")
    return "\n".join(rows)


def _sizes(family: Family) -> str:
    return ", ".join(_size(family.name, name, size) for name, size in family.sizes.items())


def _size(family: str, name: str, size: Size) -> str:
    """A size with its published configuration behind it, and its parameters where its name does not tell them."""
    if not size.source:
        return f"`{name}`"
    told = any(character.isdigit() for character in name)
    return f"[`{name}`]({size.source})" + ("" if told else f" ({PUBLISHED[family][name].figure})")


def kinds(page: str) -> str:
    """The kinds of evaluation tasks, with what each measures."""
    rows = ["| kind | needs | measures |", "| --- | --- | --- |"]
    needs = {"either": "a model, an index, or both", "model": "a model", "index": "an index"}
    for name, kind in KINDS.items():
        spec = {"kind": name, "id": name, "data": "d"}
        measured = ", ".join(f"`{metric}`" for metric in kind.metrics(kind.spec.model_validate(spec)))
        rows.append(f"| `{name}` | {needs[kind.needs]} | {measured} |")
    return "\n".join(rows)


def keys(page: str) -> str:
    """The keys of a task in a suite, with the kinds that have them."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, kind in KINDS.items():
        for key, field in kind.spec.model_fields.items():
            if key == "kind":
                continue
            default = "required" if field.is_required() else f"`{shown(field.default)}`" if shown(field.default) else ""
            found.setdefault((key, default, field.description or ""), []).append(name)
    rows = ["| key | of | default | meaning |", "| --- | --- | --- | --- |"]
    for (key, default, text), names in found.items():
        of = "all" if len(names) == len(KINDS) else ", ".join(f"`{name}`" for name in names)
        rows.append(f"| `{key}` | {of} | {'the kind' if key == 'id' else default} | {_cell(text)} |")
    return "\n".join(rows)


def quality(page: str) -> str:
    """The rules of quality, with their thresholds for each kind of text."""
    kinds_of_text = [Variant.SPACED, Variant.CJK, Variant.KOREAN, Variant.UNSPACED, Variant.CODE]
    rows = [
        "| rule | measured | at | with spaces | Japanese, Chinese | Korean | Thai and others | code |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for preset, rules in RULES.items():
        for rule in rules:
            cells = " | ".join(
                f"{rule.thresholds[kind]:g}" if kind in rule.thresholds else "" for kind in kinds_of_text
            )
            rows.append(f"| `{preset}.{rule.name}` | {_cell(rule.phrase)} | {rule.limit} | {cells} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


TABLES: Mapping[str, Callable[[str], str]] = {
    "options": options,
    "flags": flags,
    "families": families,
    "kinds": kinds,
    "keys": keys,
    "quality": quality,
}
"""Marker -> what stands there; each is handed the name of its page, which for `options` is the command."""


def renewed(text: str, page: str) -> str:
    """The text of a page with every table made anew.

    Raises:
        ValueError: a marker names no table, or the page of a stage has no table of its options.
    """
    names = [match[1] for match in MARKED.finditer(text)]
    if unknown := [name for name in names if name not in TABLES]:
        raise ValueError(f"docs/{page}.md: no table is called {', '.join(unknown)}; there are {', '.join(TABLES)}")
    if page in STAGES and "options" not in names:
        raise ValueError(f"docs/{page}.md has no `<!-- options: written by docs/tables.py -->` ... `<!-- /options -->`")

    def made(match: re.Match[str]) -> str:
        return f"<!-- {match[1]}: written by docs/tables.py -->\n\n{TABLES[match[1]](page)}\n\n<!-- /{match[1]} -->"

    return MARKED.sub(made, text)


def stale() -> dict[Path, str]:
    """The pages whose tables are not what they would be, with the text they should have."""
    found = {}
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = renewed(before, path.stem)
        if after != before:
            found[path] = after
    return found


def main() -> int:
    check = "--check" in sys.argv
    found = stale()
    for path, text in found.items():
        if not check:
            path.write_text(text, encoding="utf-8")
    verb = "stale" if check else "written"
    sys.stdout.write(f"{verb}: {', '.join(path.name for path in found) or 'none'}\n")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())

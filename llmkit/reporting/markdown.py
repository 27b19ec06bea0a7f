"""Markdown of a card, as the Hub reads it: text that is not ours is inert, and licences have the Hub's names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import yaml

from llmkit.reporting.figures import number
from llmkit.reporting.inert import inert

_LICENCES = """
apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0
agpl-3.0 mpl-2.0 odc-by odbl pddl unlicense isc zlib wtfpl artistic-2.0 epl-2.0 bsl-1.0 openrail other unknown"""
_HUB_LICENCES = frozenset(_LICENCES.split())
"""Identifiers the Hub knows (https://huggingface.co/docs/hub/repositories-licenses); any other name becomes `other`."""

_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")
_PUBLIC_DOMAIN = "creativecommons.org/publicdomain/zero/"

# What acts in the middle of a line, and what would make a link of a bare address.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&$@]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_BREAKS = re.compile(r"[\s\u2028\u2029]+")
_TICKS = re.compile(r"`+")


def front_matter(head: Mapping[str, object]) -> str:
    """The YAML block that a card opens with."""
    return f"---\n{yaml.safe_dump(dict(head), allow_unicode=True, sort_keys=False, width=1000)}---"


def plain(value: object) -> str:
    """A value in the middle of Markdown: on one line, and with no character that Markdown or HTML would act upon."""
    return _MARKDOWN.sub(r"\\\1", _BREAKS.sub(" ", inert(number(value))).strip())


def code(text: str) -> str:
    """Text as a code span, on one line, fenced by more backticks in a row than it has."""
    text = _BREAKS.sub(" ", inert(text)).strip() or " "
    fence = "`" * (max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _code_cell(span: str) -> str:
    """A code span as a cell: a table's columns are cut before code is looked for."""
    return span.replace("|", "\\|")


def _option_text(value: object) -> str:
    """The value of an option as it is written: a word as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of escaped cells; all columns but the first are aligned right."""
    lines = [f"| {' | '.join(columns)} |", "|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|"]
    lines += [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def input_table(inputs: Iterable[tuple[str, str, str]]) -> str:
    """What something was made from, as `(role, reference, sha256)`."""
    rows = [f"| {plain(role)} | {_code_cell(code(ref))} | {code(digest)} |" for role, ref, digest in inputs]
    return "\n".join(["| input | what | sha256 |", "|---|---|---|", *rows])


def option_list(options: Mapping[str, object]) -> str:
    """The options that were given, in the order of their names."""
    rows = "\n".join(f"- {code(key)}: {code(_option_text(value))}" for key, value in sorted(options.items()))
    return f"Options that were given; all others had their defaults:\n\n{rows}"


def version_list(packages: Mapping[str, str]) -> str:
    """The versions of what made it, in one sentence."""
    return f"Versions: {', '.join(f'{plain(name)} {plain(version)}' for name, version in sorted(packages.items()))}."


def made_by(command: str, options: Mapping[str, object], packages: Mapping[str, str]) -> list[str]:
    """How something was made, as far as it is known: the command, the options that were given, the versions."""
    parts = [f"Made by:\n\n{block(command)}"] if command else []
    if options:
        parts.append(option_list(options))
    if packages:
        parts.append(version_list(packages))
    return parts


def block(text: str) -> str:
    """Somebody's text, or a command, as an indented code block."""
    return "\n".join(f"    {line}" for line in inert(text).splitlines())


def hub_licence(name: str) -> str:
    """The Hub's identifier of a licence that is given by it, by its usual name, or by Creative Commons' address."""
    if address := _CREATIVE_COMMONS.search(name):
        name = f"cc-{address[1]}-{address[2]}"
    elif _PUBLIC_DOMAIN in name:
        name = "cc0-1.0"
    slug = "-".join(name.replace("creative commons", "cc").replace("-", " ").split())
    return slug if slug in _HUB_LICENCES else "other"

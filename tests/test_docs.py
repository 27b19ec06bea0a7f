"""The documentation is true: its tables are those of the code, its recipes load, its links and flags exist."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from llmkit import errors
from llmkit.cli.app import BELOW, TOOLS
from llmkit.cli.invocation import FOR_STAGES
from llmkit.config.base import leaves
from llmkit.config.recipe import load_recipe
from llmkit.stages.chain import links
from llmkit.stages.eval import read_suites
from llmkit.stages.table import STAGES, load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WRITTEN = [ROOT / "README.md", *PAGES]
RECIPES = sorted((ROOT / "recipes").rglob("*.y*ml"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_COMMAND_LINE = re.compile(r"^(?:\$ |- run: )?(?:LLMKIT_\w+=\S+ )*llmkit .*$")
_INLINE = re.compile(r"`([^`\n]+)`")
OF_THE_PARSER = {"--help", "--version"}


@cache
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("command", [*STAGES, *TOOLS])
def test_every_command_has_a_page_that_the_index_names(command: str) -> None:
    assert (DOCS / f"{command}.md").is_file()
    assert f"({command}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_index_of_the_pages() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_tables_of_the_pages_are_those_of_the_code() -> None:
    stale = [name(path) for path in tables().stale()]
    assert stale == [], "run `make docs`"


def test_a_stage_page_without_a_table_of_its_options_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"docs/pretrain\.md has no"):
        tables().renewed("# pretrain\n", "pretrain")


def test_a_marker_that_names_no_table_is_an_error() -> None:
    page = "<!-- optoins: written by docs/tables.py --><!-- /optoins -->"
    with pytest.raises(ValueError, match="no table is called optoins"):
        tables().renewed(page, "registry")


def test_there_are_recipes() -> None:
    assert len(RECIPES) > 0
    assert any("stages" in yaml.safe_load(path.read_text(encoding="utf-8")) for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_every_recipe_loads_with_options_that_exist(path: Path) -> None:
    check(path)


def blocks(language: str) -> Iterator[Any]:
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(_FENCE.finditer(text), start=1):
            if match[1] == language:
                yield pytest.param(match[2], id=f"{name(page)}-{number}")


@pytest.mark.parametrize("block", list(blocks("yaml")))
def test_every_recipe_and_suite_in_the_pages_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block, encoding="utf-8")
    values = yaml.safe_load(block)
    if isinstance(values, list) or "stages" in values or set(values) & set(STAGES):
        check(file)


def check(path: Path) -> None:
    """Load a recipe or a suite as the commands do. Raises an LlmkitError where it is wrong."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "distributed_type" in values:
        from accelerate.commands.config.config_args import load_config_from_file
        from accelerate.commands.launch import launch_command_parser

        assert load_config_from_file(str(path)).num_processes > 1  # raises where a key is unknown
        flags = {action.dest for action in launch_command_parser()._actions}
        assert set(values.get("fsdp_config", ())) <= flags
    elif isinstance(values, list):
        assert len(read_suites([str(path)]).root) > 0
    else:
        assert len(links(load_recipe(path, STAGES), (), {}, path.parent)) > 0


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_relative_link_leads_to_a_file_and_heading(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = [
        link for link in _LINK.findall(text) if not link.startswith(("http://", "https://")) and not _leads(page, link)
    ]
    assert broken == []


def _leads(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    path = (page.parent / target).resolve() if target else page
    if not path.exists():
        return False
    return not anchor or anchor in anchors(path)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


@cache
def flags(command: str) -> frozenset[str]:
    """Every flag that a command takes."""
    if command in STAGES:
        found = leaves(load(command).config)
        own = {leaf.flag for leaf in found if leaf.traits.argument is None}
        own |= {f"--no-{leaf.flag[2:]}" for leaf in found if leaf.item_type is bool}
        return frozenset(own | {f"--{each.name.replace('_', '-')}" for each in FOR_STAGES} | OF_THE_PARSER)
    opts = {opt for parameter in tables().tool_parameters(command) for opt in parameter.opts}
    return frozenset({opt for opt in opts if opt.startswith("--")} | OF_THE_PARSER)


@cache
def all_flags() -> frozenset[str]:
    return OF_THE_PARSER | frozenset(flag for command in (*STAGES, *TOOLS) for flag in flags(command))


def command_lines(page: Path) -> Iterator[str]:
    """Each line of a session that calls llmkit, and each call in the running text."""
    text = page.read_text(encoding="utf-8")
    candidates = [line.strip() for match in _FENCE.finditer(text) for line in match[2].splitlines()]
    candidates += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    candidates += _INLINE.findall(_FENCE.sub("", text))
    yield from (line.partition("   #")[0] for line in candidates if _COMMAND_LINE.match(line))


def wrong_flags(line: str) -> list[str]:
    """Flags of a call that its command does not take; without a known command, that none takes."""
    words = line.split("llmkit ", 1)[1].split()
    command = next((word for word in words if not word.startswith("-")), "")
    command = " ".join(words[:2]) if " ".join(words[:2]) in BELOW else command
    known = flags(command) if command in {*STAGES, *TOOLS, *BELOW} else all_flags()
    return [flag for flag in _FLAG.findall(line) if flag not in known]


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_flag_in_a_call_is_one_of_its_command(page: Path) -> None:
    wrong = {line: found for line in command_lines(page) if (found := wrong_flags(line))}
    assert wrong == {}


def test_calls_are_found_in_the_pages_and_a_wrong_flag_in_them() -> None:
    assert sum(len(list(command_lines(page))) for page in WRITTEN) > 40
    assert wrong_flags("$ llmkit pretrain --data corpus --stepz 3") == ["--stepz"]
    assert wrong_flags("llmkit run recipe.yaml --lr 3") == ["--lr"]


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_flag_named_in_the_text_is_one_of_some_command(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    named = {flag for code in _INLINE.findall(text) if code.startswith("--") for flag in _FLAG.findall(code)}
    assert named - all_flags() == set()


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LlmkitError)]
    assert len(kinds) > 5
    missing = [kind.__name__ for kind in kinds if f"| {kind.exit_code} | `{kind.code}` |" not in page]
    assert missing == []

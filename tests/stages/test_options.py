"""No option is dead: every leaf of every command's Config is read by the code it configures."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import llmkit
from llmkit.config.base import Leaf, leaves
from llmkit.stages.table import STAGES, load

ROOT = Path(llmkit.__file__).parent
# Definitions do not count as reading, and neither does code that handles all options alike.
NOT_READERS = {"config", "cli"}
READ_BY_THE_DRIVER = {"name", "seed"}


def configs_of(path: Path) -> set[str]:
    """Attributes read from a name that holds a config (`cfg`, `options`, `self._options`, `job.config`) in one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    configs = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name.endswith("Config")]
    return _read(tree, HOLDERS) | {name for config in configs for name in _read(config, {"self"})}


def _read(tree: ast.AST, holders: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            holder = node.value
            name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if name in holders:
                found.add(node.attr)
    return found


HOLDERS = {"cfg", "config", "options", "_options", "lora", "dpo", "causal"} | {
    *("clean", "language", "quality", "privacy", "dedup", "decontaminate", "split", "web", "limits", "architecture")
}


@cache
def read_from_configs() -> frozenset[str]:
    return frozenset(
        name
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in NOT_READERS
        for name in configs_of(path)
    )


ALL = [(command, leaf) for command in STAGES for leaf in leaves(load(command).config)]


@pytest.mark.parametrize(("command", "leaf"), ALL, ids=[f"{command}:{leaf.key}" for command, leaf in ALL])
def test_every_option_is_read_from_a_config(command: str, leaf: Leaf) -> None:
    assert leaf.parameter in read_from_configs() | READ_BY_THE_DRIVER, (
        f"{command} --{leaf.parameter} is read by nothing"
    )


@pytest.mark.parametrize("command", list(STAGES))
def test_every_option_has_help_that_is_a_sentence(command: str) -> None:
    for leaf in leaves(load(command).config):
        assert leaf.help, leaf.key
        assert leaf.help.endswith((".", "?")), f"{leaf.key}: {leaf.help}"


@pytest.mark.parametrize("command", list(STAGES))
def test_flags_are_unique_and_do_not_hide_those_of_every_command(command: str) -> None:
    from llmkit.cli.invocation import FOR_STAGES

    names = [leaf.parameter for leaf in leaves(load(command).config)]
    assert len(names) == len(set(names))
    assert not set(names) & {parameter.name for parameter in FOR_STAGES}


def test_the_flags_that_scripts_rely_on_are_there() -> None:
    promised = {
        "preprocess": "inputs tokenizer vocab_size workers",
        "pretrain": "data family size init steps tokens minutes batch_size sequence_length lr eval_every "
        "checkpoint_every processes device",
        "finetune-lora": "model data task method rank steps epochs lr batch_size sequence_length",
        "index": "inputs embedder store",
        "ask": "question index model k temperature max_tokens batch",
        "eval": "suites model index baseline gate junit",
    }
    for command, names in promised.items():
        there = {leaf.parameter for leaf in leaves(load(command).config)}
        assert set(names.split()) | {"name", "seed"} <= there, command


def test_the_check_finds_a_dead_option() -> None:
    assert "no_code_reads_this" not in read_from_configs()
    assert "vocab_size" in read_from_configs()

"""The shape of recipes, and the files they are read from."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.document import load_yaml
from llmkit.config.recipe import Recipe, load_recipe
from llmkit.errors import ConfigError, NotFoundError, UsageError

COMMANDS = ["preprocess", "pretrain", "ask"]


def recipe(folder: Path, text: str) -> Recipe:
    file = folder / "r.yaml"
    file.write_text(text)
    return load_recipe(file, COMMANDS)


def test_stages_keep_their_order_ids_and_lines(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "stages:\n  - id: a\n    preprocess: {inputs: [x]}\n  - pretrain:\n      steps: 3\n")
    assert [(stage.id, stage.command) for stage in loaded.stages] == [("a", "preprocess"), ("pretrain", "pretrain")]
    assert loaded.stages[1].where.endswith("r.yaml:4")


def test_one_command_key_is_the_short_form(tmp_path: Path) -> None:
    assert [stage.id for stage in recipe(tmp_path, "pretrain:\n  steps: 3\n").stages] == ["pretrain"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pretrian: {}\n", "pretrian: no such command; did you mean 'pretrain'"),
        ("pretrain: {}\nask: {}\n", "exactly one command"),
        ("stages: []\n", "at least one stage"),
        ("stages:\n  - id: a\n", "exactly one command"),
        ("stages:\n  - id: a\n    ask: {}\n  - id: a\n    ask: {}\n", "two stages have this id"),
        ("stages:\n  - id: a\n    ask: 3\n", "must be a section"),
        ("stages:\n  - id: a\n    ask: {}\nother: 1\n", "no such key beside 'stages'"),
        ("- a\n", "must be a mapping"),
        ("a: 1\na: 2\n", "'a' stands here twice"),
        ("a: [1\n", "not valid YAML"),
    ],
)
def test_a_recipe_of_the_wrong_shape_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        recipe(tmp_path, text)
    assert "r.yaml" in str(caught.value)


def test_a_missing_recipe_is_not_found_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_recipe(tmp_path / "none.yaml", COMMANDS)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "b.yaml", COMMANDS)


def test_a_command_takes_its_stage_and_asks_which_where_there_are_several(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "stages:\n  - {id: a, ask: {}}\n  - {id: b, ask: {}}\n  - {id: c, pretrain: {}}\n")
    assert loaded.for_command("pretrain", None).id == "c"
    assert loaded.for_command("ask", "b").id == "b"
    with pytest.raises(UsageError, match="several stages for ask"):
        loaded.for_command("ask", None)
    with pytest.raises(UsageError, match="is ask, not pretrain"):
        loaded.for_command("pretrain", "a")
    with pytest.raises(NotFoundError, match="no stage"):
        loaded.for_command("ask", "z")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_yaml_reads_as_pyyaml_reads_it_and_every_value_has_a_line(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    file = tmp_path_factory.mktemp("y") / "v.yaml"
    text = pyyaml.safe_dump(value, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    loaded = load_yaml(file)
    assert loaded.values == value
    assert all(1 <= line <= text.count("\n") + 1 for line in loaded.lines.values())

"""Precedence, origins, and every complaint with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.base import Config, identity, leaves, option
from llmkit.config.resolve import (
    Layer,
    Origin,
    environment_layer,
    flag_layer,
    project_file,
    project_layer,
    resolve,
    set_layer,
)
from llmkit.errors import ConfigError


class Lora(Config):
    rank: int = option(16, "Rank.", ge=1)
    alpha: float = option(32.0, "Scale.")


class Demo(Config):
    inputs: tuple[str, ...] = option((), "Inputs.", argument="INPUT")
    name: str | None = option(None, "Name.", keyed=False)
    steps: int = option(300, "Steps.", ge=1)
    schedule: Literal["cosine", "linear"] = option("cosine", "Schedule.")
    verbose: bool = option(False, "Say more.")
    unsafe: bool = option(False, "Lower safety.", command_line_only=bool)
    lora: Lora = Lora()


def environment(**variables: str) -> Layer:
    return environment_layer(Demo, "demo-it", variables)


def test_a_flag_beats_set_beats_environment_beats_project_beats_default(tmp_path: Path) -> None:
    (tmp_path / "llmkit.yaml").write_text(
        "demo-it:\n  steps: 1\n  schedule: linear\n  lora:\n    rank: 2\n    alpha: 7\n"
    )
    layers = [
        project_layer(Demo, "demo-it", ["demo-it"], tmp_path),
        environment(LLMKIT_DEMO_IT_STEPS="3", LLMKIT_DEMO_IT_RANK="4"),
        set_layer(Demo, ["steps=5"]),
        flag_layer(Demo, {"steps": 6}),
    ]
    resolved = resolve(Demo, layers)
    assert resolved.config.steps == 6
    assert resolved.config.lora == Lora(rank=4, alpha=7)
    assert resolved.config.schedule == "linear"
    assert resolved.origins["steps"].where == "--steps"
    assert resolved.origins["lora.rank"].where == "$LLMKIT_DEMO_IT_RANK"
    assert resolved.origins["lora.alpha"].where == f"{tmp_path / 'llmkit.yaml'}:6"
    assert resolved.origins["verbose"].source == "default"
    assert resolved.given == ("lora.alpha", "lora.rank", "schedule", "steps")


def test_all_problems_of_a_file_are_shown_at_once_each_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "llmkit.yaml"
    file.write_text("demo-it:\n  stepz: 3\n  schedule: cosin\n  lora:\n    r: 8\n    rank: zero\n")
    with pytest.raises(ConfigError) as caught:
        resolve(Demo, [project_layer(Demo, "demo-it", ["demo-it"], tmp_path)])
    message = str(caught.value)
    assert "4 problems" in message
    assert f"{file}:2: stepz: no such option; did you mean 'steps'?" in message
    assert f"{file}:3: schedule: must be one of cosine, linear, not 'cosin'; did you mean 'cosine'?" in message
    assert f"{file}:5: lora.r: no such option" in message
    assert f"{file}:6: lora.rank: must be a whole number, not 'zero'" in message


def test_an_unknown_variable_of_this_command_is_named_with_its_closest() -> None:
    with pytest.raises(
        ConfigError, match="LLMKIT_DEMO_IT_STEPZ: no such variable; did you mean 'LLMKIT_DEMO_IT_STEPS'"
    ):
        resolve(Demo, [environment(LLMKIT_DEMO_IT_STEPZ="3")])


def test_variables_of_other_programs_and_commands_are_left_alone() -> None:
    assert resolve(Demo, [environment(LLMKIT_HOME="/x", LLMKIT_OTHER_STEPS="9", PATH="/bin")]).given == ()


def test_a_list_in_a_variable_is_separated_by_commas() -> None:
    assert resolve(Demo, [environment(LLMKIT_DEMO_IT_INPUTS="a, b")]).config.inputs == ("a", "b")


def test_set_needs_a_key_it_knows_and_an_equals_sign() -> None:
    with pytest.raises(ConfigError, match="no such option; did you mean 'lora.rank'"):
        resolve(Demo, [set_layer(Demo, ["lora.rnk=3"])])
    with pytest.raises(ConfigError, match="needs the form key=value"):
        resolve(Demo, [set_layer(Demo, ["steps"])])


def test_set_keeps_a_number_as_text_where_text_is_meant() -> None:
    assert resolve(Demo, [set_layer(Demo, ["name=2024"])]).config.name == "2024"


@pytest.mark.parametrize("layer", [environment(LLMKIT_DEMO_IT_UNSAFE="true")])
def test_an_option_that_lowers_safety_is_believed_from_the_command_line_only(layer: Layer) -> None:
    with pytest.raises(ConfigError, match="accepted only on the command line"):
        resolve(Demo, [layer])
    assert resolve(Demo, [flag_layer(Demo, {"unsafe": True})]).config.unsafe
    assert not resolve(Demo, [environment(LLMKIT_DEMO_IT_UNSAFE="false")]).config.unsafe


def test_a_project_file_is_found_from_below_and_its_unknown_commands_are_refused(tmp_path: Path) -> None:
    (tmp_path / "llmkit.yaml").write_text("demo-itt: {}\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert project_file(below) == tmp_path / "llmkit.yaml"
    with pytest.raises(ConfigError, match="demo-itt: no such command; did you mean 'demo-it'"):
        resolve(Demo, [project_layer(Demo, "demo-it", ["demo-it"], below)])


def test_the_identity_of_a_config_leaves_names_out() -> None:
    assert identity(Demo(name="a")) == identity(Demo(name="b"))
    assert identity(Demo(steps=1)) != identity(Demo(steps=2))


def test_two_sections_with_the_same_last_component_are_a_mistake_of_ours() -> None:
    class Twice(Config):
        rank: int = option(1, "")
        lora: Lora = Lora()

    with pytest.raises(TypeError, match="rank"):
        leaves(Twice)


@given(st.integers(1, 10**6), st.floats(0, 1e6, allow_nan=False), st.booleans(), st.sampled_from(["cosine", "linear"]))
def test_what_set_is_given_is_what_the_config_holds(steps: int, alpha: float, verbose: bool, schedule: str) -> None:
    words = [f"steps={steps}", f"lora.alpha={alpha!r}", f"verbose={str(verbose).lower()}", f"schedule={schedule}"]
    made = resolve(Demo, [set_layer(Demo, words)]).config
    assert (made.steps, made.lora.alpha, made.verbose, made.schedule) == (steps, alpha, verbose, schedule)


@pytest.mark.parametrize("written", ["a,b", "a, b", ["a", "b"], ["a,b"]])
def test_what_commas_separate_may_be_written_in_any_way(written):
    class Names(Config):
        names: tuple[str, ...] = option(..., "Names.", commas=True)
        shares: tuple[float, ...] = option((), "Numbers.", commas=True)

    made = resolve(Names, [Layer({"names": (written, Origin("recipe", "here")), "shares": (2, Origin("set", ""))})])
    assert made.config.names == ("a", "b")
    assert made.config.shares == (2.0,)
    assert flag_layer(Names, {"shares": ["1,2.5", "3"]}).values["shares"][0] == ["1,2.5", "3"]

"""The one way in which commands are executed: reuse, resume, force, publish."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.config.base import option
from llmkit.config.resolve import flag_layer, resolve
from llmkit.errors import NotFoundError, UsageError
from llmkit.registry.store import Registry
from llmkit.reporting.blocks import Line
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Context, Inputs, Made, Mode, Outcome, Raw, Stage, StageConfig, execute, plan
from llmkit.stages.result import Result


class ToyConfig(StageConfig):
    text: str = option("x", "What is written.")
    source: str | None = option(None, "An artifact it is made from.")
    fail: bool = option(False, "Break in the middle.", keyed=False)


def inputs(cfg: ToyConfig, registry: Registry) -> Inputs:
    found = {"source": registry.resolve(cfg.source, "dataset")} if cfg.source else {}
    return Inputs(found, {"text": Raw("text", "0" * 64)})


def run(cfg: ToyConfig, found: Inputs, ctx: Context) -> Outcome:
    checkpoint = ctx.work / "checkpoint"
    resumed = int(checkpoint.read_text()) if checkpoint.exists() else None
    checkpoint.write_text("7")
    if cfg.fail:
        raise RuntimeError("killed")
    folder = ctx.work / "out"
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(cfg.text)
    partner = ctx.work / "partner"
    partner.mkdir(exist_ok=True)
    (partner / "p.txt").write_text("p")
    made = [Made("tokenizer", partner, suffix="-tokenizer"), Made("dataset", folder, schema="text")]
    return Outcome(made, {"loss": 1.5}, {"said": cfg.text}, resumed_from=resumed)


STAGE = Stage(
    name="toy",
    version=1,
    kind="dataset",
    config=ToyConfig,
    inputs=inputs,
    run=run,
    default_name=lambda cfg, found: "toy",
    show=lambda payload: [Line(payload["said"])],
    headline=lambda payload: payload["said"],
    partners={"tokenizer": "-tokenizer"},
    resumable=True,
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def do(registry: Registry, mode: Mode | None = None, **given: object) -> Result:
    return execute(STAGE, resolve(ToyConfig, [flag_layer(ToyConfig, given)]), registry, Silent(), mode or Mode())


def test_a_finished_result_is_reused_with_its_figures_and_its_words(registry: Registry) -> None:
    first, second = do(registry), do(registry)
    assert (first.reused, second.reused) == (False, True)
    assert second.artifact is not None
    assert second.artifact.ref == "toy@1"
    assert dict(second.metrics) == {"loss": 1.5}
    assert second.payload == first.payload == {"said": "x"}
    assert [artifact.ref for artifact in second.artifacts] == ["toy@1", "toy-tokenizer@1"]


def test_another_option_makes_another_version(registry: Registry) -> None:
    do(registry)
    assert do(registry, text="y").to_json()["artifact"]["ref"] == "toy@2"


def test_a_new_name_for_the_same_work_is_an_alias_of_all_its_artifacts(registry: Registry) -> None:
    do(registry)
    result = do(registry, name="other")
    assert result.reused
    assert [artifact.ref for artifact in result.artifacts] == ["other@1", "other-tokenizer@1"]
    assert result.artifacts[0].manifest.alias_of == "toy@1"


def test_force_does_the_work_again(registry: Registry) -> None:
    do(registry)
    again = do(registry, Mode(force=True))
    assert not again.reused
    assert again.to_json()["artifact"]["ref"] == "toy@2"


@pytest.mark.parametrize("mode", [Mode(), Mode(force=True)])
def test_an_interrupted_run_is_taken_up_even_when_forced(registry: Registry, mode: Mode) -> None:
    with pytest.raises(RuntimeError):
        do(registry, mode, fail=True)
    assert registry.artifacts() == ()
    assert plan(STAGE, ToyConfig(), registry, mode).action == "resume"
    assert do(registry, mode).resumed_from == 7


def test_restart_throws_away_what_an_interrupted_run_left(registry: Registry) -> None:
    with pytest.raises(RuntimeError):
        do(registry, fail=True)
    assert do(registry, Mode(restart=True)).resumed_from is None


def test_a_plan_says_what_would_be_done_and_why(registry: Registry) -> None:
    assert plan(STAGE, ToyConfig(), registry, Mode()).why == "not made yet"
    do(registry)
    assert plan(STAGE, ToyConfig(), registry, Mode()).why == "made before as toy@1"
    assert plan(STAGE, ToyConfig(text="y"), registry, Mode()).why == "text changed: x -> y"
    assert plan(STAGE, ToyConfig(), registry, Mode(force=True)).why == "forced"
    do(registry, name="b", source="toy", text="b")
    do(registry, text="z")
    planned = plan(STAGE, ToyConfig(name="b", source="toy", text="b"), registry, Mode())
    assert planned.why == "its source changed: toy@2"


def test_lineage_records_options_given_and_inputs_with_digests(registry: Registry) -> None:
    made = do(registry).artifact
    child = do(registry, source="toy", text="c", name="child").artifact
    assert made is not None
    assert child is not None
    assert child.manifest.given == ("name", "source", "text")
    assert [(used.role, used.ref) for used in child.manifest.inputs] == [("source", "toy@1"), ("text", "text")]
    assert child.manifest.inputs[0].digest == made.digest


def test_a_missing_input_fails_before_any_work(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        do(registry, source="nowhere")
    assert not registry.home.exists()


def test_a_name_of_another_kind_fails_before_any_work(registry: Registry) -> None:
    do(registry)
    with pytest.raises(UsageError, match="of kind tokenizer"):
        do(registry, name="toy-tokenizer", text="q")

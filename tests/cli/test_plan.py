"""`llmkit plan`: tables or JSON, for families and for models that are there, and errors with exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmkit.cli.app import main
from llmkit.config.planning import PlanOptions
from llmkit.models.hardware import GIB, Hardware, by_driver_name, hardware
from llmkit.stages.plan import settled

SMALL = ["plan", "--gpu", "h100", "--batch-size", "2", "--sequence-length", "64"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*SMALL, *arguments, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_plan_is_one_json_object_with_everything_it_was_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--steps", "10", "--price", "2")
    assert set(found) >= {"model", "options", "hardware", "parameters", "work", "memory", "cost", "fits", "changes"}
    assert found["fits"] is True
    fewer_positions = (1024 - 64) * 192  # a model has as many as a sample has tokens
    assert found["parameters"]["total"] == 3_549_312 - fewer_positions  # type: ignore[index]
    assert found["options"]["steps"] == 10  # type: ignore[index]
    assert found["cost"]["price"] > 0  # type: ignore[index]


def test_the_tables_name_the_model_its_memory_and_the_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--price", "2"]) == 0
    shown = capsys.readouterr().out
    for words in ("gpt2 tiny", "activations", "of them logits", "PUE 1.56", "473 g for a kWh", "40% of", "it fits"):
        assert words in shown


def test_falcon_180b_is_planned_with_what_would_make_it_fit(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--family", "falcon", "--size", "180b")
    assert found["parameters"]["total"] == 178_557_088_768  # type: ignore[index]
    assert found["fits"] is False
    flags = [change["flags"] for change in found["changes"]]  # type: ignore[attr-defined]
    assert any(line.startswith("--devices") for line in flags)


def test_a_model_in_a_folder_is_planned_from_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import GPT2Config

    folder = tmp_path / "model"
    GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64).save_pretrained(folder)
    found = plan(capsys, "--model", str(folder), "--steps", "1")
    assert found["parameters"]["total"] == 100 * 32 + 64 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32  # type: ignore[index]


def folder_of(config: Any, folder: Path) -> list[str]:
    config.save_pretrained(folder)
    return ["--model", str(folder), "--steps", "1"]


def test_a_mixture_of_experts_is_planned_with_the_experts_that_a_token_meets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import MixtralConfig

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    mixture = MixtralConfig(vocab_size=100, num_key_value_heads=2, architectures=["MixtralForCausalLM"], **shape)
    given = folder_of(mixture, tmp_path / "moe")
    counts = plan(capsys, *given, "--precision", "bf16-weights")["parameters"]
    experts = 2 * 8 * 3 * 64 * 128
    assert counts["active"] == counts["total"] - experts * 6 // 8  # type: ignore[index]
    assert main([*SMALL, *given, "--precision", "fp32"]) == 5
    assert "bf16-weights" in capsys.readouterr().err


def test_an_architecture_that_is_no_family_is_planned_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import BartConfig

    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    given = folder_of(
        BartConfig(vocab_size=100, d_model=64, architectures=["BartForConditionalGeneration"], **heads),
        tmp_path / "bart",
    )
    assert plan(capsys, *given)["memory"]["peak"] > 0  # type: ignore[index]
    lora = plan(capsys, *given, "--method", "lora")["parameters"]
    assert 0 < lora["trained"] < lora["total"] / 2  # type: ignore[index]


def test_memory_and_power_that_are_given_win_over_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--device-memory", "24", "--watts", "100")
    assert found["hardware"]["memory"] == 24 * GIB  # type: ignore[index]
    assert found["hardware"]["watts"] == 100  # type: ignore[index]


def test_an_option_can_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMKIT_PLAN_STEPS", "7")
    assert plan(capsys)["work"]["steps"] == 7  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--gpu", "h10"], 2, "did you mean 'h100'"),
        (["--family", "gpt3"], 2, "did you mean 'gpt2'"),
        (["--sequence-length", "9999"], 2, "past the context"),
        (["--steps", "1", "--tokens", "1"], 2, "two budgets"),
        (["--model", "openai:http://127.0.0.1:9/v1#x"], 2, "is not on this machine"),
        (["--model", "./nowhere"], 3, "no model folder"),
        (["--model", "nobody"], 3, "nobody"),
    ],
)
def test_what_cannot_be_planned_is_an_error_that_says_why(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *arguments]) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_damaged_configuration_is_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{", encoding="utf-8")
    assert main([*SMALL, "--model", str(tmp_path / "model")]) == 4


def test_a_gpu_is_known_by_the_name_its_driver_gives() -> None:
    assert by_driver_name("NVIDIA A100-SXM4-40GB", 40 * GIB) == hardware("a100-40gb")
    assert by_driver_name("NVIDIA A100-SXM4-80GB", 80 * GIB) == hardware("a100-80gb")
    assert by_driver_name("NVIDIA GeForce RTX 4090", 24 * GIB) == hardware("rtx4090")
    assert by_driver_name("NVIDIA H100 80GB HBM3", 80 * GIB) == hardware("h100")
    assert by_driver_name("Tesla T4", 15 * GIB) == hardware("t4")
    assert by_driver_name("NVIDIA B300", 288 * GIB) is None


def test_processes_on_one_cpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmkit.stages.plan.this_machine", lambda: Hardware("cpu", 0.4, 0.2, 8 * GIB, 0.0))
    assert settled(PlanOptions(devices=2)) == Hardware("cpu", 0.2, 0.1, 4 * GIB, 0.0)


def test_this_machine_is_measured_where_no_gpu_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--batch-size", "1", "--sequence-length", "32", "--steps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hardware"]["memory"] > 0
    assert found["cost"]["seconds"] > 0

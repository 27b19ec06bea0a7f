"""`--help` imports nothing heavy, and every command has help."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from llmkit.cli.app import TOOLS, build_app
from llmkit.stages.table import STAGES

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "chromadb",
    "peft",
    "accelerate",
    "sentence_transformers",
    "numpy",
    "pyarrow",
)


@pytest.mark.parametrize(
    "words", [[], *([name] for name in (*STAGES, *TOOLS)), ["registry", "list"], ["config", "schema"]]
)
def test_help_loads_no_heavy_module(words: list[str]) -> None:
    script = (
        "import sys; from llmkit.cli.app import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", script, *words, "--help"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip().splitlines()[-1] == "[]"
    assert "Usage:" in ran.stdout


@pytest.mark.parametrize("command", [*STAGES, *TOOLS])
def test_every_command_says_what_it_is_for_in_the_overview(command: str) -> None:
    shown = CliRunner().invoke(build_app(), ["--help"], env={"COLUMNS": "200"}).output
    line = next(line for line in shown.splitlines() if line.startswith(f"  {command} "))
    assert len(line.split()) > 3


def test_without_a_command_the_overview_is_shown() -> None:
    assert "preprocess" in CliRunner().invoke(build_app(), []).output


def test_the_version_is_printed() -> None:
    from llmkit import __version__

    assert CliRunner().invoke(build_app(), ["--version"]).output.strip() == f"llmkit {__version__}"


def test_the_called_command_has_all_its_flags() -> None:
    app: typer.Typer = build_app("pretrain")
    shown = CliRunner().invoke(app, ["pretrain", "--help"], env={"COLUMNS": "200"}).output
    for flag in ("--data", "--steps", "--lr", "--recipe", "--show-config", "--json", "--restart"):
        assert flag in shown

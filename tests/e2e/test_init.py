"""A new project runs as it is, and its workflow does what it says."""

from __future__ import annotations

import json
import shlex
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from llmkit.cli.app import main
from llmkit.stages.init import FILES, write_project


def test_the_workflow_runs_offline_passes_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, step = tmp_path / "answers", tmp_path / "step.md"
    assert main(["init", str(folder)]) == 0
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LLMKIT_HOME", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    workflow = yaml.safe_load((folder / ".github/workflows/eval.yml").read_text())
    commands = [each["run"] for each in workflow["jobs"]["gate"]["steps"] if "run" in each]
    assert [command.split()[0] for command in commands] == ["pip", "llmkit", "llmkit"]
    for command in commands[1:]:
        words = shlex.split(command.replace("$GITHUB_STEP_SUMMARY", str(step)))
        assert main(words[1:]) == 0
    assert step.read_text().startswith("## ✅ llmkit eval: 3 of 3 gates passed")
    assert ElementTree.parse("eval.xml").getroot().get("failures") == "0"
    assert (folder / ".llmkit/artifacts/gates/1/report.html").is_file(), "the workflow keeps it"
    # The recipe is the same work: nothing of it is done again.
    out = StringIO()
    with redirect_stdout(out):
        assert main(["run", "recipe.yaml", "--json"]) == 0
    assert [json.loads(line)["reused"] for line in out.getvalue().splitlines()] == [True, True]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    err = StringIO()
    with redirect_stderr(err):
        assert main(["init", str(tmp_path)]) == 2
    assert "recipe.yaml" in err.getvalue()
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


def test_a_folder_with_other_files_is_filled(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert len(write_project(tmp_path)) == len(FILES)
    assert all((tmp_path / name).stat().st_size for name in FILES)


def test_every_file_of_the_project_is_written() -> None:
    project = Path(write_project.__code__.co_filename).parent / "project"
    kept = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert kept == set(FILES.values())

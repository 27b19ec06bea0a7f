from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit.registry.provenance import git_state, package_versions


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_gits_own_and_dirty_means_that_a_tracked_file_differs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    state = git_state(tmp_path)
    assert state is not None
    assert (state.revision, state.dirty) == (None, True)
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "untracked").touch()
    below = tmp_path / "below"
    below.mkdir()
    state = git_state(below)
    assert state is not None
    assert (state.revision, state.dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "a.py").write_text("2")
    state = git_state(tmp_path)
    assert state is not None
    assert state.dirty


def test_outside_a_repository_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None


def test_without_git_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_no_program_that_the_repository_names_is_started(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    hook.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(hook))
    assert git_state(tmp_path) is not None
    assert not (tmp_path / "started").exists()


def test_versions_are_those_that_are_installed() -> None:
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["tokenizers"] == importlib.metadata.version("tokenizers")
    assert all(versions.values())


def test_the_whole_package_imports_nothing_heavy() -> None:
    script = """
import sys
import llmkit.registry.cleanup, llmkit.registry.provenance, llmkit.registry.store
heavy = {"torch", "transformers", "datasets", "chromadb", "numpy", "yaml", "rich", "subprocess"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)

"""The command `index` in this process, in a folder and a registry of its own; and what a result holds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmkit.cli.app import main
from llmkit.retrieval.store import View

WORDS_ONLY = ("--embedder", "none")


@dataclass
class Command:
    """`llmkit` with `home` as its registry, started in `folder`."""

    folder: Path
    home: Path
    _printed: Callable[[], Any]

    def run(self, *words: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        code = main([str(word) for word in words])
        out, err = self._printed()
        return code, out, err

    def index(self, *words: object, name: str = "kb") -> dict[str, Any]:
        """An index of words only; fails where the command does."""
        code, out, err = self.run("index", *words, "--name", name, *WORDS_ONLY, "--json")
        assert code == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    def refused(self, *words: object, name: str = "kb") -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run("index", *words, "--name", name, *WORDS_ONLY, "--json")
        return code, json.loads(out)["error"]

    def view(self, name: str = "kb") -> View:
        return View(self.home / "stores" / name)


def change(result: dict[str, Any]) -> str:
    found = result["change"]
    return f"+{found['added']} ~{found['changed']} -{found['removed']} ={found['same']}"


def manifest(result: dict[str, Any]) -> list[dict[str, str]]:
    lines = (Path(result["artifact"]["path"]) / "documents.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def sources(result: dict[str, Any], below: Path) -> set[str]:
    return {row["source"].removeprefix(f"{below}/") for row in manifest(result)}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("LLMKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    return Command(folder, tmp_path / "home", lambda: tuple(capsys.readouterr()))


@pytest.fixture
def stamps_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written count as settled."""
    monkeypatch.setattr("llmkit.retrieval.writer.RACY_NS", 0)

"""`llmkit index --store`: the command when its Chroma server comes, goes and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chroma import ChromaServer

from llmkit.cli.app import main
from llmkit.registry.store import Registry
from llmkit.retrieval import vectors
from llmkit.retrieval.vectors import ChromaVectors


def test_a_server_that_dies_while_it_is_filled_is_exit_5_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("LLMKIT_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for n, text in enumerate(("Apples are red.", "Pears are green.", "Figs are sweet.", "Plums are blue.")):
        (tmp_path / "docs" / f"{n}.txt").write_text(text)
    server = ChromaServer(tmp_path / "server").start()
    command = ["index", "docs", "--name", "kb", "--store", server.address, "--quiet"]
    monkeypatch.setattr(vectors, "BATCH", 1)
    struck = ChromaVectors._strike_out

    def and_then_it_dies(self: ChromaVectors, rows: list[int]) -> None:
        struck(self, rows)
        server.kill()

    try:
        monkeypatch.setattr(ChromaVectors, "_strike_out", and_then_it_dies)
        assert main(command) == 5
        said = capsys.readouterr().err
        assert server.address in said and "chroma run" in said and "Traceback" not in said
        assert not Registry(home).artifacts("index")
        monkeypatch.setattr(ChromaVectors, "_strike_out", struck)
        assert main(command) == 5  # it is still away: said before anything is read
        server.start()
        assert main(command) == 0
        capsys.readouterr()
        assert main(["index", "repair", "kb", "--quiet"]) == 0
        assert "as in SQLite" in capsys.readouterr().out
        server.kill()
        assert main(["ask", "What colour are pears?", "--index", "kb"]) == 0
        assert "green" in capsys.readouterr().out
        assert main(["index", "repair", "kb", "--quiet"]) == 5
    finally:
        server.kill()

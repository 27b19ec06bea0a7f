"""The real command line in a subprocess, in a folder and a registry of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODULES = ("hashlib", "json/__init__", "bisect", "heapq", "textwrap", "fnmatch", "glob", "csv", "shutil", "tempfile",
           "secrets", "shlex", "getopt", "sched")  # fmt: skip


@dataclass
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


@dataclass
class Cli:
    """Runs `llmkit` in `folder` with `home` as its registry."""

    folder: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMKIT_")}
        return kept | {"LLMKIT_HOME": str(self.home), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "llmkit", *map(str, words)]

    def __call__(self, *words: object, timeout: float = 300, **variables: str) -> Ran:
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: object, **variables: str) -> dict[str, Any]:
        """The command's JSON result; fails the test with its stderr where the command fails."""
        ran = self(*words, "--json", **variables)
        assert ran.code == 0, ran.err + ran.out
        return ran.json

    def start(self, *words: object) -> subprocess.Popen[str]:
        """The command in the background, in a process group of its own."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def small_corpus(folder: Path) -> Path:
    """Some modules of the standard library, copied: real text that nobody here wrote."""
    library = Path(sysconfig.get_path("stdlib"))
    folder.mkdir(parents=True)
    for name in MODULES:
        shutil.copy(library / f"{name}.py", folder / f"{name.replace('/', '_')}.py")
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, tmp_path / "home")


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A registry in which the whole chain was run once: corpus, base, bot, kb. Tests read it and add to it."""
    folder = tmp_path_factory.mktemp("chain")
    cli = Cli(folder, folder / "home")
    small_corpus(folder / "docs")
    cli.ok("preprocess", "docs", "--name", "corpus", "--vocab-size", 2000)
    cli.ok("preprocess", "corpus", "--reader", "docstrings", "--name", "pairs", "--tokenizer", "none")
    cli.ok("pretrain", "--data", "corpus", "--name", "base", "--steps", 12, "--sequence-length", 128)
    cli.ok(
        "finetune-lora", "--model", "base", "--data", "pairs", "--name", "bot", "--steps", 4, "--over-length", "drop"
    )
    cli.ok("index", "docs", "--name", "kb")
    return cli

"""`llmkit preprocess` as its users call it: the same bytes however it is run, killed or divided; explained, tried."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.texts import ARABIC, BOTCHAN, FOOTER, QUESTION, prose

FILES = (
    "documents.parquet",
    "drops.parquet",
    "report.json",
    "contamination.json",
    "README.md",
    "report.html",
)
LAUNCH = """
import sys, time
import llmkit.data.corpus.pipeline as pipeline, llmkit.data.corpus.shards as shards
shards.SHARD_BYTES = 4000
pipeline._WORTH_WORKERS = 0
pause = float(sys.argv.pop(1))
run = pipeline._run_here
def slowly(*given):
    for done in run(*given):
        yield done
        time.sleep(pause)
pipeline._run_here = slowly
from llmkit.cli.app import main
sys.exit(main())
"""
"""The command line on shards of a few KB, so that a small folder is many; `pause` is waited after each."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of many formats, scripts and faults, with copies of each other and an evaluation question."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "quiz.jsonl").write_text(json.dumps({"id": "q1", "question": QUESTION}) + "\n")
    folder = root / "in"
    folder.mkdir()
    for seed in range(6):
        (folder / f"text{seed}.txt").write_text(f"{prose(seed)}\n{FOOTER}\nMail keeper{seed}@example.org today.")
        (folder / f"note{seed}.md").write_text(f"# Note {seed}\n\n{prose(50 + seed)}\n\n{FOOTER}\n")
    (folder / "copy.txt").write_text(prose(3).upper() + f"\n{FOOTER}\nMail keeper3@example.org today.")
    (folder / "near.md").write_text(f"# Note 4\n\n{prose(54)}\n\nA last line.\n\n{FOOTER}\n")
    (folder / "ja.txt").write_text(BOTCHAN, encoding="cp932")
    (folder / "ar.txt").write_text(ARABIC * 6)
    (folder / "quiz.txt").write_text(f"{prose(90)}\nAnd then he asked {QUESTION} of us.\n{prose(91)}")
    paragraphs = "".join(f"<p>{line}</p>" for line in prose(92).split("\n"))
    (folder / "page.html").write_text(f"<html><head><title>Tower</title></head><body>{paragraphs}</body></html>")
    rows = [json.dumps({"text": prose(100 + n % 50, 4), "license": "cc0"}) for n in range(70)]
    (folder / "rows.jsonl").write_text("\n".join([*rows, "{broken"]) + "\n")
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([n, prose(300 + n, 3)] for n in range(9))])
    with zipfile.ZipFile(folder / "pack.zip", "w") as archive:
        archive.writestr("inside/a.txt", prose(400))
    (folder / "story.txt.gz").write_bytes(gzip.compress(prose(402).encode(), mtime=0))
    (folder / "blob.txt").write_bytes(random.Random(1).randbytes(9_000))
    (folder / "short.txt").write_text("hi")
    (folder / "few.txt").write_text("Only a few words in here.")
    return root


@dataclass
class Runner:
    """Runs the command on the mixed folder with all steps on, each time in a registry of its own."""

    root: Path
    expected: dict[str, bytes] = field(default_factory=dict)

    def environment(self, home: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMKIT_")}
        return kept | {"LLMKIT_HOME": str(home), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def start(self, home: Path, *more: object, pause: float = 0) -> subprocess.Popen[str]:
        words = ["preprocess", "in", "--name", "c", "--tokenizer", "none", "--rules", "gopher_quality",
                 "--rules", "gopher_repetition", "--rules", "c4", "--rules", "fineweb", "--threshold",
                 "gopher_quality.min_words=20", "--drop-languages", "ar", "--pii", "replace", "--against",
                 "quiz.jsonl", "--ngram", "8", "--repeated-lines", "5", "--json"]  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(pause), *words, *map(str, more)],
            cwd=self.root,
            env=self.environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, home: Path, *more: object) -> dict[str, Any]:
        out, err = (process := self.start(home, *more)).communicate(timeout=120)
        assert process.returncode == 0, err + out
        result: dict[str, Any] = json.loads(out)
        return result

    def files(self, result: dict[str, Any]) -> dict[str, bytes]:
        return {name: (Path(result["artifact"]["path"]) / name).read_bytes() for name in FILES}

    def same(self, result: dict[str, Any]) -> None:
        for name, data in self.files(result).items():
            assert data == self.expected[name], name


@pytest.fixture(scope="module")
def run(mixed: Path) -> Runner:
    runner = Runner(mixed)
    runner.expected = runner.files(runner(mixed / "whole", "--workers", 1))
    return runner


def shards(home: Path) -> dict[str, tuple[int, int]]:
    """The finished shards of the work that is under way, each with its inode and its time."""
    found = [path for path in home.glob("work/*/shards/*") if not path.name.startswith(".")]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def wait_for_shards(home: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if len(shards(home)) >= count or process.poll() is not None:
            return
        time.sleep(0.02)


def test_another_number_of_workers_makes_the_same_bytes(run: Runner, tmp_path: Path) -> None:
    """Two workers are what the stopped runs below have."""
    run.same(run(tmp_path / "home", "--workers", 3))


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGKILL, -9, 2), (signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2)]
)
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    run: Runner, tmp_path: Path, number: int, code: int, workers: int
) -> None:
    home = tmp_path / "home"
    process = run.start(home, "--workers", workers, pause=0.3)
    wait_for_shards(home, 3, process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert "run it again" in said
    assert not list(home.glob("artifacts/c/*"))
    left = shards(home)
    assert len(left) >= 3
    second = run.start(home, "--workers", 1, pause=0.05)
    wait_for_shards(home, len(left) + 2, second)
    assert left.items() <= shards(home).items(), "what was done is not done again"
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    run.same(json.loads(out))
    assert not list(home.glob("work/*"))


def test_a_worker_that_is_killed_costs_nothing(run: Runner, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("finds the workers by /proc")
    home = tmp_path / "home"
    process = run.start(home, "--workers", 2, pause=0.1)
    wait_for_shards(home, 2, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(int(workers[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    run.same(json.loads(out))


def test_parts_of_an_array_are_done_at_once_and_put_together(run: Runner, tmp_path: Path) -> None:
    home = tmp_path / "home"
    both = [run.start(home, "--workers", 1, "--shard", f"{number}/3") for number in (1, 2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out)["artifact"] is None
    early = run.start(home, "--shard", "merge")
    out, err = early.communicate(timeout=60)
    assert early.returncode == 3
    assert "000002" in err
    assert "--shard" in json.loads(out)["error"]["mend"]
    assert run(home, "--shard", "3/3")["part"] == "3/3"
    run.same(run(home, "--shard", "merge"))
    throws = run.start(tmp_path / "third", "--shard", "1/3", "--restart")
    out, err = throws.communicate(timeout=60)
    assert "cannot throw away" in err
    assert throws.returncode == 2
    wrong = run.start(tmp_path / "other", "--shard", "5/3")
    wrong.communicate(timeout=60)
    assert wrong.returncode == 2


def test_without_ray_its_engine_is_a_missing_dependency(run: Runner, tmp_path: Path) -> None:
    process = run.start(tmp_path / "home", "--engine", "ray")
    out, err = process.communicate(timeout=120)
    if process.returncode == 0:
        run.same(json.loads(out))
        return
    assert process.returncode == 5
    assert "llmkit[ray]" in err


@pytest.fixture(scope="module")
def explained(run: Runner, mixed: Path) -> Any:
    """Asks the registry of the whole run for one document's story."""

    def explain(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "llmkit", "preprocess", "explain", *words],
            cwd="/",
            env=run.environment(mixed / "whole"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return explain


def test_explain_tells_a_documents_story_to_people_and_to_scripts(explained: Any) -> None:
    code, out, err = explained("c", "text0.txt")
    assert code == 0, err
    for words in ("normalise", "privacy", "Mail keeper0@example.org", "lines: repeated lines", "kept: in the"):
        assert words in out, out
    code, out, err = explained("c", "note4.md", "--json")
    assert code == 0, err
    story = json.loads(out)
    assert (story["kept"], story["step"]) == (False, "dedup")
    assert story["original"]["source"].endswith("/near.md")
    assert story["original"]["similarity"] >= 0.8


def test_explain_of_an_unknown_document_or_dataset_exits_3(explained: Any) -> None:
    code, _, err = explained("c", "nothing-like-it")
    assert code == 3
    assert "no document 'nothing-like-it'" in err
    code, _, err = explained("nowhere", "text0.txt")
    assert code == 3


def test_a_dry_run_on_a_sample_makes_nothing_and_lists_every_rule(cli: Any) -> None:
    from llmkit.data.steps.quality.presets import RULES

    folder = cli.folder / "in"
    folder.mkdir()
    for seed in range(5):
        (folder / f"{seed}.txt").write_text(prose(seed))
    (folder / "a.py").write_text("import os\n\nprint(os.name)\n" * 9)
    ran = cli("preprocess", "in", "--name", "c", "--dry-run", 50)
    assert ran.code == 0, ran.err
    for preset, rules in RULES.items():
        assert preset in ran.out
        for rule in rules:
            assert rule.name in ran.out, rule.name
    trial = cli.ok("preprocess", "in", "--dry-run", 3)["trial"]
    assert trial["documents"] == 3
    planned = cli.ok("preprocess", "in", "--name", "c", "--dry-run")
    assert (planned["action"], planned["name"]) == ("run", "c")
    assert not cli.home.exists()
    other = cli("index", "in", "--dry-run", 5)
    assert other.code == 2
    assert "preprocessing" in other.err


def test_standard_input_is_read_through_a_pipe(cli: Any) -> None:
    done = subprocess.run(
        cli.command("preprocess", "-", "--tokenizer", "none", "--json"),
        cwd=cli.folder,
        env=cli.environment,
        input=prose(1),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["artifact"]["ref"] == "stdin@1"
    assert cli("preprocess", "explain", "stdin", "stdin:").code == 0


def test_the_same_command_again_reuses_and_all_files_verify(run: Runner, mixed: Path) -> None:
    assert run(mixed / "whole", "--workers", 2)["reused"]
    verified = subprocess.run(
        [sys.executable, "-m", "llmkit", "registry", "verify", "c"],
        env=run.environment(mixed / "whole"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert verified.returncode == 0, verified.stderr

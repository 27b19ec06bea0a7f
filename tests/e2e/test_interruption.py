"""Killed, terminated, interrupted: nothing half-made is listed, and the next run goes on, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


def pretrain(name: str, *more: object) -> tuple[object, ...]:
    run = ("--steps", 40, "--seed", 7, "--sequence-length", 64, "--checkpoint-every", 4, "--force")
    return ("pretrain", "--data", "corpus", *run, "--name", name, *more)


def wait_for_checkpoint(home: Path, since: float, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        # A finished checkpoint: what is being written has another name until it is whole.
        files = [file for file in (home / "work").glob("*/checkpoints/step-*/*") if file.stat().st_mtime > since]
        if files or process.poll() is not None:
            return
        time.sleep(0.1)


def stop(chain: Any, words: tuple[object, ...], number: int) -> subprocess.Popen[str]:
    """Start a run, wait for a checkpoint of its own, then send the signal to it and its children."""
    since = time.time()
    process = chain.start(*words)
    wait_for_checkpoint(chain.home, since, process)
    time.sleep(random.Random(since).random() * 0.5)
    os.killpg(process.pid, number)
    process.wait(60)
    return process


def weights(result: dict[str, Any]) -> bytes:
    return (Path(result["artifact"]["path"]) / "model.safetensors").read_bytes()


def test_killed_three_times_the_run_ends_bit_for_bit_like_an_uninterrupted_one(chain: Any) -> None:
    whole = chain.ok(*pretrain("whole"))
    for _ in range(3):
        stop(chain, pretrain("killed"), signal.SIGKILL)
        assert "killed" not in {
            artifact["ref"].partition("@")[0] for artifact in chain.ok("registry", "list")["artifacts"]
        }
    resumed = chain.ok(*pretrain("killed"))
    assert resumed["resumed_from"]
    assert not resumed["reused"]
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_the_documented_exit_code(chain: Any, number: int, code: int) -> None:
    name = f"stopped-{code}"
    process = stop(chain, pretrain(name, "--checkpoint-every", 1, "--seed", code), number)
    assert process.returncode == code
    assert process.stderr is not None
    said = process.stderr.read()
    assert "Traceback" not in said
    assert "run it again" in said
    resumed = chain.ok(*pretrain(name, "--checkpoint-every", 1, "--seed", code))
    assert resumed["resumed_from"]


def test_a_killed_index_ends_as_a_fresh_one_would(chain: Any) -> None:
    for delay in (0.3, 1.5, 2.5):
        process = chain.start("index", "docs", "--name", "killed-kb")
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    result = chain.ok("index", "docs", "--name", "killed-kb")
    fresh = chain.ok("registry", "show", "kb")
    rows = [Path(artifact["path"]) / "documents.jsonl" for artifact in (result["artifact"], fresh)]
    assert rows[0].read_text() == rows[1].read_text()
    assert chain.ok("registry", "verify", "killed-kb")["problems"] == []


def test_one_run_at_a_time_holds_the_work_and_the_other_is_told_who(chain: Any) -> None:
    since = time.time()
    words = pretrain("held", "--seed", 99)
    first = chain.start(*words)
    wait_for_checkpoint(chain.home, since, first)
    second = chain(*words)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(60)
    assert second.code == 6
    assert "process" in second.err


def test_a_killed_recipe_goes_on_where_it_was(cli: Any) -> None:
    text = "Cats sleep most of the day. Dogs bark at the postman. Birds sing in the morning.\n"
    (cli.folder / "a.txt").write_text(text * 200)
    (cli.folder / "r.yaml").write_text(
        "stages:\n  - preprocess: {inputs: [a.txt], name: c, vocab_size: 400}\n"
        "  - pretrain: {data: c, name: m, steps: 60, sequence_length: 64, checkpoint_every: 5}\n"
    )
    since = time.time()
    process = cli.start("run", "r.yaml")
    wait_for_checkpoint(cli.home, since, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    results = [json.loads(line) for line in cli("run", "r.yaml", "--json").out.splitlines()]
    assert [result["reused"] for result in results] == [True, False]
    assert results[1]["resumed_from"]

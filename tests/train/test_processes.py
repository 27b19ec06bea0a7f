"""Two processes, started as users start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmkit.config.sections import TrainOptions
from llmkit.errors import UsageError
from llmkit.train.batches import Windows
from llmkit.train.launch import World, join
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken

OPTIONS = {"steps": 9, "samples": 20, "batch_size": 8, "device": "cpu", "precision": "fp32", "lr": 1e-2}

LAUNCHER = """
import sys
from llmkit.errors import LlmkitError
from llmkit.train.launch import launch
try:
    sys.exit(launch(sys.argv[1:], 2))
except LlmkitError as error:
    sys.exit(error.exit_code)
"""

WORKER = """
import json, os, sys, time
import numpy as np
from pathlib import Path
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.batches import Windows
from llmkit.train.launch import join
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.config.sections import TrainOptions

folder, vocab_size, options = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
world = join(2)
(folder / f"pid-{world.rank}").write_text(str(os.getpid()))
tokens = np.memmap(folder / "tokens.bin", np.uint16, "r")
model = new_model("gpt2", "tiny", vocab_size=vocab_size, ids=SpecialIds(pad=1, eos=0), sequence_length=32, seed=0,
                  overrides={"n_embd": 32, "n_layer": 2, "n_head": 2})
samples = Windows(tokens, NextToken(32), seed=3)
held_out = Windows(tokens[:400], NextToken(32), seed=3, shuffle=False)
for record in train(model, samples, TrainOptions(**options), validation=held_out, directory=folder / "run"):
    last = record.evaluations[-1] if record.evaluations else None
    with open(folder / f"losses-{world.rank}", "a") as out:
        print(json.dumps([record.step, record.loss, record.grad_norm, record.tokens, last and [last.nll, last.tokens]]),
              file=out)
if world.is_main:
    model.save_pretrained(folder / "model")
"""


@pytest.fixture
def command(tokens, tokenizer, tmp_path):
    tokens.tofile(tmp_path / "tokens.bin")

    def build(**changed):
        values = [len(tokenizer), {**OPTIONS, **changed}]
        return ["-c", WORKER, str(tmp_path), *map(json.dumps, values)]

    return build


def started(arguments, **environment):
    return subprocess.Popen([sys.executable, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def pids(folder, process):
    wanted = [folder / "pid-0", folder / "pid-1"]
    while process.poll() is None and not all(path.exists() and path.read_text() for path in wanted):
        time.sleep(0.05)
    return [int(path.read_text()) for path in wanted]


def gone(pid):
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_two_processes_train_as_one_does(command, tmp_path, tokens, small_model):
    """Also with a last step of 4 samples, and evaluation shared between them."""
    assert started(["-c", LAUNCHER, *command(micro_batch_size=2)]).wait() == 0
    lines = [[json.loads(line) for line in (tmp_path / f"losses-{rank}").read_text().splitlines()] for rank in (0, 1)]
    assert lines[0] == lines[1]
    samples = Windows(tokens, NextToken(32), seed=3)
    held_out = Windows(tokens[:400], NextToken(32), seed=3, shuffle=False)
    model = small_model()
    alone = list(train(model, samples, TrainOptions(**OPTIONS), validation=held_out))
    assert len(alone) == len(lines[0]) == 4
    for record, (step, loss, norm, tokens_, evaluation) in zip(alone, lines[0], strict=True):
        assert (record.step, record.tokens) == (step, tokens_)
        assert loss == (record.loss and pytest.approx(record.loss, rel=1e-5))
        assert norm == pytest.approx(record.grad_norm, rel=1e-3)
        assert evaluation == [pytest.approx(record.evaluations[-1].nll, rel=1e-4), 399]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_the_workers_die_with_their_launcher_even_when_it_is_killed(command, tmp_path):
    launcher = started(["-c", LAUNCHER, *command(steps=100_000, samples=0)])
    workers = pids(tmp_path, launcher)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 30
    while not all(map(gone, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, workers))


def test_a_terminated_launcher_terminates_its_workers_which_leave_a_checkpoint(command, tmp_path):
    launcher = started(["-c", LAUNCHER, *command(steps=100_000, samples=0)])
    workers = pids(tmp_path, launcher)
    while launcher.poll() is None and not (tmp_path / "losses-1").exists():
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait() == 143
    assert all(map(gone, workers))
    assert len(list((tmp_path / "run").glob("step-*"))) == 1


def test_the_exit_code_of_the_worker_that_failed_comes_back():
    code = "import os, sys, time; sys.exit(4) if os.environ['RANK'] == '1' else time.sleep(60)"
    assert started(["-c", LAUNCHER, "-c", code]).wait() == 4


def test_a_world_of_another_size_than_asked_for_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UsageError, match="--processes 2 was asked for, and the launcher started 1"):
        join(2)


def test_a_process_alone_is_a_world_of_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(None) == World()

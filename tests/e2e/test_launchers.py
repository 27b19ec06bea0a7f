"""Several processes that somebody else starts: by hand, by torchrun, by accelerate launch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from .conftest import Cli

RECIPES = Path(__file__).parents[2] / "recipes" / "distributed"
SMALL = ("--sequence-length", 64, "--batch-size", 4, "--precision", "fp32")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("launched")
    cli = Cli(folder, folder / "home")
    text = "Cats sleep most of the day. Dogs bark at the postman. Birds sing in the morning, number {}.\n"
    for number in range(20):
        (folder / f"{number}.txt").write_text("".join(text.format(number * line) for line in range(1, 60)))
    cli.ok("preprocess", *sorted(folder.glob("*.txt")), "--name", "corpus", "--vocab-size", 400, "--duplicates", "none")
    return cli


def pretrain(name: str, *more: object) -> tuple[object, ...]:
    return ("pretrain", "--data", "corpus", "--name", name, *SMALL, *more)


class ByHand:
    """Two processes of one command, with the variables that a launcher sets and no launcher."""

    def __init__(self, cli: Any, *words: object) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        self.processes = [
            subprocess.Popen(
                cli.command(*words),
                cwd=cli.folder,
                env={**cli.environment, **shared, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in (0, 1)
        ]

    def ended(self) -> tuple[list[int], list[str], list[str]]:
        said = [process.communicate(timeout=200) for process in self.processes]
        return [process.returncode for process in self.processes], [out for out, _ in said], [err for _, err in said]


def launched(cli: Any, launcher: list[str], *words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", *launcher, "-m", "llmkit", *map(str, words), "--json"]
    environment = {**cli.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=cli.folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def weights(result: dict[str, Any]) -> bytes:
    return (Path(result["artifact"]["path"]) / "model.safetensors").read_bytes()


def test_torchrun_makes_what_processes_makes_and_only_one_process_publishes(corpus: Any) -> None:
    torchrun = ["torch.distributed.run", "--nproc_per_node", "2"]
    result = launched(corpus, torchrun, *pretrain("run", "--steps", 3))
    assert result["artifact"]["ref"] == "run@1"
    again = corpus.ok(*pretrain("run", "--steps", 3, "--processes", 2), OMP_NUM_THREADS="1")
    assert again["reused"]
    forced = corpus.ok(*pretrain("run", "--steps", 3, "--processes", 2, "--force"), OMP_NUM_THREADS="1")
    assert forced["artifact"]["ref"] == "run@2"
    assert weights(forced) == weights(result)


def test_accelerate_trains_in_shards_what_one_process_trains(corpus: Any) -> None:
    config = ["accelerate.commands.launch", "--config_file", str(RECIPES / "fsdp.yaml"), "--num_processes", "2"]
    sharded = launched(corpus, config, *pretrain("sharded", "--steps", 4))
    alone = corpus.ok(*pretrain("alone", "--steps", 4, "--force"), OMP_NUM_THREADS="1")
    assert sharded["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=1e-4)
    assert sharded["parameters"] == alone["parameters"]
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(each["artifact"]["path"]).state_dict() for each in (sharded, alone)
    )
    assert ours.keys() == theirs.keys()
    assert all(float((ours[name] - theirs[name]).abs().max()) < 1e-2 for name in ours)


def test_what_fails_before_the_training_ends_all_processes_with_one_code_and_one_message(corpus: Any) -> None:
    codes, out, err = ByHand(corpus, "pretrain", "--data", "corpse").ended()
    assert codes == [3, 3]
    assert "did you mean 'corpus'?" in err[0]
    assert (out, err[1]) == (["", ""], "")


def test_a_command_that_does_not_train_is_run_by_one_process(corpus: Any) -> None:
    codes, out, err = ByHand(corpus, "registry", "list", "--json").ended()
    assert (codes, err) == ([0, 0], ["", ""])
    assert "corpus@1" in out[0]
    assert out[1] == ""


def test_another_number_of_processes_than_asked_for_is_refused_by_all(corpus: Any) -> None:
    codes, _, err = ByHand(corpus, *pretrain("three", "--processes", 3)).ended()
    assert codes == [2, 2]
    assert "--processes 3 was asked for, and the launcher started 2" in err[0]


def test_a_signal_to_all_leaves_a_checkpoint_and_the_documented_code(corpus: Any) -> None:
    words = pretrain("stopped", "--steps", 10_000, "--checkpoint-every", 2, "--eval-every", 0)
    run = ByHand(corpus, *words)
    while run.processes[0].poll() is None and not list((corpus.home / "work").glob("*/checkpoints/step-*/state.json")):
        time.sleep(0.1)
    for process in run.processes:
        process.send_signal(signal.SIGTERM)
    codes, _, err = run.ended()
    assert codes == [143, 143]
    assert "Traceback" not in "".join(err)
    assert corpus.ok(*words, "--dry-run")["action"] == "resume"


def test_variables_of_a_launcher_without_an_address_are_told_of(corpus: Any) -> None:
    names = ("MASTER_ADDR", "MASTER_PORT")
    assert not any(name in os.environ for name in names)
    ran = corpus("registry", "list", WORLD_SIZE="2", RANK="0")
    assert ran.code == 2
    assert "MASTER_ADDR" in ran.err

"""What gpu.sh runs; see there. Unmeasured: it has only ever run with --smoke, on a CPU."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pretrain import make_data

from llmkit.config.sections import TrainOptions
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.batches import Windows
from llmkit.train.loop import train
from llmkit.train.objectives import NextToken
from llmkit.train.utilisation import Utilisation, utilisation

RECIPE = Path("recipes/pretrain/shakespeare-gpu.yaml")
VOCABULARY = 50304
"""GPT-2's 50,257, rounded up to a multiple of 64 as in nanoGPT."""
FIRST_STEPS = 15


@dataclass(frozen=True)
class Size:
    """What is measured, and its toy form."""

    shape: dict[str, object]
    length: int
    batch: int
    steps: int
    recipe: tuple[str, ...] = ()


FULL = Size({"n_embd": 768, "n_layer": 12, "n_head": 12}, 1024, 32, 120)
SMOKE = Size(
    {"n_embd": 64, "n_layer": 2, "n_head": 2},
    64,
    2,
    20,
    tuple(
        word
        for setting in ("steps=4", "eval_samples=20", "architecture.layers=1", "architecture.width=48")
        for word in ("--set", f"model.{setting}")
    ),
)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, help="folder of nanoGPT's source")
    parser.add_argument("--text", type=Path, help="tiny Shakespeare, for its recipe")
    parser.add_argument("--batch", type=int, default=0, help="sequences of 1,024 tokens in a step (32)")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU is here; --smoke runs everything at toy size on a CPU")
    size = SMOKE if arguments.smoke else FULL
    batch = arguments.batch or size.batch
    device = "cpu" if arguments.smoke else f"{torch.cuda.get_device_name()}"
    print(f"{time.strftime('%Y-%m-%d')}, {device}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_data(place, None)
        print(
            "\n| | tokens/s | MFU | loss | peak GiB | start, s |\n| --- | ---: | ---: | ---: | ---: | ---: |",
            flush=True,
        )
        measure = gpt2(place, size, batch)
        if arguments.nanogpt:
            nanogpt(place, size, batch, arguments.nanogpt.resolve(), measure, smoke=arguments.smoke)
        if arguments.text:
            shakespeare(place, size, arguments.text)


def gpt2(place: Path, size: Size, batch: int) -> Utilisation | None:
    """GPT-2 124M from random weights through llmkit's loop, as `pretrain` would train it."""
    began = time.perf_counter()
    tokens = np.fromfile(place / "train.bin", dtype=np.uint16)
    undropped = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = new_model(
        "gpt2",
        "124m",
        vocab_size=VOCABULARY,
        ids=SpecialIds(),
        sequence_length=size.length,
        seed=0,
        overrides={**size.shape, **undropped},
    )
    options = TrainOptions(
        steps=size.steps, batch_size=batch, lr=6e-4, eval_every=0, precision="bf16", compile="on", spike=0
    )
    seconds, loss, first = [], float("nan"), 0.0
    for record in train(model, Windows(tokens, NextToken(size.length), seed=0), options):
        if record.loss is None:
            choices = record.choices
            continue
        loss, first = record.loss, first or time.perf_counter() - began
        seconds.append(record.seconds)
    measure = utilisation(model, "causal", size.length, choices)
    memory = torch.cuda.max_memory_allocated() / 2**30 if choices.device == "cuda" else 0.0
    rate = batch * size.length / median(seconds[FIRST_STEPS:])
    row(f"llmkit, batch {batch} x {size.length}", rate, measure, loss, memory, first)
    del model
    if choices.device == "cuda":
        torch.cuda.empty_cache()
    return measure


def nanogpt(place: Path, size: Size, batch: int, source: Path, measure: Utilisation | None, *, smoke: bool) -> None:
    """nanoGPT's train.py on the same data; MFU by the same count of FLOPs."""
    copy = place / "nanogpt"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git", "assets"))
    (copy / "data" / "bench").mkdir(parents=True)
    for name in ("train.bin", "val.bin"):
        shutil.copy(place / name, copy / "data" / "bench")
    options = {
        "dataset": "bench",
        "device": "cpu" if smoke else "cuda",
        "dtype": "float32" if smoke else "bfloat16",
        "compile": not smoke,
        "gradient_accumulation_steps": 1,
        "batch_size": batch,
        "block_size": size.length,
        "n_layer": size.shape["n_layer"],
        "n_head": size.shape["n_head"],
        "n_embd": size.shape["n_embd"],
        "bias": True,
        "max_iters": size.steps,
        "lr_decay_iters": size.steps,
        "warmup_iters": size.steps // 10,
        "eval_interval": 10**6,
        "eval_iters": 1,
    }
    began = time.perf_counter()
    printed = output([sys.executable, "train.py", *(f"--{k}={v}" for k, v in options.items())], copy)
    steps = re.findall(r"^iter \d+: loss ([\d.]+), time ([\d.]+)ms", printed, re.MULTILINE)
    seconds = [float(milliseconds) / 1e3 for _, milliseconds in steps]
    start = time.perf_counter() - began - sum(seconds[1:])
    rate = batch * size.length / median(seconds[FIRST_STEPS:])
    row(f"nanoGPT, batch {batch} x {size.length}", rate, measure, float(steps[-1][0]), None, start)


def row(name: str, rate: float, measure: Utilisation | None, loss: float, memory: float | None, start: float) -> None:
    """One line of the table."""
    mfu = f"{measure.mfu(rate):.1%}" if measure else "unknown"
    print(f"| {name} | {rate:,.0f} | {mfu} | {loss:.3f} | {memory or 0:.1f} | {start:.1f} |", flush=True)


def shakespeare(place: Path, size: Size, text: Path) -> None:
    """The recipe as a user runs it; its loss is that of the best evaluation, over the whole held-out tenth."""
    shutil.copy(text, place / "input.txt")
    command = [sys.executable, "-m", "llmkit", "run", str(RECIPE.resolve()), "--json", *size.recipe]
    began = time.perf_counter()
    printed = output(command, place, LLMKIT_HOME=str(place / "home"))
    last = json.loads(printed.splitlines()[-1])
    loss = min(evaluation["loss"] for evaluation in last["evaluations"])
    print(f"\nShakespeare, letter by letter: loss {loss:.4f} (goal 1.4697) in {time.perf_counter() - began:.0f} s")


def output(command: Sequence[str], folder: Path, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()

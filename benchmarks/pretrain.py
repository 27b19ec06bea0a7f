"""How fast pretraining is: tokens/s, peak memory and held-out loss, beside the transformers Trainer and nanoGPT.

Run from the repository's root:

    python benchmarks/pretrain.py                        llmkit and the Trainer, in their default and best settings
    python benchmarks/pretrain.py --nanogpt FOLDER       and nanoGPT, from a copy of github.com/karpathy/nanoGPT
    python benchmarks/pretrain.py --data FILE            on a text of your own
    python benchmarks/pretrain.py --family llama         another family (nanoGPT has only its own)

All train the same architecture from random weights, with the same batch, sequence length, optimizer, schedule and
number of tokens, each in a process of its own, in turns. The text is the standard library's source code.
Tokens/s are those of the median step, without the first ones, where kernels are chosen and compiled ("start", seconds
from the start of the process to the end of the first step, shows what that takes). Memory is the process's peak. The
held-out loss is measured by the same code for llmkit and the Trainer, and by its own for nanoGPT.

The Trainer is set up as transformers' run_clm.py does it: blocks of tokens with labels that are a copy of them, and the
default collator. Of nanoGPT its own train.py runs, unchanged; on a CPU it always computes in float32.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from side_by_side import hardware, watched

WORKER = Path(__file__).with_name("pretrain_worker.py")
VOCABULARY = 8192
FIRST_STEPS = 10
"""Steps that are not timed."""
CHARACTERS = 6_000_000
HELD_OUT_BATCHES = 30
LLMKIT = {"llmkit": {}, "llmkit, bf16, compiled": {"precision": "bf16", "compile": "on"}}
TRAINER = {
    "Trainer": {},
    "Trainer, bf16": {"bf16": True},
    "Trainer, bf16, compiled": {"bf16": True, "torch_compile": True},
}
NANOGPT = {"nanoGPT": {"compile": False}, "nanoGPT, compiled": {"compile": True}}


@dataclass(frozen=True)
class Work:
    """What every contestant does; dimensions as GPT-2's and nanoGPT's configurations both have them."""

    family: str
    layers: int
    heads: int
    width: int
    length: int
    batch: int
    steps: int


@dataclass(frozen=True)
class Result:
    tokens_per_second: float
    start: float
    loss: float
    memory: float
    """Peak, in MiB."""


def main() -> None:
    """Measure in rounds and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="folder of nanoGPT's source")
    parser.add_argument("--data", type=Path, help="a text file")
    parser.add_argument("--family", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--dimensions", default="4,4,192", help="layers, heads, width")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="contestants whose name begins with this, and the Trainer's default")
    arguments = parser.parse_args()
    layers, heads, width = map(int, arguments.dimensions.split(","))
    work = Work(arguments.family, layers, heads, width, arguments.length, arguments.batch, arguments.steps)
    contestants = {name: ("llmkit", setting) for name, setting in LLMKIT.items()}
    contestants |= {name: ("trainer", setting) for name, setting in TRAINER.items()}
    if arguments.nanogpt and work.family == "gpt2":
        contestants |= {name: ("nanogpt", setting) for name, setting in NANOGPT.items()}
    if arguments.only:
        contestants = {n: c for n, c in contestants.items() if n.startswith(arguments.only) or n == "Trainer"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_data(place, arguments.data)
        found: dict[str, list[Result]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, (kind, setting) in contestants.items():
                found[name].append(run(kind, setting, work, place, arguments.nanogpt))
                print(f"{name}: {found[name][-1]}", file=sys.stderr)
    show(found, work)


def make_data(place: Path, text: Path | None) -> None:
    """`train.bin` and `val.bin`, token ids as uint16, in the places where nanoGPT looks for them too."""
    from llmkit.data.tokenizer import train_tokenizer

    documents = [text.read_text("utf-8")] if text else standard_library()
    tokenizer = train_tokenizer(documents, VOCABULARY).tokenizer
    end = [tokenizer.eos_token_id]
    ids = np.array([id_ for document in documents for id_ in tokenizer.encode(document) + end], dtype=np.uint16)
    cut = len(ids) * 9 // 10
    ids[:cut].tofile(place / "train.bin")
    ids[cut:].tofile(place / "val.bin")
    (place / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(tokenizer)}))


def standard_library() -> list[str]:
    """Source files of the Python that runs this, some megabytes of them."""
    texts: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        texts.append(path.read_text("utf-8", errors="replace"))
        if sum(map(len, texts)) > CHARACTERS:
            break
    return texts


def run(kind: str, setting: Mapping[str, Any], work: Work, place: Path, nanogpt: Path | None) -> Result:
    """One contestant, once, in a process of its own."""
    if kind == "nanogpt":
        assert nanogpt is not None
        return run_nanogpt(nanogpt, setting, work, place)
    given = json.dumps({"kind": kind, "setting": dict(setting), "work": vars(work), "place": str(place)})
    began = time.time()
    printed, memory = watched([sys.executable, str(WORKER), given], Path.cwd())
    facts = json.loads(printed.splitlines()[-1])
    return Result(work.batch * work.length / timed(facts["seconds"]), facts["first"] - began, facts["loss"], memory)


def run_nanogpt(source: Path, setting: Mapping[str, Any], work: Work, place: Path) -> Result:
    """Its own train.py, in a copy of its folder, on the same data."""
    copy = place / "nanogpt"
    if not copy.exists():
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git", "assets"))
        shutil.copytree(place, copy / "data" / "bench", ignore=shutil.ignore_patterns("nanogpt"))
    options = {
        "dataset": "bench",
        "device": "cpu",
        "dtype": "float32",
        "compile": setting["compile"],
        "out_dir": str(place / "out"),
        "gradient_accumulation_steps": 1,
        "batch_size": work.batch,
        "block_size": work.length,
        "n_layer": work.layers,
        "n_head": work.heads,
        "n_embd": work.width,
        "bias": True,
        "dropout": 0.0,
        "learning_rate": 1e-3,
        "min_lr": 1e-4,
        "warmup_iters": work.steps // 10,
        "lr_decay_iters": work.steps,
        "max_iters": work.steps,
        "eval_interval": work.steps,
        "eval_iters": HELD_OUT_BATCHES,
        "always_save_checkpoint": False,
    }
    began = time.time()
    printed, memory = watched([sys.executable, "train.py", *(f"--{k}={v}" for k, v in options.items())], copy)
    lines = re.findall(r"^iter (\d+): .* time ([\d.]+)ms", printed, re.MULTILINE)
    seconds = [float(milliseconds) / 1e3 for number, milliseconds in lines if 0 < int(number) < work.steps]
    loss = float(re.findall(r"val loss ([\d.]+)", printed)[-1])
    # It prints no times of day: what is not in its steps is its start (with the first evaluation and compilation).
    return Result(work.batch * work.length / timed(seconds), time.time() - began - sum(seconds), loss, memory)


def timed(seconds: Sequence[float]) -> float:
    """The median step, without the first ones."""
    return median(seconds[FIRST_STEPS:] or seconds)


def show(found: Mapping[str, Sequence[Result]], work: Work) -> None:
    """Medians over the rounds, and how llmkit's default compares with each in the same round."""
    print(
        f"\n{date.today()}, {hardware()}. {work.family}, {work.layers} layers, {work.heads} heads, width {work.width},"
    )
    print(f"batch {work.batch} x {work.length}, {work.steps} steps; medians of {len(found['Trainer'])} rounds.\n")
    base = {name: found[name] for name in found if name.startswith("llmkit")}
    print("| | tokens/s | times the Trainer's default | start, s | peak MiB | held-out loss |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, results in found.items():
        ratio = median(
            mine.tokens_per_second / plain.tokens_per_second
            for mine, plain in zip(results, found["Trainer"], strict=True)
        )
        cells = [
            f"{median(r.tokens_per_second for r in results):,.0f}",
            f"{ratio:.2f}",
            f"{median(r.start for r in results):.1f}",
            f"{median(r.memory for r in results):,.0f}",
            f"{median(r.loss for r in results):.3f}",
        ]
        label = f"**{name}**" if name in base else name
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

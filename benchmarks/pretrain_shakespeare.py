"""llmkit's Shakespeare recipes beside nanoGPT's own for a CPU: seconds, and loss on the same held-out text.

Run from the repository's root, with a copy of github.com/karpathy/nanoGPT and tiny Shakespeare:

    python benchmarks/pretrain_shakespeare.py --nanogpt FOLDER --text input.txt [--rounds 2]

nanoGPT runs by the command of its README ("I only have a macbook": 2,000 iterations, --compile=False). Seconds are
those of whole commands, from the start of Python to its end: for nanoGPT train.py, for llmkit `pretrain` with its
evaluations, samples, report and published model. Making the data (prepare.py, `preprocess`) is not among them. The loss
is that of the saved weights over the whole last tenth of the text in windows of 64; nanoGPT's README gives its own
estimate, from 240 random windows, which it prints as well.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

RECIPES = {name: Path("recipes/pretrain") / f"{name}.yaml" for name in ("shakespeare-char", "shakespeare-char-tuned")}
NANOGPT = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 "
    "--dropout=0.0"
)
LENGTH = 64


def main() -> None:
    """Run everything in turns and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    text = arguments.text.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        theirs = prepared(arguments.nanogpt, text, place / "nanogpt")
        home = place / "home"
        shutil.copy(arguments.text, place / "input.txt")
        llmkit(home, place, "preprocess", RECIPES["shakespeare-char"], "corpus")
        found: dict[str, list[tuple[float, float]]] = {"nanoGPT": [], **{name: [] for name in RECIPES}}
        for _ in range(arguments.rounds):
            seconds, _ = timed([sys.executable, *NANOGPT.split()], theirs)
            found["nanoGPT"].append((seconds, loss_of_nanogpt(theirs, text)))
            for name, recipe in RECIPES.items():
                seconds, made = llmkit(home, place, "pretrain", recipe, "model", "--force")
                found[name].append((seconds, loss_of_ours(Path(made["artifact"]["path"]), text)))
            print({name: results[-1] for name, results in found.items()}, file=sys.stderr)
    show(found)


def prepared(source: Path, text: str, copy: Path) -> Path:
    """A copy of nanoGPT with the data as its prepare.py makes them."""
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git", "assets"))
    characters = sorted(set(text))
    numbers = {character: number for number, character in enumerate(characters)}
    cut = int(len(text) * 0.9)
    folder = copy / "data" / "shakespeare_char"
    for name, part in (("train.bin", text[:cut]), ("val.bin", text[cut:])):
        np.array([numbers[character] for character in part], dtype=np.uint16).tofile(folder / name)
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": numbers}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return copy


def llmkit(home: Path, place: Path, command: str, recipe: Path, stage: str, *more: str) -> tuple[float, Any]:
    """One command of ours: its seconds, and what it says it made."""
    line = [
        sys.executable,
        "-m",
        "llmkit",
        command,
        "--recipe",
        str(recipe.resolve()),
        "--stage",
        stage,
        "--json",
        *more,
    ]
    seconds, printed = timed(line, place, LLMKIT_HOME=str(home))
    return seconds, json.loads(printed)


def timed(command: Sequence[str], folder: Path, **variables: str) -> tuple[float, str]:
    """Seconds of a command, and its standard output."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - began, done.stdout


def loss_of_nanogpt(folder: Path, text: str) -> float:
    """Of its best checkpoint, by its own model's code."""
    sys.path.insert(0, str(folder))
    from model import GPT, GPTConfig

    saved = torch.load(folder / "out-shakespeare-char" / "ckpt.pt", weights_only=True)
    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    ids = np.fromfile(folder / "data" / "shakespeare_char" / "val.bin", dtype=np.uint16)
    return mean_loss(lambda inputs, labels: model(inputs, labels)[1], torch.from_numpy(ids.astype(np.int64)))


def loss_of_ours(folder: Path, text: str) -> float:
    """Of a published model, on the same characters."""
    from llmkit.models.load import load_model

    loaded = load_model(folder)
    loaded.model.eval()
    ids = torch.tensor(loaded.tokenizer.encode(text[int(len(text) * 0.9) :]))

    def loss(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = loaded.model(input_ids=inputs).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())

    return mean_loss(loss, ids)


@torch.no_grad()
def mean_loss(loss: Any, ids: torch.Tensor) -> float:
    """Over all whole windows, each once, in float32."""
    count = (len(ids) - 1) // LENGTH
    inputs, labels = (ids[at : at + count * LENGTH].view(count, LENGTH) for at in (0, 1))
    parts = zip(inputs.split(64), labels.split(64), strict=True)
    return sum(float(loss(x, y)) * len(x) for x, y in parts) / count


def show(found: dict[str, list[tuple[float, float]]]) -> None:
    """Medians, and each time as a share of nanoGPT's in the same round."""
    print("| | seconds | share of nanoGPT's | held-out loss |\n| --- | ---: | ---: | ---: |")
    for name, results in found.items():
        pairs = zip(results, found["nanoGPT"], strict=True)
        share = median(ours[0] / theirs[0] for ours, theirs in pairs)
        seconds, loss = (median(column) for column in zip(*results, strict=True))
        label = re.sub("^shakespeare", "llmkit, shakespeare", name)
        print(f"| {label} | {seconds:.1f} | {share:.2f} | {loss:.4f} |")


if __name__ == "__main__":
    main()

"""Memory that `llmkit plan` predicts against memory that training takes, on this machine's CPU.

python benchmarks/plan.py [--allocator default]

Each model trains three steps through llmkit's own loop in a process of its own. Measured is the process's largest
resident size less that just before the model is built, when everything it imports has been loaded and used once.

Large tensors are mapped one by one (MALLOC_MMAP_THRESHOLD_), so that what is measured is what they take. By default
glibc puts tensors of up to 32 MiB on its heap and keeps the gaps that they leave: `--allocator default` shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

VOCABULARY = 8192
STEPS = 3
MIB = 2**20

CASES: tuple[dict[str, object], ...] = (
    {"family": "gpt2", "size": "tiny", "batch_size": 32, "sequence_length": 256},
    {"family": "gpt2", "size": "tiny", "batch_size": 32, "sequence_length": 256, "precision": "fp32"},
    {"family": "gpt2", "size": "tiny", "batch_size": 128, "micro_batch_size": 32, "sequence_length": 256},
    {"family": "gpt2", "size": "124m", "batch_size": 1, "sequence_length": 256},
    {"family": "gpt2", "size": "124m", "batch_size": 4, "sequence_length": 256, "precision": "fp32"},
    {"family": "llama", "size": "tiny", "batch_size": 64, "sequence_length": 256},
    {"family": "llama", "size": "tiny", "batch_size": 64, "sequence_length": 256, "checkpointing": True},
    {"family": "smollm", "size": "135m", "batch_size": 2, "sequence_length": 256},
    {"family": "smollm", "size": "135m", "batch_size": 4, "sequence_length": 256, "method": "lora"},
    {"family": "bert", "size": "tiny", "batch_size": 64, "sequence_length": 256},
    {"family": "bert", "size": "base", "batch_size": 4, "sequence_length": 256},
    {"family": "t5", "size": "tiny", "batch_size": 64, "sequence_length": 256},
    {"family": "t5", "size": "small", "batch_size": 8, "sequence_length": 512},
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--allocator", choices=("mapped", "default"), default="mapped")
    parser.add_argument("--case", help="Measure one case, as JSON, in this process.")
    given = parser.parse_args()
    if given.case:
        print(measured(json.loads(given.case)))
        return 0
    mapped = {"MALLOC_MMAP_THRESHOLD_": str(MIB)} if given.allocator == "mapped" else {}
    print(f"{'case':<72} {'estimate':>10} {'measured':>10} {'ratio':>7}")
    for case in CASES:
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | mapped)
        found, expected = int(ran.stdout.split()[-1]), predicted(case)
        name = " ".join(
            f"{key}={value}" if key not in ("family", "size") else str(value) for key, value in case.items()
        )
        name = name.replace("_size", "").replace("sequence_", "")
        print(f"{name:<72} {expected / MIB:>6,.0f} MiB {found / MIB:>6,.0f} MiB {expected / found:>7.2f}", flush=True)
    return 0


def predicted(case: dict[str, object]) -> int:
    """The plan's peak, in bytes."""
    from llmkit.config.planning import PlanOptions
    from llmkit.models.hardware import Hardware
    from llmkit.models.plan import plan_training

    options = PlanOptions.model_validate({**case, "architecture": {"vocab_size": VOCABULARY}})
    return plan_training(options, Hardware("cpu", 1.0, 1.0, 2**40, 0.0)).memory.peak


def measured(case: dict[str, object]) -> int:
    """Bytes by which the largest resident size of this process grows as a model of the case is built and trained."""
    # A small model first: what libraries set up at their first step is not the model's.
    _trained({"family": case["family"], "size": "tiny", "batch_size": 2, "sequence_length": 64})
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
    _trained(case)
    return _largest() - before


def _trained(case: dict[str, object]) -> None:
    from typing import cast

    from llmkit.config.sections import LoraOptions, TrainOptions
    from llmkit.models.adapters import attach
    from llmkit.models.build import SpecialIds, new_model
    from llmkit.models.families import family
    from llmkit.train.loop import train

    length = cast(int, case["sequence_length"])
    ids = SpecialIds(pad=1, eos=0, bos=0, mask=2, cls=3, sep=4)
    name, size = str(case["family"]), str(case["size"])
    model = new_model(name, size, vocab_size=VOCABULARY, ids=ids, sequence_length=length, seed=0)
    objective = family(name).objective
    if case.get("checkpointing"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    trained = attach(model, objective, LoraOptions(), seed=0) if case.get("method") == "lora" else model
    options = TrainOptions(
        steps=STEPS,
        batch_size=cast(int, case["batch_size"]),
        micro_batch_size=cast(int, case.get("micro_batch_size", 0)),
        precision="fp32" if case.get("precision") == "fp32" else "bf16",
        compile="off",
        device="cpu",
    )
    for _ in train(trained, _windows(objective, length), options):
        pass


def _windows(objective: str, length: int) -> object:
    import numpy as np

    from llmkit.train.batches import Windows
    from llmkit.train.objectives import HiddenToken, MissingSpans, NextToken, Objective, Vocabulary

    taught: Objective
    if objective == "causal":
        taught = NextToken(length)
    elif objective == "masked":
        special = np.zeros(VOCABULARY, dtype=bool)
        taught = HiddenToken(length, 2, Vocabulary(special, special, special))
    else:
        taught = MissingSpans(length, tuple(range(10, 110)), eos=0, start=1)
    tokens = np.random.default_rng(0).integers(200, VOCABULARY, size=600_000, dtype=np.uint16)
    return Windows(tokens, taught, seed=0, shuffle=False)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _largest() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())

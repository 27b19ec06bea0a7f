"""How fast LoRA fine-tuning is: tokens/s, peak memory and held-out loss, beside TRL's SFTTrainer with PEFT.

Run from the repository's root:

    python benchmarks/finetune.py                   llmkit and TRL, in their default and best settings
    python benchmarks/finetune.py --trl FOLDER      with TRL from this folder, if it is not installed

All tune the same model (a Llama with random weights, the same for all) on the same prompts and completions (functions
of the standard library and their docstrings), in the same order of magnitude of lengths, with LoRA of rank 16 on all
linear layers, the same batch, learning rate, schedule and number of steps, each in a process of its own, in turns.
Only completions are learned, by all of them. Tokens/s are those of the examples themselves, without padding, over all
steps but the first; memory is the process's peak; the held-out loss is measured by the same code for all.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import hardware, watched

WORKER = Path(__file__).with_name("finetune_worker.py")
PROMPT, COMPLETION = 700, 400
"""Characters of a pair, at most."""
LLMKIT: Mapping[str, Mapping[str, Any]] = {
    "llmkit": {},
    "llmkit, packed": {"packing": True},
}
TRL: Mapping[str, Mapping[str, Any]] = {
    "TRL": {},
    "TRL, by length": {"train_sampling_strategy": "group_by_length"},
    # Its default computes activations a second time to save memory, which llmkit does not do.
    "TRL, activations kept": {"gradient_checkpointing": False},
    "TRL, activations kept, by length": {
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
    },
    "TRL, packed": {"packing": True},
}


@dataclass(frozen=True)
class Result:
    tokens_per_second: float
    loss: float
    memory: float
    """Peak, in MiB."""


def main() -> None:
    """Measure in rounds and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, help="folder of the package `trl`")
    parser.add_argument("--dimensions", default="6,6,384", help="layers, heads, width")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512, help="longest example in tokens")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="contestants whose name begins with this, and TRL's default")
    arguments = parser.parse_args()
    layers, heads, width = map(int, arguments.dimensions.split(","))
    work = {
        "layers": layers,
        "heads": heads,
        "width": width,
        "length": arguments.length,
        "batch": arguments.batch,
        "steps": arguments.steps,
    }
    contestants = {name: ("llmkit", setting) for name, setting in LLMKIT.items()}
    contestants |= {name: ("trl", setting) for name, setting in TRL.items()}
    if arguments.only:
        contestants = {n: c for n, c in contestants.items() if n.startswith(arguments.only) or n == "TRL"}
    if arguments.trl:
        os.environ["PYTHONPATH"] = str(arguments.trl)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in docstrings()), "utf-8")
        found: dict[str, list[Result]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, (kind, setting) in contestants.items():
                given = {"kind": kind, "setting": dict(setting), "work": work, "place": str(place)}
                printed, memory = watched([sys.executable, str(WORKER), json.dumps(given)], Path.cwd())
                facts = json.loads(printed.splitlines()[-1])
                found[name].append(Result(facts["tokens"] / facts["seconds"], facts["loss"], memory))
                print(f"{name}: {found[name][-1]}", file=sys.stderr)
    show(found, work)


def docstrings() -> Iterator[dict[str, str]]:
    """Functions of the standard library as prompts, and their docstrings as completions."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text("utf-8", errors="replace")
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or not (said := ast.get_docstring(node)):
                continue
            node.body = node.body[1:] or [ast.Pass()]
            yield {"prompt": ast.unparse(node)[:PROMPT] + "\n# ", "completion": said[:COMPLETION]}


def show(found: Mapping[str, Sequence[Result]], work: Mapping[str, int]) -> None:
    """Medians over the rounds, and each contestant's ratio to TRL's default of the same round."""
    print(f"\n{date.today()}, {hardware()}. Llama, {work['layers']} layers, width {work['width']}, LoRA r 16,")
    print(f"batch {work['batch']}, {work['steps']} steps; medians of {len(found['TRL'])} rounds.\n")
    print("| | tokens/s | times TRL's default | peak MiB | held-out loss |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, results in found.items():
        pairs = zip(results, found["TRL"], strict=True)
        ratio = median(mine.tokens_per_second / theirs.tokens_per_second for mine, theirs in pairs)
        cells = [
            f"{median(result.tokens_per_second for result in results):,.0f}",
            f"{ratio:.2f}",
            f"{median(result.memory for result in results):,.0f}",
            f"{median(result.loss for result in results):.3f}",
        ]
        label = f"**{name}**" if name.startswith("llmkit") else name
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

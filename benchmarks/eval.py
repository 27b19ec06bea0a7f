"""Requests per second of `llmkit eval` and of lm-evaluation-harness, on the same model and tasks, scores checked.

    python benchmarks/eval.py --peer VENV/bin/python [--model FOLDER] [--items 200] [--rounds 3]

The tasks are multiple choice with four choices after a prompt of some 100 words. Both run in processes of their own,
in turn, each with nothing kept from before; what is timed is the evaluation, without loading Python, torch and the
model. The harness runs with batches of 1, 8 and 32, and its best one counts. Without --model, the tiny Llama of
eval_parity.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from eval_parity import PEER, WORDS, make_models

_DATA = (
    "task: choices\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {file}}}}}\ntest_split: test\n"
    + PEER["choices"].replace("{", "{{").replace("}", "}}")
)


def ours(model: str, file: str) -> dict[str, Any]:
    """The scoring that the stage does, on the items that it makes."""
    from llmkit.data.rows import format_of, read_rows
    from llmkit.evaluation.kinds.choice import ChoiceTask, evaluate_choices
    from llmkit.evaluation.prompted import prompt_items
    from llmkit.evaluation.questions import Row
    from llmkit.generation.local import LocalModel
    from llmkit.generation.shared import encode_item, item_likelihoods
    from llmkit.models.load import load_model

    loaded = load_model(Path(model))
    local = LocalModel(loaded.model, loaded.tokenizer, loaded.objective)
    began = time.perf_counter()
    path = Path(file)
    rows = [Row(f"{path}:{row.number}", row.fields) for row in read_rows(path, format_of(path))]
    task = ChoiceTask(kind="multiple_choice", data=file)
    items = prompt_items(task, rows, choices=True)

    def likelihoods(asked: Any) -> Any:
        found = dict(item_likelihoods(local, [encode_item(local, prompt, says) for prompt, says in asked]))
        return [found[number] for number in range(len(asked))]

    result = evaluate_choices("choices", items, likelihoods)
    scores = {name: figure.value for name, figure in result.metrics.items()}
    return {"seconds": time.perf_counter() - began, "scores": scores, "requests": 4 * len(items)}


def theirs(python: str, model: str, tasks: Path, batch: int) -> dict[str, Any]:
    command = [python, str(Path(__file__).with_name("eval_peer.py")), model, str(tasks), str(batch)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(said.splitlines()[-1])
    scores = {name: found["results"]["choices"][f"{name},none"] for name in ("acc", "acc_norm", "acc_bytes")}
    return {"seconds": found["seconds"], "scores": scores, "requests": found["requests"]["choices"]}


def make_items(file: Path, count: int) -> None:
    pick = random.Random(0)

    def text(words: int) -> str:
        return " ".join(pick.choice(WORDS[:17]) for _ in range(words))

    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            choices = [f"{text(pick.randint(1, 4))} {n}" for n in range(4)]
            row = {"question": f"{text(pick.randint(30, 50))} {number}?", "choices": choices, "answer": number % 4}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that has lm-eval 0.4.13")
    parser.add_argument("--model", help="a model folder")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(ours(args.model, args.one)))
        return 0
    if not args.peer:
        parser.error("--peer is needed")
    folder = Path(tempfile.mkdtemp())
    model = args.model or str(make_models(folder)[1])
    file, tasks = folder / "choices.jsonl", folder / "tasks"
    tasks.mkdir()
    make_items(file, args.items)
    (tasks / "choices.yaml").write_text(_DATA.format(file=file), encoding="utf-8")
    best: dict[str, float] = {}
    scores: dict[str, Any] = {}
    command = [sys.executable, __file__, "--model", model, "--one", str(file)]
    for _ in range(args.rounds):
        runs = {f"lm-eval, batches of {batch}": theirs(args.peer, model, tasks, batch) for batch in (1, 8, 32)}
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
        runs["llmkit"] = json.loads(said.splitlines()[-1])
        for name, run in runs.items():
            best[name] = max(best.get(name, 0.0), run["requests"] / run["seconds"])
            scores[name] = run["scores"]
    for name, rate in best.items():
        print(f"{name:24} {rate:9.1f} requests/s   {scores[name]}")
    peer = max(rate for name, rate in best.items() if name != "llmkit")
    same = all(found == scores["llmkit"] for found in scores.values())
    print(f"{best['llmkit'] / peer:.2f} times the harness's best; scores are {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

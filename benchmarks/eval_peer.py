"""lm-evaluation-harness on YAML tasks, run by the Python of its own environment: `eval_peer.py MODEL TASKS BATCH`.

Prints one JSON object: every figure of every task, the seconds that the evaluation took, and how many requests it had.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, folder, batch = sys.argv[1:]
    names = sorted(file.stem for file in Path(folder).glob("*.yaml"))
    manager = TaskManager(include_path=folder, include_defaults=False)
    peer = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=int(batch))
    began = time.perf_counter()
    found = simple_evaluate(
        model=peer, tasks=names, task_manager=manager, bootstrap_iters=1000, log_samples=True, verbosity="ERROR"
    )
    seconds = time.perf_counter() - began
    requests = {name: sum(len(each["arguments"]) for each in rows) for name, rows in found["samples"].items()}
    print(json.dumps({"results": found["results"], "seconds": seconds, "requests": requests}, default=str))


if __name__ == "__main__":
    main()

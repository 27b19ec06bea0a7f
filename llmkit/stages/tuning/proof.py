"""Saving what was tuned, and proving it: read again from disk, it must be what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.stages.models import BASE, content_of
from llmkit.stages.publishing import add_last

if TYPE_CHECKING:
    from llmkit.models.adapters import AdapterCheck
    from llmkit.stages.tuning.task import Task


def save(task: Task, model: Any, work: Path) -> Path:
    """Write the artifact's folder below `work`: the adapter or the model, the tokenizer, the task's facts."""
    from llmkit.models.adapters import save_adapter
    from llmkit.models.load import TASK_FILE
    from llmkit.registry.disk import write_whole

    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    task.loaded.tokenizer.save_pretrained(out)
    add_last(work, out)
    told = {**task.facts} if task.cfg.method == "full" else {**task.facts, BASE: content_of(task.paths["model"])}
    facts = json.dumps(told, ensure_ascii=False, indent=1)
    write_whole(out / TASK_FILE, f"{facts}\n".encode())
    if task.cfg.method == "full":
        if task.stops:
            model.generation_config.eos_token_id = list(task.stops)
        model.save_pretrained(out)
    else:
        save_adapter(model, out)
    task.complete(out)
    return out


def prove(task: Task, model: Any, out: Path) -> AdapterCheck | None:
    """Compare the saved adapter with the trained one on a few samples; None for a full model, which is itself.

    Raises:
        RunError: it does nothing, is another one, or merges into something else.
    """
    from llmkit.models.adapters import check_adapter, outputs_of

    if task.cfg.method == "full":
        return None
    probe = task.probe()
    return check_adapter(task.fresh(), out, probe.inputs, outputs_of(model, probe.inputs))

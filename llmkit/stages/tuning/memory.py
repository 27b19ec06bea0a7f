"""What a run will take of the device's memory, said before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmkit.config.planning import Method, PlanOptions, PlanPrecision
from llmkit.errors import LlmkitError
from llmkit.reporting.figures import quantity

if TYPE_CHECKING:
    from llmkit.stages.tuning.task import Part, Task


_OPTIONS = frozenset({"micro_batch_size", "sequence_length", "method", "optimizer", "precision"})
"""Options of a plan that a tuning run has too."""


def memory_plan(task: Task, training: Part) -> dict[str, Any]:
    """Bytes of the largest step: `peak`, its parts, and `usable`; `changes` that would make it fit, where it does not.

    As `llmkit plan` has them, for the longest example: of the language model that this one is, which for a head of a
    few outputs is too much by its logits. Empty where the architecture cannot be planned.
    """
    from llmkit.models.fitting import changes_that_fit, usable
    from llmkit.models.load import read_config
    from llmkit.models.memory import Estimator
    from llmkit.stages.plan import settled

    options, length = _options(task), _length(training)
    device = settled(options)
    estimator = Estimator(read_config(task.paths["model"]), task.loaded.objective, on_cpu=device.name == "cpu")
    try:
        found = estimator.memory(options, length)
        fits = found.peak <= usable(device)
        changes = [] if fits else changes_that_fit(estimator, options, length, device)
    except (LlmkitError, ValueError):  # an architecture that cannot be planned may well be trained
        return {}
    here = [change.flags for change in changes if {*change.options} <= _OPTIONS and task.rows_of_a_sample == 1]
    return {**vars(found), "usable": usable(device), "changes": here}


def said(plan: dict[str, Any]) -> str:
    """The plan in a line."""
    parts = ", ".join(
        f"{name} {quantity(plan[name], 'B')}" for name in ("weights", "optimizer", "gradients", "activations")
    )
    return (
        f"memory of the largest step: about {quantity(plan['peak'], 'B')} of {quantity(plan['usable'], 'B')} ({parts})"
    )


def _length(training: Part) -> int:
    """Tokens of the longest row."""
    from llmkit.train.packing import Packed

    if isinstance(training.samples, Packed):
        return training.samples.length
    return max(1, min(training.counts["longest"], training.counts["limit"]))


def _options(task: Task) -> PlanOptions:
    from llmkit.train.launch import World
    from llmkit.train.precision import probe, resolve_device

    cfg = task.cfg
    device = resolve_device(cfg.device, World.current().local_rank)
    precision: PlanPrecision = "bf16"
    if "fp32" in (cfg.precision, probe(device).precision if cfg.precision == "auto" else ""):
        precision = "fp32"
    method: Method = cfg.method if cfg.method in ("full", "qlora") else "lora"
    rows = task.rows_of_a_sample
    return PlanOptions(
        model=cfg.model,
        batch_size=cfg.batch_size * rows,
        micro_batch_size=cfg.micro_batch_size * rows,
        optimizer=cfg.optimizer,
        precision=precision,
        method=method,
        rank=cfg.lora.rank,
        devices=World.current().size,
    )

"""`eval --compare`: several systems (a model, an index, or both) on the same items, side by side."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import NotFoundError, UsageError
from llmkit.registry.refs import RegistryRef, parse
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome

if TYPE_CHECKING:
    from llmkit.evaluation.result import TaskResult
    from llmkit.evaluation.tasks import Suite
    from llmkit.registry.store import Registry
    from llmkit.stages.eval import EvalConfig


@dataclass(frozen=True)
class Measured:
    """One system with what was measured on it; `peak` in bytes, None where this machine does not say."""

    label: str
    results: Sequence[TaskResult]
    peak: int | None


def find_systems(cfg: EvalConfig, suite: Suite, registry: Registry) -> Inputs:
    """The models and indexes of all systems; roles are `LABEL model` and `LABEL index`.

    Raises:
        UsageError: fewer than two systems, one twice, or one that no task can be measured on.
        NotFoundError: one is not there.
    """
    from llmkit.evaluation.tasks import KINDS

    labels = list(cfg.compare)
    if len(labels) < 2:
        raise UsageError(
            "there is nothing to compare one system with", mend="name several: --compare base,lora,lora+kb"
        )
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise UsageError(f"{twice} is named twice", where="--compare", mend="name each system once")
    found = Inputs()
    for label in labels:
        found = found.joined(_system(label, registry))
        has = {part for part in ("model", "index") if f"{label} {part}" in {**found.artifacts, **found.raw}}
        if not any(KINDS[task.kind].needs in has or KINDS[task.kind].needs == "either" for task in suite.root):
            needed = " or ".join(sorted({KINDS[task.kind].needs for task in suite.root}))
            raise UsageError(f"no task of the suite can be measured on {label}", mend=f"each needs a {needed}")
    return found


def side_by_side(suite: Suite, found: Inputs, cfg: EvalConfig, ctx: Context) -> Outcome:
    """Measure every system, and every two of them against each other."""
    from llmkit.evaluation.systems import pairwise
    from llmkit.stages.eval_report import rows_of, write_comparison
    from llmkit.stages.measuring import measure
    from llmkit.stages.seen import mark_seen, split_scores

    measured = []
    for label in cfg.compare:
        with Footprint() as footprint:
            results = measure(suite, found, f"{label} ", cfg, ctx)
        marked = mark_seen(results, found, ctx, f"{label} model")
        measured.append(Measured(label, marked, footprint.peak))
    pairs, notes = pairwise({each.label: each.results for each in measured})
    rows = [row for each in measured for row in _rows(each, cfg, found)]
    figures = [{"system": m.label, **row} for m in measured for result in m.results for row in rows_of(result)]
    payload = {
        "results": figures,
        "comparisons": [],
        "gates": [],
        "baseline": None,
        "systems": rows,
        "pairs": [pair.model_dump(mode="json") for pair in pairs],
        "failures": {f"{m.label}: {r.task}": len(r.failures) for m in measured for r in m.results if r.failures},
        "contamination": [{**p, "task": f"{m.label}: {p['task']}"} for m in measured for p in split_scores(m.results)],
        "notes": [*_remarks(measured, rows), *notes],
    }
    metrics = {f"{row['system']}.{row['task']}.{row['metric']}": row["value"] for row in figures}
    folder = ctx.work / "report"
    write_comparison(folder, payload, {each.label: each.results for each in measured})
    return Outcome([Made("report", folder)], metrics, payload)


class Footprint:
    """The most memory that this process held inside the block: resident in main memory, and on CUDA devices.

    The peak is of the whole process, so it has Python and its libraries in it, and what the allocator kept of before.
    """

    def __init__(self) -> None:
        self.peak: int | None = None

    def __enter__(self) -> Footprint:
        gc.collect()
        self._resets = _reset_peak()
        for device in _cuda_devices():
            _torch().cuda.reset_peak_memory_stats(device)
        return self

    def __exit__(self, *_: object) -> None:
        if self._resets and (resident := _peak()) is not None:
            self.peak = resident + sum(_torch().cuda.max_memory_allocated(device) for device in _cuda_devices())
        gc.collect()


def _rows(measured: Measured, cfg: EvalConfig, found: Inputs) -> list[dict[str, Any]]:
    from llmkit.evaluation.systems import cost_of_compute, cost_of_tokens

    rows = []
    for result in measured.results:
        if models.is_endpoint(found, f"{measured.label} model"):
            spent = result.spent
            tokens = (spent.prompt_tokens, spent.tokens) if spent else (0, 0)
            whole = spent is not None and spent.answers >= len(result.items)
            cost = cost_of_tokens(tokens, len(result.items) if whole else 0, (cfg.price_in, cfg.price_out))
        else:
            cost = cost_of_compute(result, cfg.price_per_hour)
        rows.append(
            {
                "system": measured.label,
                "task": result.task,
                "items": len(result.items),
                "failures": len(result.failures),
                "metrics": {name: estimate.model_dump(mode="json") for name, estimate in result.metrics.items()},
                "cost_per_1000": cost,
                "peak_bytes": measured.peak,
            }
        )
    return rows


def _remarks(measured: Sequence[Measured], rows: Sequence[dict[str, Any]]) -> list[str]:
    remarks = [f"{m.label}, {r.task}: {note}" for m in measured for r in m.results for note in r.notes]
    remarks += [
        f"{m.label}, {r.task}: {len(r.failures)} items failed" for m in measured for r in m.results if r.failures
    ]
    timed = any("latency_p50" in row["metrics"] for row in rows)
    if timed and all(row["cost_per_1000"] is None for row in rows):
        remarks.append(
            "no cost is given, as no price is known: --price-per-hour for this machine, --price-in and --price-out"
            " per million tokens for an endpoint"
        )
    if any(row["peak_bytes"] for row in rows):
        remarks.append("peak memory is the whole process's while a system was measured, Python and libraries included")
    return remarks


def _system(label: str, registry: Registry) -> Inputs:
    model, _, index = label.rpartition("+")
    if model and _is_index(index, registry):
        found = models.find_model(model, registry, role=f"{label} model")
        return found.joined(Inputs({f"{label} index": registry.resolve(index, "index")}))
    if _is_index(label, registry):
        return Inputs({f"{label} index": registry.resolve(label, "index")})
    try:
        return models.find_model(label, registry, role=f"{label} model")
    except (NotFoundError, UsageError) as error:
        if model:
            # What is behind the + is what can be wrong: say of it what is known.
            registry.resolve(index, "index")
        error.where = error.where or f"--compare {label}"
        raise


def _is_index(ref: str, registry: Registry) -> bool:
    try:
        parsed = parse(ref)
        return isinstance(parsed, RegistryRef) and registry.resolve(parsed).kind == "index"
    except (NotFoundError, UsageError):
        return False


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123  # a kernel file is opened, not a path's text
            file.write("5")  # resets VmHWM: proc(5)
    except OSError:
        return False
    return True


def _peak() -> int | None:
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123  # likewise
            line = next(line for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def _cuda_devices() -> range:
    torch = _torch()
    return range(torch.cuda.device_count() if torch is not None and torch.cuda.is_initialized() else 0)


def _torch() -> Any:
    import sys

    return sys.modules.get("torch")  # what is not loaded holds no memory

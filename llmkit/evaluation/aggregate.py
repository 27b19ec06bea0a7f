"""From per-item records to the metrics of a task, with their errors; the last step of every kind of task."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import JsonValue

from llmkit.errors import DataError, RunError
from llmkit.evaluation.metrics.table import metric, score_name
from llmkit.evaluation.result import Estimate, ItemFailure, ItemRecord, Score, TaskResult
from llmkit.evaluation.stats import Sample, sample_of, summarise

NOTHING = Score(value=0.0, weight=0.0)
"""The score of an item that has no part in a metric: of another category, or without what the metric is about."""


def check_ids(task: str, ids: Sequence[str]) -> None:
    """Refuse a task that has no items, or two with the same id.

    Raises:
        DataError: either.
    """
    if not ids:
        raise DataError("the task has no items", where=task, mend="check its data and split: nothing was measured")
    repeated = [item for item, count in Counter(ids).items() if count > 1]
    if repeated:
        more = f" (and {len(repeated) - 1} more)" if len(repeated) > 1 else ""
        raise DataError(
            f"the item id '{repeated[0]}' occurs more than once{more}", where=task, mend="make the ids unique"
        )


def data_digest(contents: Iterable[tuple[str, JsonValue]]) -> str:
    """sha256 in hex over (id, content) of all items, whatever their order."""
    lines = sorted(json.dumps([item, content], ensure_ascii=True, sort_keys=True) for item, content in contents)
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


def score(task: str, item: str, name: str, value: float, weight: float = 1.0) -> Score:
    """A per-item score that is known to be a number.

    Raises:
        DataError: it is NaN or infinite; a mean over it would mean nothing.
    """
    if not math.isfinite(value) or not math.isfinite(weight):
        raise DataError(
            f"the item '{item}' has {name} {value:g}, which is not a finite number",
            where=task,
            mend="the model's output is not usable on it (diverged weights, or a precision that overflows)",
        )
    return Score(value=value, weight=weight)


def records_sample(records: Sequence[ItemRecord], name: str) -> Sample:
    """The sample that a metric is computed from, in the order of the records."""
    scores = [record.scores[score_name(name)] for record in records]
    return sample_of([s.value for s in scores], [s.weight for s in scores], [record.cluster for record in records])


def estimates(records: Sequence[ItemRecord], metrics: Sequence[str]) -> tuple[dict[str, Estimate], list[str]]:
    """The named metrics over these records, and in words which of them have no finite value."""
    found: dict[str, Estimate] = {}
    remarks: list[str] = []
    for name in metrics:
        row = metric(name)
        held = [record for record in records if record.scores[score_name(name)] != NOTHING]
        sample = records_sample(held, name) if held else None
        if sample is None or (row.quantile is None and not sample.weights.sum()):
            remarks.append(f"{name} is left out: no item has a part in it")
            continue
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            got = summarise(sample, row)
        if not math.isfinite(got.value):
            remarks.append(f"{name} is too large for a floating-point number and is left out")
            continue
        ci = got.ci if got.ci and all(map(math.isfinite, got.ci)) else None
        stderr = got.stderr if got.stderr is not None and math.isfinite(got.stderr) else None
        found[name] = Estimate(value=got.value, stderr=stderr, ci=ci, n=len(held), unit=row.unit)
    return found, remarks


def task_result(
    task: str,
    kind: str,
    metrics: Sequence[str],
    records: Sequence[ItemRecord],
    *,
    digest: str,
    failures: Sequence[ItemFailure] = (),
    notes: Sequence[str] = (),
) -> TaskResult:
    """Compute the named metrics over the records.

    A metric with no finite value is left out with a note (the word perplexity of text without spaces overflows).

    Raises:
        RunError: every item failed.
    """
    if not records:
        first = failures[0]
        raise RunError(f"all {len(failures)} items failed; '{first.id}': {first.message}", where=task)
    found, remarks = estimates(records, metrics)
    remarks = [*notes, *remarks]
    return TaskResult(
        task=task,
        kind=kind,
        metrics=found,
        items=tuple(records),
        data_digest=digest,
        failures=tuple(failures),
        notes=tuple(remarks),
    )

"""Two results on the same items: the difference, whether it is more than chance, and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import records_sample
from llmkit.evaluation.metrics.table import metric, score_name
from llmkit.evaluation.result import Difference, ItemRecord, TaskComparison, TaskResult
from llmkit.evaluation.stats import paired_test, summarise_difference

_TIE = 1e-5
"""Relative change below which an item is tied: batches of other shapes move a likelihood by less."""


def compare(candidate: TaskResult, baseline: TaskResult) -> TaskComparison:
    """Candidate minus baseline for every metric both have, over the items that both could be evaluated on.

    Raises:
        DataError: the two were measured on different items, or on another version of them.
    """
    _check_comparable(candidate, baseline)
    before = {record.id: record for record in baseline.items}
    pairs = [(record, before[record.id]) for record in candidate.items if record.id in before]
    if not pairs:
        raise DataError("no item was evaluated on both systems", where=candidate.task, mend="see the failures of each")
    differences: dict[str, Difference] = {}
    notes: list[str] = []
    for name in candidate.metrics:
        if name not in baseline.metrics:
            notes.append(f"{name} was not measured on the baseline")
        elif metric(name).own_weights or _same_weights(pairs, score_name(name)):
            differences[name] = _difference(name, pairs)
        else:
            notes.append(
                f"{name} cannot be compared: the two models cut the same text into different tokens"
                " (bits_per_byte does not depend on the tokens)"
            )
    dropped = len(candidate.items) + len(candidate.failures) - len(pairs)
    if dropped:
        notes.append(f"{dropped} items that failed on one of the two systems are left out of the comparison")
    return TaskComparison(task=candidate.task, differences=differences, missing=dropped, notes=tuple(notes))


def _check_comparable(candidate: TaskResult, baseline: TaskResult) -> None:
    if candidate.kind != baseline.kind:
        raise DataError(
            f"not comparable: this is a {candidate.kind} task, the baseline's is a {baseline.kind} task",
            where=candidate.task,
            mend="evaluate the baseline with the same suite",
        )
    if candidate.data_digest == baseline.data_digest:
        return
    ours = {record.id for record in candidate.items} | {failure.id for failure in candidate.failures}
    theirs = {record.id for record in baseline.items} | {failure.id for failure in baseline.failures}
    if ours == theirs:
        how = f"the same {len(ours)} item ids, with other contents"
    else:
        how = f"{len(ours - theirs)} items that only this result has, {len(theirs - ours)} that only the baseline has"
    raise DataError(
        f"not comparable: the baseline was evaluated on another version of the data ({how})",
        where=candidate.task,
        mend="evaluate the baseline again, on this data",
    )


def _same_weights(pairs: Sequence[tuple[ItemRecord, ItemRecord]], name: str) -> bool:
    return all(ours.scores[name].weight == theirs.scores[name].weight for ours, theirs in pairs)


def _difference(name: str, pairs: Sequence[tuple[ItemRecord, ItemRecord]]) -> Difference:
    row = metric(name)
    ours = records_sample([first for first, _ in pairs], name)
    theirs = records_sample([second for _, second in pairs], name)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        got = summarise_difference(ours, theirs, row)
        p_value, test = paired_test(ours, theirs, row)
    better, worse = ((), ()) if row.quantile is not None else _changed(score_name(name), pairs, better=row.better)
    return Difference(
        value=got.value,
        stderr=got.stderr if got.stderr is not None and math.isfinite(got.stderr) else None,
        ci=got.ci if got.ci is not None and all(map(math.isfinite, got.ci)) else None,
        p_value=p_value,
        test=test,
        n=len(pairs),
        unit=row.unit,
        better=better,
        worse=worse,
    )


def _changed(
    name: str, pairs: Sequence[tuple[ItemRecord, ItemRecord]], *, better: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the items with a better and with a worse rate, largest change first."""
    sign = 1 if better == "higher" else -1
    gains: Mapping[str, float] = {
        ours.id: sign * (ours.scores[name].rate - theirs.scores[name].rate)
        for ours, theirs in pairs
        if not math.isclose(ours.scores[name].rate, theirs.scores[name].rate, rel_tol=_TIE, abs_tol=1e-12)
    }
    ranked = sorted(gains, key=lambda item: (-abs(gains[item]), item))
    return tuple(i for i in ranked if gains[i] > 0), tuple(i for i in ranked if gains[i] < 0)

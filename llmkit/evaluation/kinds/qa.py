"""Question answering against gold answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmkit.errors import DataError, RunError
from llmkit.evaluation.aggregate import check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.text import exact_match, token_f1
from llmkit.evaluation.result import ItemFailure, ItemRecord, TaskResult

METRICS = ("exact_match", "f1", "latency_p50", "latency_p95")


@dataclass(frozen=True)
class QAItem:
    """A question and its gold answers; a single empty answer says that the question has none."""

    id: str
    question: str
    answers: tuple[str, ...]
    cluster: str = ""


def evaluate_qa(
    task: str,
    items: Sequence[QAItem],
    answer: Callable[[str], str],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> TaskResult:
    """SQuAD's exact match and F1, and the seconds an answer takes.

    An answer that ends in a `RunError` (an endpoint that gave up after its retries) is counted as a failure.

    Raises:
        DataError: no items, duplicate ids, or an item without a gold answer.
        RunError: not one item could be answered.
    """
    check_ids(task, [item.id for item in items])
    for item in items:
        if not item.answers:
            raise DataError(f"the item '{item.id}' has no gold answer", where=task, mend='give one, or "" for "none"')
    records: list[ItemRecord] = []
    failures: list[ItemFailure] = []
    for item in items:
        began = clock()
        try:
            given = answer(item.question)
        except RunError as error:
            failures.append(ItemFailure(id=item.id, message=str(error)))
            continue
        seconds = clock() - began
        values = {
            "exact_match": exact_match(given, item.answers),
            "f1": token_f1(given, item.answers),
            "latency": seconds,
        }
        records.append(
            ItemRecord(
                id=item.id,
                cluster=item.cluster or item.id,
                scores={name: score(task, item.id, name, value) for name, value in values.items()},
                detail={"question": item.question, "answer": given, "gold": list(item.answers)},
            )
        )
    digest = data_digest((item.id, [item.question, list(item.answers)]) for item in items)
    return task_result(task, "qa", METRICS, records, digest=digest, failures=failures)

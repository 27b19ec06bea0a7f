"""Where in a context the answer stands: span extraction, scored as SQuAD 2.0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from llmkit.evaluation.aggregate import check_ids, data_digest, task_result
from llmkit.evaluation.metrics.text import exact_match, token_f1
from llmkit.evaluation.result import ItemRecord, Score, TaskResult
from llmkit.evaluation.spec import TaskSpec

METRICS = ("exact_match", "f1", "answerable_exact_match", "answerable_f1", "no_answer_accuracy")

Locate = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""(question, context) pairs -> the answer of each, "" for none."""


class SpansTask(TaskSpec):
    """Questions with a context, in SQuAD's form, answered by a model that was tuned with `--task qa`."""

    kind: Literal["spans"]
    data: str = Field(description="A file of questions with `context` and `answers`.")


@dataclass(frozen=True)
class SpanItem:
    """A question, its context and its gold answers; none where the context does not say."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    cluster: str = ""


def evaluate_spans(task: str, items: Sequence[SpanItem], locate: Locate) -> TaskResult:
    """Exact match and F1 of all questions, of those with an answer, and the share of the others left unanswered.

    Raises:
        DataError: no items, or duplicate ids.
    """
    check_ids(task, [item.id for item in items])
    records = []
    for item, said in zip(items, locate([(item.question, item.context) for item in items]), strict=True):
        gold = item.answers or ("",)
        answerable = float(bool(item.answers))
        exact, f1 = exact_match(said, gold), token_f1(said, gold)
        records.append(
            ItemRecord(
                id=item.id,
                cluster=item.cluster or item.id,
                scores={
                    "exact_match": Score(value=exact),
                    "f1": Score(value=f1),
                    "answerable_exact_match": Score(value=exact * answerable, weight=answerable),
                    "answerable_f1": Score(value=f1 * answerable, weight=answerable),
                    "no_answer_accuracy": Score(value=exact * (1 - answerable), weight=1 - answerable),
                },
                detail={"question": item.question, "gold": list(item.answers), "answer": said},
            )
        )
    digest = data_digest((item.id, [item.question, item.context, list(item.answers)]) for item in items)
    return task_result(task, "spans", METRICS, records, digest=digest)

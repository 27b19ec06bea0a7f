"""Answers from documents: are they right, do their citations hold, and is nothing said where there is no answer?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from llmkit.errors import DataError, RunError
from llmkit.evaluation.aggregate import NOTHING, check_ids, data_digest, score, task_result
from llmkit.evaluation.kinds.retrieval import Place, answers, plain
from llmkit.evaluation.metrics.text import exact_match, normalise_answer, token_f1
from llmkit.evaluation.result import ItemFailure, ItemRecord, Score, TaskResult
from llmkit.evaluation.spec import TaskSpec

METRICS = (
    "exact_match",
    "f1",
    "answer_contained",
    "citation_precision",
    "citation_recall",
    "unsupported_share",
    "abstention_precision",
    "abstention_recall",
    "abstention_auroc",
    "latency_p50",
    "latency_p95",
)


class RagTask(TaskSpec):
    """Answers from documents against gold answers and gold places."""

    kind: Literal["rag"]
    data: str | None = Field(
        default=None,
        description="A question file with answers, sources or both; without one, questions are made of the index.",
    )


@dataclass(frozen=True)
class RagItem:
    """A question with gold answers (a single empty one: the documents have none), gold places, or both.

    `made` is set where the question was made of the index's own text.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    relevant: tuple[Place, ...] = ()
    cluster: str = ""
    made: bool = False

    @property
    def answerable(self) -> bool:
        return bool(self.relevant) or any(self.answers)


@dataclass(frozen=True)
class RagAnswer:
    """What was answered.

    Attributes:
        text: all that was said, without the numbers of citations; "" for nothing.
        short: what is held against short gold answers: what a reader marked, else `text`.
        statements: how many it makes, and `unsupported` how many of them no citation carries.
        confidence: that there is an answer, on any scale; None where nothing says.
    """

    text: str
    abstained: bool
    short: str = ""
    citations: tuple[Place, ...] = field(default=())
    statements: int = 0
    unsupported: int = 0
    confidence: float | None = None


def evaluate_rag(
    task: str,
    items: Sequence[RagItem],
    answer: Callable[[str], RagAnswer],
    *,
    notes: Sequence[str] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> TaskResult:
    """Exact match and F1 (SQuAD 2.0), citations against gold places, support, abstention, and seconds.

    Each metric is of the items that have a part in it: answers count where a gold answer is known, citations where a
    gold place is and something was said, abstention everywhere; its AUROC needs questions of both sorts. A citation is
    right if it overlaps half of the shorter of itself and a gold place. An answer that ends in a `RunError` is counted
    as a failure.

    Raises:
        DataError: no items, duplicate ids, or an item with neither answer nor place.
        RunError: not one item could be answered.
    """
    check_ids(task, [item.id for item in items])
    for item in items:
        if not item.answers and not item.relevant:
            raise DataError(f"the item '{item.id}' has neither answer nor source", where=task, mend="give one of them")
    given: list[tuple[RagItem, RagAnswer, float]] = []
    failures: list[ItemFailure] = []
    for item in items:
        began = clock()
        try:
            said = answer(item.question)
        except RunError as error:
            failures.append(ItemFailure(id=item.id, message=str(error)))
            continue
        given.append((item, said, clock() - began))
    shares = _auroc_shares([(item.answerable, said.confidence) for item, said, _ in given])
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster or item.id,
            scores={**_scores(task, item, said), "latency": Score(value=seconds), "abstention_auroc": share},
            detail={
                "question": item.question,
                "answer": "" if said.abstained else said.short or said.text,
                "said": said.text,
                "gold": list(item.answers),
                "citations": [list(plain(place)) for place in said.citations],
                "relevant": [list(plain(place)) for place in item.relevant],
                "abstained": said.abstained,
                "confidence": said.confidence,
                **({"made": True} if item.made else {}),
            },
        )
        for (item, said, seconds), share in zip(given, shares, strict=True)
    ]
    digest = data_digest(
        (item.id, [item.question, list(item.answers), [list(plain(place)) for place in item.relevant]])
        for item in items
    )
    return task_result(task, "rag", METRICS, records, digest=digest, failures=failures, notes=notes)


def _scores(task: str, item: RagItem, said: RagAnswer) -> dict[str, Score]:
    """The shares of one item in all metrics but time and AUROC."""
    short = "" if said.abstained else said.short or said.text
    found = {
        "exact_match": NOTHING,
        "f1": NOTHING,
        "answer_contained": NOTHING,
        "citation_precision": NOTHING,
        "citation_recall": NOTHING,
        "unsupported_share": Score(value=said.unsupported, weight=said.statements),
        "abstention_precision": Score(value=float(not item.answerable), weight=1.0) if said.abstained else NOTHING,
        "abstention_recall": NOTHING if item.answerable else Score(value=float(said.abstained)),
    }
    if item.answers:
        found["exact_match"] = score(task, item.id, "exact_match", exact_match(short, item.answers))
        found["f1"] = score(task, item.id, "f1", token_f1(short, item.answers))
    if any(item.answers):
        found["answer_contained"] = Score(value=contained(said.text, item.answers))
    if item.relevant:
        right = [any(answers(cited, gold) for gold in item.relevant) for cited in said.citations]
        cited = [any(answers(place, gold) for place in said.citations) for gold in item.relevant]
        found["citation_precision"] = Score(value=sum(right), weight=len(right))
        found["citation_recall"] = Score(value=sum(cited), weight=len(cited))
    return found


def contained(text: str, gold: Sequence[str]) -> float:
    """1.0 if a gold answer stands in the text, both normalised as SQuAD does (Mallen et al. 2023, arXiv:2212.10511)."""
    said = f" {normalise_answer(text)} "
    wanted = [normalise_answer(answer) for answer in gold]
    # Where words are not divided by spaces, an answer has no borders to look for.
    return float(any((f" {w} " in said) if w.isascii() else w in said for w in wanted if w))


def _auroc_shares(given: Sequence[tuple[bool, float | None]]) -> list[Score]:
    """Each item's structural component of the AUROC that confidence tells questions with an answer from others.

    Their ratio is Mann and Whitney's statistic, and the standard error that linearisation gives of it is that of
    DeLong, DeLong and Clarke-Pearson (1988), but for the factor n / (n - 1).
    """
    above = np.asarray([c for has, c in given if has and c is not None], dtype=np.float64)
    below = np.asarray([c for has, c in given if not has and c is not None], dtype=np.float64)
    if not len(above) or not len(below):
        return [NOTHING] * len(given)
    ups, downs = _share_below(above, below), 1 - _share_below(below, above)
    area, ratio = float(ups.mean()), len(above) / len(below)
    up, down = iter(ups.tolist()), iter(downs.tolist())
    return [
        NOTHING
        if confidence is None
        else Score(value=next(up))
        if has
        else Score(value=ratio * (next(down) - area), weight=0.0)
        for has, confidence in given
    ]


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each value, the share of `others` that are less, ties counted half."""
    order = np.sort(others)
    both = np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right")
    return np.asarray(both / (2 * len(others)), dtype=np.float64)

"""Retrieval: does the search bring up what is known to answer the question, and how far up?"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import NOTHING, check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.ranking import ndcg_at_k, recall_at_k, reciprocal_rank
from llmkit.evaluation.result import ItemRecord, Score, TaskResult
from llmkit.text.document import Span


class Place(NamedTuple):
    """A source, or a span of its code points; `span` None means the whole source.

    `record` is which record of the source (row of a table, line of a JSONL); "" where the source is one text, or where
    a gold place does not say.
    """

    source: str
    span: Span | None = None
    record: str = ""


@dataclass(frozen=True)
class RetrievalItem:
    """A question and the places that answer it."""

    id: str
    question: str
    relevant: tuple[Place, ...]
    cluster: str = ""


Search = Callable[[str], Sequence[Place]]
"""A question -> places, best first; at least as many distinct sources as the largest cut-off, where there are."""


def metric_names(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """recall at every cut-off, the reciprocal rank, nDCG and span IoU at the largest, and the time a search takes."""
    ranked = (*(f"recall@{k}" for k in cutoffs), "mrr", f"ndcg@{max(cutoffs)}")
    return (*ranked, "span_iou", "latency_p50", "latency_p95")


def evaluate_retrieval(
    task: str,
    items: Sequence[RetrievalItem],
    search: Search,
    *,
    cutoffs: Sequence[int] = (1, 5, 10),
    made: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> TaskResult:
    """Recall, mean reciprocal rank, nDCG and span IoU of a search, looking no further than the largest cut-off.

    Where a question's answer is a whole source, the ranking is of distinct sources, as in BEIR; where it is a span,
    the ranking is of the places themselves, and one counts if it overlaps half of the shorter of the two.
    The span IoU of a question is that of the place that fits a gold span best, averaged over its gold spans.

    Args:
        made: how the questions were made, in words; "" where a user wrote them.

    Raises:
        DataError: no items, duplicate ids, or an item with nothing relevant.
    """
    check_ids(task, [item.id for item in items])
    depth = max(cutoffs)
    records = []
    for item in items:
        if not item.relevant:
            raise DataError(f"the item '{item.id}' names nothing relevant", where=task, mend="give its source")
        began = clock()
        places = search(item.question)
        seconds = clock() - began
        keys = ranking(places, item.relevant)[:depth]
        gold = range(len(item.relevant))
        values = {f"recall@{k}": recall_at_k(keys, gold, k) for k in cutoffs}
        values["mrr"] = reciprocal_rank(keys, gold)
        values[f"ndcg@{depth}"] = ndcg_at_k(keys, dict.fromkeys(gold, 1.0), depth)
        values["latency"] = seconds
        records.append(
            ItemRecord(
                id=item.id,
                cluster=item.cluster or item.id,
                scores={
                    **{name: score(task, item.id, name, value) for name, value in values.items()},
                    "span_iou": _fit(places[:depth], item.relevant),
                },
                detail={
                    "question": item.question,
                    "relevant": [list(plain(place)) for place in item.relevant],
                    "retrieved": [list(plain(place)) for place in places[:depth]],
                    **({"made": True} if made else {}),
                },
            )
        )
    digest = data_digest((item.id, [item.question, [list(plain(p)) for p in item.relevant]]) for item in items)
    notes = [f"the questions are made: {made}"] if made else []
    return task_result(task, "retrieval", metric_names(cutoffs), records, digest=digest, notes=notes)


def _fit(places: Sequence[Place], relevant: Sequence[Place]) -> Score:
    spans = [gold for gold in relevant if gold.span is not None]
    if not spans:
        return NOTHING
    return Score(value=sum(max((span_iou(p, gold) for p in places), default=0.0) for gold in spans) / len(spans))


def span_iou(place: Place, gold: Place) -> float:
    """Code points in both spans over those in either; 0 where one is a whole source, whose length is not known."""
    if place.span is None or gold.span is None or not same_text(place, gold):
        return 0.0
    shared = min(place.span.end, gold.span.end) - max(place.span.start, gold.span.start)
    return shared / (len(place.span) + len(gold.span) - shared) if shared > 0 else 0.0


def ranking(places: Sequence[Place], relevant: Sequence[Place]) -> list[Hashable]:
    """Distinct keys in rank order: the index of the relevant place that is hit there first, else a key of its own."""
    by_source = all(gold.span is None for gold in relevant)
    keys: list[Hashable] = []
    seen_sources: set[str] = set()
    open_gold = list(range(len(relevant)))
    for rank, place in enumerate(places):
        if by_source and place.source in seen_sources:
            continue
        seen_sources.add(place.source)
        hit = next((index for index in open_gold if answers(place, relevant[index])), None)
        if hit is None:
            keys.append(("miss", rank))
        else:
            open_gold.remove(hit)
            keys.append(hit)
    return keys


def same_text(place: Place, gold: Place) -> bool:
    """Whether both are in the same text; a gold place that names no record may be in any of its source."""
    return place.source == gold.source and (not gold.record or place.record == gold.record)


def answers(place: Place, gold: Place) -> bool:
    """Whether a place is the gold one: it overlaps half of the shorter of the two, or one is the whole source."""
    if not same_text(place, gold):
        return False
    if place.span is None or gold.span is None:
        return True
    overlap = min(place.span.end, gold.span.end) - max(place.span.start, gold.span.start)
    return overlap > 0 and 2 * overlap >= min(len(place.span), len(gold.span))


def plain(place: Place) -> tuple[str, int | None, int | None] | tuple[str, int | None, int | None, str]:
    """A place as JSON has it: its source, start and end, and its record where it has one."""
    start, end = place.span or (None, None)
    return (place.source, start, end, place.record) if place.record else (place.source, start, end)

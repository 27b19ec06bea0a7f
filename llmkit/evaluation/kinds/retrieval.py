"""Retrieval: does the search bring up what is known to answer the question, and how far up?"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.ranking import ndcg_at_k, recall_at_k, reciprocal_rank
from llmkit.evaluation.result import ItemRecord, TaskResult
from llmkit.text.document import Span


class Place(NamedTuple):
    """A source, or a span of its code points; `span` None means the whole source."""

    source: str
    span: Span | None = None


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
    """recall at every cut-off, the reciprocal rank and nDCG at the largest, and the time a search takes."""
    return (*(f"recall@{k}" for k in cutoffs), "mrr", f"ndcg@{max(cutoffs)}", "latency_p50", "latency_p95")


def evaluate_retrieval(
    task: str,
    items: Sequence[RetrievalItem],
    search: Search,
    *,
    cutoffs: Sequence[int] = (1, 5, 10),
    clock: Callable[[], float] = time.perf_counter,
) -> TaskResult:
    """Recall, mean reciprocal rank and nDCG of a search, looking no further than the largest cut-off.

    Where a question's answer is a whole source, the ranking is of distinct sources, as in BEIR; where it is a span,
    the ranking is of the places themselves, and one counts if it overlaps half of the shorter of the two.

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
                scores={name: score(task, item.id, name, value) for name, value in values.items()},
                detail={
                    "question": item.question,
                    "relevant": [list(_plain(place)) for place in item.relevant],
                    "retrieved": [list(_plain(place)) for place in places[:depth]],
                },
            )
        )
    digest = data_digest((item.id, [item.question, [list(_plain(p)) for p in item.relevant]]) for item in items)
    return task_result(task, "retrieval", metric_names(cutoffs), records, digest=digest)


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
        hit = next((index for index in open_gold if _answers(place, relevant[index])), None)
        if hit is None:
            keys.append(("miss", rank))
        else:
            open_gold.remove(hit)
            keys.append(hit)
    return keys


def _answers(place: Place, gold: Place) -> bool:
    if place.source != gold.source:
        return False
    if place.span is None or gold.span is None:
        return True
    overlap = min(place.span.end, gold.span.end) - max(place.span.start, gold.span.start)
    return overlap > 0 and 2 * overlap >= min(len(place.span), len(gold.span))


def _plain(place: Place) -> tuple[str, int | None, int | None]:
    return (place.source, place.span.start, place.span.end) if place.span else (place.source, None, None)

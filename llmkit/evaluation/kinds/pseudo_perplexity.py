"""How surprised a masked model is by texts, each token masked in turn (Salazar et al., 2020, arXiv:1910.14659)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.likelihood import byte_count
from llmkit.evaluation.result import ItemRecord, TaskResult
from llmkit.evaluation.spec import DatasetSpec
from llmkit.text.document import text_digest

METRICS = ("pseudo_perplexity", "pseudo_bits_per_byte")

PseudoLikelihoods = Callable[[Sequence[str]], Sequence[tuple[float, int]]]
"""Texts -> (pseudo-log-likelihood in nats, tokens) of each."""


class PseudoPerplexityTask(DatasetSpec):
    """Pseudo-perplexity of documents, for masked models."""

    kind: Literal["pseudo_perplexity"]


@dataclass(frozen=True)
class PseudoItem:
    """A document."""

    id: str
    text: str
    cluster: str = ""


def evaluate_pseudo(task: str, items: Sequence[PseudoItem], likelihoods: PseudoLikelihoods) -> TaskResult:
    """exp of the mean negative pseudo-log-likelihood per token (their PPPL), and bits per byte.

    Raises:
        DataError: no items, duplicate ids, a document without tokens, or a likelihood that is not finite.
    """
    check_ids(task, [item.id for item in items])
    records = []
    for item, (value, tokens) in zip(items, likelihoods([item.text for item in items]), strict=True):
        if not tokens:
            raise DataError(f"the document '{item.id}' has no tokens", where=task, mend="remove the empty document")
        records.append(
            ItemRecord(
                id=item.id,
                cluster=item.cluster or item.id,
                scores={
                    "pseudo_nll_per_token": score(task, item.id, "pseudo-log-likelihood", -value, tokens),
                    "pseudo_nll_per_byte": score(task, item.id, "pseudo-log-likelihood", -value, byte_count(item.text)),
                },
                detail={"begins": item.text[:200], "tokens": tokens},
            )
        )
    digest = data_digest((item.id, text_digest(item.text)) for item in items)
    return task_result(task, "pseudo_perplexity", METRICS, records, digest=digest)

"""Perplexity of whole documents, by rolling windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.likelihood import Loglikelihood, byte_count, rolling_loglikelihoods, word_count
from llmkit.evaluation.result import ItemRecord, TaskResult
from llmkit.text.document import text_digest

METRICS = ("word_perplexity", "byte_perplexity", "bits_per_byte")


@dataclass(frozen=True)
class TextItem:
    """A document and its tokens."""

    id: str
    text: str
    ids: Sequence[int]
    cluster: str = ""


def evaluate_perplexity(
    task: str, items: Sequence[TextItem], loglikelihood: Loglikelihood, *, prefix: int, length: int
) -> TaskResult:
    """Word perplexity, byte perplexity and bits per byte, as lm-evaluation-harness 0.4.13 computes them.

    Args:
        prefix: the token that the first one is predicted from: BOS, else EOS.
        length: how many tokens the model reads at once.

    Raises:
        DataError: no items, duplicate ids, an empty document, or a likelihood that is not finite.
    """
    check_ids(task, [item.id for item in items])
    for item in items:
        if not item.ids:
            raise DataError(f"the document '{item.id}' has no tokens", where=task, mend="remove the empty document")
    likelihoods = rolling_loglikelihoods([item.ids for item in items], loglikelihood, prefix=prefix, length=length)
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster or item.id,
            scores={
                "nll_per_word": score(task, item.id, "log-likelihood", -value, word_count(item.text)),
                "nll_per_byte": score(task, item.id, "log-likelihood", -value, byte_count(item.text)),
            },
            detail={"begins": item.text[:200], "tokens": len(item.ids)},
        )
        for item, value in zip(items, likelihoods, strict=True)
    ]
    digest = data_digest((item.id, text_digest(item.text)) for item in items)
    return task_result(task, "perplexity", METRICS, records, digest=digest)

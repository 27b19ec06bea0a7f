"""Loss on completions: how surprised a model is by the right answer, given the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import check_ids, data_digest, score, task_result
from llmkit.evaluation.metrics.likelihood import byte_count
from llmkit.evaluation.result import ItemRecord, TaskResult

METRICS = ("loss", "perplexity", "bits_per_byte")


@dataclass(frozen=True)
class LossItem:
    """A prompt and the completion that is trained on, as text (for the record) and as the model's tokens.

    `cluster` is the document the item comes from, "" if it stands alone.
    """

    id: str
    prompt: str
    completion: str
    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    cluster: str = ""


CompletionNll = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]]], Sequence[tuple[float, int, int]]]
"""(prompt ids, completion ids) pairs -> (summed negative log-likelihood in nats, tokens of the completion, tokens of
the prompt that did not fit and were cut) of each."""


def evaluate_loss(task: str, items: Sequence[LossItem], nll: CompletionNll) -> TaskResult:
    """Negative log-likelihood per trained token, its exponential, and bits per UTF-8 byte of the completions.

    Bits per byte is the one that can be compared between models with different tokenizers.

    Raises:
        DataError: no items, duplicate ids, a completion without text or tokens, or a likelihood that is not finite.
    """
    check_ids(task, [item.id for item in items])
    for item in items:
        if not item.completion or not item.completion_ids:
            raise DataError(f"the item '{item.id}' has an empty completion", where=task, mend="remove it or fill it in")
    results = nll([(item.prompt_ids, item.completion_ids) for item in items])
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster or item.id,
            scores={
                "nll_per_token": score(task, item.id, "nll", total, tokens),
                "nll_per_byte": score(task, item.id, "nll", total, byte_count(item.completion)),
            },
            detail={"prompt": item.prompt, "completion": item.completion},
        )
        for item, (total, tokens, _) in zip(items, results, strict=True)
    ]
    shortened = sum(cut > 0 for _, _, cut in results)
    notes = [f"{shortened} of {len(items)} prompts are longer than the model reads; their beginnings were cut"]
    return task_result(
        task,
        "loss",
        METRICS,
        records,
        digest=data_digest((item.id, [item.prompt, item.completion]) for item in items),
        notes=notes if shortened else (),
    )

"""Choices by their likelihood: multiple choice, classes of texts, and the last word of a passage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from llmkit.errors import DataError
from llmkit.evaluation.aggregate import data_digest, score, task_result
from llmkit.evaluation.metrics.classes import class_influences
from llmkit.evaluation.prompted import PromptedSpec, PromptItem
from llmkit.evaluation.result import ItemRecord, Score, TaskResult

ItemLikelihoods = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[Sequence[tuple[float, bool]]]]
"""(prompt, continuations) of each item -> (log-likelihood, whether greedy decoding writes it) of each continuation."""

CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes")
CLOZE_METRICS = ("acc", "target_perplexity")
CLASS_METRICS = ("accuracy", "macro_f1", "mcc")
_MOST_CLASSES = 12
"""Classes of which the whole confusion matrix is told."""


class ChoiceTask(PromptedSpec):
    """Questions with choices: the likeliest one is the answer."""

    kind: Literal["multiple_choice"]
    prompt: str = Field(default="{question}", description="What the model reads: a template.")
    choices: str | tuple[str, ...] = Field(default="{choices}", description="A template that gives a list, or a list.")


class ClozeTask(PromptedSpec):
    """The last word of a passage, as LAMBADA: is it what greedy decoding writes, and how likely is it."""

    kind: Literal["cloze"]
    target: str = Field(default="{target}", description="The missing end: a template.")


class ClassificationTask(PromptedSpec):
    """Texts with labels: by a model that was tuned for them, or by the likeliest label after a prompt."""

    kind: Literal["classification"]
    prompt: str = Field(default="{text}", description="What the model reads: a template.")
    target: str = Field(default="{label}", description="The right label: a template.")
    choices: tuple[str, ...] | None = Field(default=None, description="The labels; left out, those of the data.")


def evaluate_choices(
    task: str, items: Sequence[PromptItem], likelihoods: ItemLikelihoods, *, delimiter: str = " "
) -> TaskResult:
    """Accuracy by the plain log-likelihood, and divided by the choice's characters and bytes.

    As lm-evaluation-harness 0.4.13: the choice without its delimiter is what is measured, the first of equals wins.
    """
    found = likelihoods([(item.prompt, [delimiter + each for each in item.choices]) for item in items])
    records = []
    for item, scores in zip(items, found, strict=True):
        sizes = {
            "acc": [1] * len(scores),
            "acc_norm": [len(each) for each in item.choices],
            "acc_bytes": [len(each.encode("utf-8", "surrogatepass")) for each in item.choices],
        }
        picks = {name: _best([value for value, _ in scores], by) for name, by in sizes.items()}
        for each, (value, _) in zip(item.choices, scores, strict=True):
            score(task, item.id, f"log-likelihood of {each!r}", value)
        records.append(
            ItemRecord(
                id=item.id,
                cluster=item.cluster,
                scores={name: Score(value=float(item.choices[pick] in item.gold)) for name, pick in picks.items()},
                detail={
                    "question": item.prompt,
                    "choices": list(item.choices),
                    "gold": list(item.gold),
                    "answer": item.choices[picks["acc"]],
                    "said": [value for value, _ in scores],
                },
            )
        )
    return task_result(task, "multiple_choice", CHOICE_METRICS, records, digest=_digest(items))


def evaluate_cloze(
    task: str, items: Sequence[PromptItem], likelihoods: ItemLikelihoods, *, delimiter: str = " "
) -> TaskResult:
    """Whether the target is what greedy decoding writes, and exp of the mean negative log-likelihood of targets."""
    found = likelihoods([(item.prompt, [delimiter + item.gold[0]]) for item in items])
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster,
            scores={
                "acc": Score(value=float(greedy)),
                "nll_per_target": score(task, item.id, "log-likelihood", -value),
            },
            detail={"question": item.prompt, "gold": item.gold[0], "said": value},
        )
        for item, ((value, greedy),) in zip(items, found, strict=True)
    ]
    return task_result(task, "cloze", CLOZE_METRICS, records, digest=_digest(items))


def evaluate_classes(
    task: str, items: Sequence[PromptItem], labels: Sequence[str], said: Sequence[str], detail: str = ""
) -> TaskResult:
    """Accuracy, macro F1 and MCC of labels that were said, and the confusion matrix.

    Raises:
        DataError: a right label is none of the labels.
    """
    number = {label: at for at, label in enumerate(labels)}
    for item in items:
        if item.gold[0] not in number:
            raise DataError(
                f"the label '{item.gold[0]}' is none of {', '.join(labels[:6])}",
                where=item.where,
                mend="correct the label, or evaluate a model that knows it",
            )
    gold = [number[item.gold[0]] for item in items]
    given = [number[label] for label in said]
    shares = class_influences(gold, given, len(labels))
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster,
            scores={
                "accuracy": Score(value=float(gold[at] == given[at])),
                **{name: Score(value=values[at]) for name, values in shares.items()},
            },
            detail={"text": item.prompt, "gold": item.gold[0], "answer": said[at]},
        )
        for at, item in enumerate(items)
    ]
    notes = [*_confusion(labels, gold, given), *([detail] if detail else [])]
    return task_result(task, "classification", CLASS_METRICS, records, digest=_digest(items), notes=notes)


def _confusion(labels: Sequence[str], gold: Sequence[int], said: Sequence[int]) -> Iterator[str]:
    cells: dict[tuple[int, int], int] = {}
    for pair in zip(gold, said, strict=True):
        cells[pair] = cells.get(pair, 0) + 1
    if len(labels) <= _MOST_CLASSES:
        for row, label in enumerate(labels):
            said_of = ", ".join(f"{labels[col]} {cells[row, col]}" for col in range(len(labels)) if (row, col) in cells)
            if said_of:
                yield f"{label} was taken for: {said_of}"
        return
    worst: Mapping[tuple[int, int], int] = {pair: count for pair, count in cells.items() if pair[0] != pair[1]}
    for (row, col), count in sorted(worst.items(), key=lambda each: -each[1])[:_MOST_CLASSES]:
        yield f"{labels[row]} was taken for {labels[col]}: {count}"


def _best(values: Sequence[float], sizes: Sequence[int]) -> int:
    rates = [value / size for value, size in zip(values, sizes, strict=True)]
    return rates.index(max(rates))


def _digest(items: Sequence[PromptItem]) -> str:
    return data_digest((item.id, [item.bare, list(item.choices), list(item.gold)]) for item in items)

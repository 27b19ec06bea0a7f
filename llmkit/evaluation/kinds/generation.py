"""Texts that a model writes after a prompt, against right ones."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from llmkit.evaluation.aggregate import data_digest, score, task_result
from llmkit.evaluation.metrics.overlap import corpus_scores, rouge
from llmkit.evaluation.metrics.text import exact_match, token_f1
from llmkit.evaluation.prompted import PromptedSpec, PromptItem
from llmkit.evaluation.result import ItemFailure, ItemRecord, TaskResult

Write = Callable[[Sequence[str]], Sequence[str | ItemFailure]]
"""Prompts -> the texts written, or why there is none; a failure's id is filled in here."""

METRICS = ("exact_match", "squad_em", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL")


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_regex)]


class GenerationTask(PromptedSpec):
    """Texts that a model writes after a prompt."""

    kind: Literal["generation"]
    prompt: str = Field(default="{question}", description="What the model reads: a template.")
    metrics: tuple[Literal[METRICS], ...] = Field(default=("exact_match",), min_length=1)  # type: ignore[valid-type]  # a tuple of names is what Literal takes
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=("\n\n",), description="Strings at which a text ends."
    )
    max_tokens: int = Field(default=256, ge=1, description="Most tokens of a text.")
    extract: Regex | None = Field(
        default=None, description="What is compared of a text: the first group that matched, else the whole match."
    )
    take: int = Field(default=0, description="Which match of `extract`: 0 the first, -1 the last.")
    fallback: str = Field(default="[invalid]", description="What stands where nothing matches.")
    ignore: tuple[Regex, ...] = Field(default=(), description="What exact_match takes out of both texts first.")
    ignore_case: bool = Field(default=False, description="For exact_match.")
    ignore_punctuation: bool = Field(default=False, description="For exact_match: ASCII punctuation.")
    ignore_numbers: bool = Field(default=False, description="For exact_match: digits.")

    @field_validator("metrics", mode="before")
    @classmethod
    def _no_code(cls, value: object) -> object:
        for name in value if isinstance(value, list | tuple) else ():
            if str(name).startswith("pass@"):
                raise ValueError("code is not executed here: pass@k would run what a model wrote on this machine")
        return value


def extracted(text: str, pattern: str, take: int, fallback: str) -> str:
    """A match in a text, as lm-evaluation-harness's regex filter takes it."""
    found = re.findall(pattern, text)
    if not -len(found) <= take < len(found):
        return fallback
    match = found[take]
    if isinstance(match, tuple):
        match = next((part for part in match if part), fallback)
    return str(match).strip()


def plain_match(said: str, gold: Sequence[str], spec: GenerationTask) -> float:
    """1.0 where the text is one of the right ones, letter by letter but for what the task ignores."""
    return float(any(_bare(said, spec) == _bare(each, spec) for each in gold))


def evaluate_generation(task: str, items: Sequence[PromptItem], write: Write, spec: GenerationTask) -> TaskResult:
    """The metrics that the task names; corpus metrics as means of items' influences on them.

    Raises:
        RunError: not one text could be written.
    """
    texts = write([item.prompt for item in items])
    failures = [
        text.model_copy(update={"id": item.id})
        for item, text in zip(items, texts, strict=True)
        if isinstance(text, ItemFailure)
    ]
    done = [(item, text) for item, text in zip(items, texts, strict=True) if not isinstance(text, ItemFailure)]
    said = [
        extracted(text, spec.extract, spec.take, spec.fallback) if spec.extract is not None else text
        for _, text in done
    ]
    notes = []
    shares: dict[str, list[float]] = {}
    for name in spec.metrics if done else ():
        if name in ("bleu", "chrf"):
            shares[name], signature = corpus_scores(name, said, [item.gold for item, _ in done])
            notes.append(f"{name}: {signature}")
        else:
            shares[name] = [_one(name, text, item.gold, spec) for (item, _), text in zip(done, said, strict=True)]
    records = [
        ItemRecord(
            id=item.id,
            cluster=item.cluster,
            scores={name: score(task, item.id, name, values[at]) for name, values in shares.items()},
            detail={"question": item.prompt, "gold": list(item.gold), "answer": text, "said": said[at]},
        )
        for at, (item, text) in enumerate(done)
    ]
    if spec.extract is not None:
        missed = sum(text == spec.fallback for text in said)
        if missed:
            notes.append(f"{missed} of {len(said)} texts have nothing that `extract` matches")
    digest = data_digest((item.id, [item.bare, list(item.gold)]) for item in items)
    return task_result(task, "generation", spec.metrics, records, digest=digest, failures=failures, notes=notes)


def _one(name: str, said: str, gold: Sequence[str], spec: GenerationTask) -> float:
    if name == "exact_match":
        return plain_match(said, gold, spec)
    if name == "squad_em":
        return exact_match(said, gold)
    return token_f1(said, gold) if name == "f1" else rouge(name, said, gold)


def _bare(text: str, spec: GenerationTask) -> str:
    for pattern in spec.ignore:
        text = re.sub(pattern, "", text)
    if spec.ignore_case:
        text = text.lower()
    if spec.ignore_punctuation:
        text = text.translate(str.maketrans("", "", string.punctuation))
    return text.translate(str.maketrans("", "", string.digits)) if spec.ignore_numbers else text

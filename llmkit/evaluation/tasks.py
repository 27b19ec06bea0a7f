"""The table of task kinds: what a suite may ask for, and what each kind measures.

A suite is a YAML list of tasks:

    - id: heldout
      kind: loss
      data: corpus
      limit: 200
    - id: search
      kind: retrieval
      data: questions.jsonl

`id` may be left out where a kind occurs once; it is the kind then. Parsing the YAML and finding the data are the
business of others; nothing here reads a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, RootModel, model_validator

from llmkit.evaluation.kinds import (
    bbq,
    choice,
    crows_pairs,
    injection,
    judge,
    loss,
    memorisation,
    perplexity,
    privacy,
    pseudo_perplexity,
    qa,
    rag,
    retrieval,
    spans,
)
from llmkit.evaluation.kinds.bbq import BBQTask
from llmkit.evaluation.kinds.choice import ChoiceTask, ClassificationTask, ClozeTask
from llmkit.evaluation.kinds.crows_pairs import CrowsPairsTask
from llmkit.evaluation.kinds.generation import GenerationTask
from llmkit.evaluation.kinds.injection import InjectionTask
from llmkit.evaluation.kinds.judge import JudgeTask
from llmkit.evaluation.kinds.memorisation import MemorisationTask
from llmkit.evaluation.kinds.privacy import PiiLeakageTask
from llmkit.evaluation.kinds.pseudo_perplexity import PseudoPerplexityTask
from llmkit.evaluation.kinds.rag import RagTask
from llmkit.evaluation.kinds.spans import SpansTask
from llmkit.evaluation.spec import DatasetSpec, TaskSpec

Item = TypeVar("Item")


class LossTask(DatasetSpec):
    """Loss per trained token on the completions of chat examples."""

    kind: Literal["loss"]


class PerplexityTask(DatasetSpec):
    """Rolling perplexity of documents."""

    kind: Literal["perplexity"]


class RetrievalTask(TaskSpec):
    """Known places that a search must bring up."""

    kind: Literal["retrieval"]
    data: str | None = Field(
        default=None,
        description="A question file; without one, questions are made of the index's own text, and marked as made.",
    )
    made: Literal["docstrings", "sentences"] | None = Field(
        default=None,
        description="What questions are made of: docstrings of Python files where there are any, else sentences.",
    )
    cutoffs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 5, 10), min_length=1, description="The k of recall@k; nDCG and MRR look as far as the largest."
    )


class QATask(TaskSpec):
    """Answers against gold answers."""

    kind: Literal["qa"]
    data: str = Field(description="A question file with gold answers.")


Task = Annotated[
    LossTask
    | PerplexityTask
    | RetrievalTask
    | QATask
    | ChoiceTask
    | ClozeTask
    | GenerationTask
    | ClassificationTask
    | SpansTask
    | PseudoPerplexityTask
    | RagTask
    | CrowsPairsTask
    | BBQTask
    | MemorisationTask
    | PiiLeakageTask
    | InjectionTask
    | JudgeTask,
    Field(discriminator="kind"),
]


class Suite(RootModel[tuple[Task, ...]]):
    """A list of tasks with distinct ids."""

    model_config = ConfigDict(frozen=True)
    root: tuple[Task, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> Suite:
        ids = [task.id for task in self.root]
        for task in ids:
            if ids.count(task) > 1:
                raise ValueError(f"the task id '{task}' occurs more than once; give each task an `id` of its own")
        return self


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        spec: the model of its keys in a suite.
        metrics: what a task of this kind measures, in the order in which it is shown.
        needs: what must be named to run it; "either" is a model on its own, an index, or both.
    """

    spec: type[TaskSpec]
    metrics: Callable[[Any], Sequence[str]]
    needs: Literal["model", "index", "either"]


KINDS: Mapping[str, Kind] = {
    "loss": Kind(LossTask, lambda task: loss.METRICS, needs="model"),
    "perplexity": Kind(PerplexityTask, lambda task: perplexity.METRICS, needs="model"),
    "retrieval": Kind(RetrievalTask, lambda task: retrieval.metric_names(task.cutoffs), needs="index"),
    "qa": Kind(QATask, lambda task: qa.METRICS, needs="either"),
    "rag": Kind(RagTask, lambda task: rag.METRICS, needs="either"),
    "crows_pairs": Kind(CrowsPairsTask, lambda task: crows_pairs.METRICS, needs="model"),
    "bbq": Kind(BBQTask, lambda task: bbq.METRICS, needs="model"),
    "memorisation": Kind(MemorisationTask, lambda task: memorisation.metric_names(task.prefixes), needs="model"),
    "pii_leakage": Kind(PiiLeakageTask, lambda task: privacy.METRICS, needs="model"),
    "injection": Kind(InjectionTask, lambda task: injection.METRICS, needs="model"),
    "judge": Kind(JudgeTask, lambda task: judge.METRICS, needs="either"),
    "multiple_choice": Kind(ChoiceTask, lambda task: choice.CHOICE_METRICS, needs="model"),
    "cloze": Kind(ClozeTask, lambda task: choice.CLOZE_METRICS, needs="model"),
    "generation": Kind(GenerationTask, lambda task: task.metrics, needs="model"),
    "classification": Kind(ClassificationTask, lambda task: choice.CLASS_METRICS, needs="model"),
    "spans": Kind(SpansTask, lambda task: spans.METRICS, needs="model"),
    "pseudo_perplexity": Kind(PseudoPerplexityTask, lambda task: pseudo_perplexity.METRICS, needs="model"),
}


def metrics_of(suite: Suite) -> dict[str, list[str]]:
    """What each task of a suite is going to measure; hand it to `gate.resolve` before the work begins."""
    return {task.id: list(KINDS[task.kind].metrics(task)) for task in suite.root}


def draw(items: Sequence[Item], limit: int | None, *, id_of: Callable[[Item], str], seed: int = 0) -> list[Item]:
    """At most `limit` items in their own order, chosen by a hash of their ids.

    The choice does not depend on the order of the data, and changes little when items are added to it.
    """
    if limit is None or len(items) <= limit:
        return list(items)
    by_hash = sorted(
        range(len(items)), key=lambda at: hashlib.sha256(f"{seed}\x00{id_of(items[at])}".encode()).digest()
    )
    return [items[at] for at in sorted(by_hash[:limit])]

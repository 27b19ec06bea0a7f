"""What an evaluation yields: estimates, per-item records, paired differences. Values that are stored as JSON.

They are pydantic models so that a report of an earlier run can be read back and serve as a baseline; no number in
them is ever NaN or infinite. Nothing here imports numpy.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = tuple[Finite, Finite]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Value):
    """One metric of one task.

    Attributes:
        value: the metric over all items, in `unit`.
        stderr: its standard error, clustered where items share a document; None for fewer than two clusters.
        ci: its 95% confidence interval; None for fewer than two clusters.
        n: the number of items.
    """

    value: Finite
    stderr: Finite | None
    ci: Interval | None
    n: int
    unit: str = ""


class Score(_Value):
    """One item's share in a metric: the metric is a function of `sum(value) / sum(weight)` over the items.

    A plain mean has weight 1 everywhere; loss per token has the item's total as value and its tokens as weight.
    """

    value: Finite
    weight: Finite = 1.0

    @property
    def rate(self) -> float:
        """Of nothing to find, where nothing was said, all was found."""
        return self.value / self.weight if self.weight else 1.0


SAID = frozenset(
    {"answer", "answers_given", "completion_given", "generated", "output", "prediction", "predicted", "response",
     "retrieved", "citations", "quotes", "verdict", "said"}
)  # fmt: skip
"""Keys of an item's detail that hold what the system said; all others hold what was put to it, or would be right."""


class ItemRecord(_Value):
    """One evaluated item: its scores by name, and what a reader of the report wants to see of it.

    `seen` names the training dataset of the measured model in which the item occurs; "" where it is in none.
    """

    id: str
    cluster: str
    """Items with the same cluster (their document) are not independent; a lone item has its own id here."""
    scores: dict[str, Score]
    detail: dict[str, JsonValue] = Field(default_factory=dict)
    seen: str = ""


class ItemFailure(_Value):
    """An item that could not be evaluated. A gate never passes on a task that has any."""

    id: str
    message: str


class Spent(_Value):
    """What an endpoint was asked for: answers, and the tokens that it says it read and wrote for them."""

    answers: int = 0
    prompt_tokens: int = 0
    tokens: int = 0


class TaskResult(_Value):
    """All that was measured by one task on one system.

    Attributes:
        task: the task's id in its suite.
        kind: the kind of task, a key of `tasks.KINDS`.
        metrics: what was measured, by metric name.
        items: per-item records, in the order of the data.
        data_digest: sha256 over ids and content of the items: two results are comparable only if theirs are equal.
        failures: items that gave an error instead of an answer.
        notes: facts a reader must know (prompts that were cut, a metric that has no finite value).
        spent: on the endpoint that was measured; None where there was none.
    """

    task: str
    kind: str
    metrics: dict[str, Estimate]
    items: tuple[ItemRecord, ...]
    data_digest: str
    failures: tuple[ItemFailure, ...] = ()
    notes: tuple[str, ...] = ()
    spent: Spent | None = None


class Difference(_Value):
    """Candidate minus baseline for one metric, on the same items.

    Attributes:
        ci: 95% interval of the difference from a paired bootstrap; None for fewer than two clusters.
        p_value: two-sided, of the hypothesis that the two systems are exchangeable; `test` names the test.
        better, worse: ids of the items on which the candidate did better or worse (by the metric's own direction),
            largest change first; all other items are tied. Empty for metrics that are not made of items' rates.
    """

    value: Finite
    stderr: Finite | None
    ci: Interval | None
    p_value: Finite
    test: str
    n: int
    unit: str = ""
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


class TaskComparison(_Value):
    """One task, two systems. `differences` lacks a metric that cannot be compared; `notes` then says why.

    `missing` counts the items that failed on either system: they are in no difference, and no gate passes without them.
    """

    task: str
    differences: dict[str, Difference]
    missing: int = 0
    notes: tuple[str, ...] = ()

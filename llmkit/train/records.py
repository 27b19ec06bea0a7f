"""What the loop tells its caller: one record per optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.train.options import Choices


@dataclass(frozen=True)
class Evaluation:
    """Loss on held-out samples: summed negative log-likelihood in nats, and the number of positions predicted.

    `parts` has the same by dataset, where there are several.
    """

    step: int
    nll: float
    tokens: int
    parts: Mapping[str, Evaluation] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Evaluation:
        """From what `dataclasses.asdict` made of one."""
        parts = {name: cls.of(part) for name, part in facts.get("parts", {}).items()}
        return cls(facts["step"], facts["nll"], facts["tokens"], parts)

    @property
    def loss(self) -> float:
        """Nats per predicted token."""
        return self.nll / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class StepRecord:
    """The state of a run after a step. The first record of every run comes before any step and has no loss.

    Attributes:
        step: optimizer steps done.
        progress: share of the run that is over, in [0, 1]: of its steps or its time, whichever is further.
        loss: nats per trained token over the whole step and all processes; None in the first record.
        grad_norm: before clipping.
        tokens: trained positions of the step, over all processes.
        positions: positions read, with padding and untrained ones.
        seconds: this step's, without evaluation and checkpoint.
        evaluations: all evaluations so far, also those before an interruption; the last is of this step if `evaluated`.
        checkpoint: where a checkpoint was written at this step.
        resumed_from: in the first record the step at which an earlier run stopped, 0 for a new one; else None.
        best: the step with the lowest held-out loss so far; its weights are in a checkpoint.
        stalled: whether this is the last record because the held-out loss no longer falls.
        choices: what the run settled on where the options left it the choice.
        notes: what a user should be told, such as a damaged checkpoint that was passed over.
    """

    step: int
    progress: float
    choices: Choices
    loss: float | None = None
    lr: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    positions: int = 0
    seconds: float = 0.0
    evaluations: tuple[Evaluation, ...] = ()
    evaluated: bool = False
    checkpoint: Path | None = None
    resumed_from: int | None = None
    best: int | None = None
    stalled: bool = False
    notes: tuple[str, ...] = ()

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation made at this step, if there was one."""
        return self.evaluations[-1] if self.evaluated else None

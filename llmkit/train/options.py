"""What a training run chose where its options left it the choice, and which options decide its course."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.config.sections import TrainOptions
from llmkit.train.precision import Precision

_FREE = frozenset({"eval_every", "publish", "checkpoint_every", "keep", "spike", "device", "micro_batch_size"})
"""Options that may change between an interruption and the resumed run: the weights do not depend on them, or only in
their rounding."""


def trajectory(options: TrainOptions) -> dict[str, object]:
    """The options that decide what the weights become: a run can be resumed only with the same ones."""
    return {key: getattr(options, key) for key in TrainOptions.model_fields if key not in _FREE}


@dataclass(frozen=True)
class Choices:
    """What a run settled on; stored in its checkpoints and obeyed when it resumes on the same kind of device."""

    device: str
    precision: Precision
    compiled: bool
    threads: int
    processes: int
    sharding: str = ""
    """How the model is cut up between them; empty where each has it whole."""

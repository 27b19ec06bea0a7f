"""`llmkit pretrain`: a language model from scratch, or going on from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from llmkit.config.base import option
from llmkit.config.sections import TrainOptions
from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry.store import Registry
from llmkit.reporting.blocks import Block
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage, StageConfig

if TYPE_CHECKING:
    from llmkit.data.tokens import TokenStore
    from llmkit.train.records import StepRecord
    from llmkit.train.samples import Samples

DEFAULT_STEPS = 300
PROMPT = "def "
"""What the samples before and after go on from; a corpus without code has its own first words."""


class PretrainConfig(TrainOptions, StageConfig):
    """Options of `llmkit pretrain`."""

    data: str = option(..., "Dataset of texts.")
    tokenizer: str | None = option(None, "Tokenizer; else the one made with the dataset, or that of --init.")
    family: str = option("gpt2", "Model family, a row of the table in docs/pretrain.md.")
    size: str = option("tiny", "Size of the family.")
    init: str | None = option(None, "Go on from this model instead of random weights.")
    sequence_length: int = option(256, "Tokens of a training sample, and the model's context.", ge=8)
    steps: int | None = option(None, f"Optimizer steps; {DEFAULT_STEPS} where no budget is given.", ge=1)
    tokens: int | None = option(None, "Budget in training tokens, instead of steps.", ge=1)
    processes: int = option(1, "Processes to train with on this machine.", ge=1, keyed=False)

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if self.steps and self.tokens:
            raise ValueError("--steps and --tokens are two budgets; give one of them")
        return self

    def budget(self) -> int:
        """Optimizer steps that the budget amounts to."""
        if self.tokens:
            return max(1, round(self.tokens / (self.batch_size * self.sequence_length)))
        return self.steps or (UNLIMITED_STEPS if self.minutes else DEFAULT_STEPS)


UNLIMITED_STEPS = 10**9
"""Where only minutes are given: the schedule then follows the clock."""

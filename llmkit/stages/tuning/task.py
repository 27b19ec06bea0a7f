"""What the stage asks of a kind of task: the model with its head, samples, a loss, scores on what is held out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from llmkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmkit.data.dataset import Dataset
    from llmkit.data.schemas import ExampleSchema, TrainingExample
    from llmkit.evaluation.result import ItemRecord
    from llmkit.models.load import LoadedModel
    from llmkit.stages.finetune_lora import FinetuneConfig
    from llmkit.stages.tuning.data import FileRows
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.lengths import Fitted
    from llmkit.train.samples import Batch, Samples

Split = Literal["train", "validation"]
SCORED = 500
"""Held-out examples that the model is scored on before and after, at most, evenly spread."""
SHOWN = 3
"""Held-out examples that are shown with what the model says to them."""


@dataclass(frozen=True)
class Part:
    """A split as a task trains on it.

    Attributes:
        samples: None where the split has no examples.
        counts: JSON-ready, for the log and the card: `examples`, `tokens`, `trained` (tokens that are learned, where
            that means something), `longest`, `limit`, `dropped`, `truncated`, `split`, `untrainable`.
    """

    samples: Samples | None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What every task is made from.

    Attributes:
        paths: of the job: `model`, and `adapter` where one is tuned further.
        work: the run's folder, which outlasts an interruption.
        weights: False for a look at the examples alone: the model has layers and their shapes, and computes nothing.
    """

    cfg: FinetuneConfig
    dataset: Dataset | FileRows
    paths: Mapping[str, Path]
    work: Path
    weights: bool = True


class Task(ABC):
    """One kind of fine-tuning, opened for one dataset and one model.

    A subclass is made by `Given`; it loads its model in `__init__`, and refuses there what it cannot learn from. What
    is trained on is what a preview shows: both go through `fitted` and `samples`, and `seen` reads it off the batch.
    """

    schema: ClassVar[ExampleSchema]
    metrics: ClassVar[Sequence[str]]
    """What `records` measure: names of the table of metrics, the first one being what the result is judged by."""
    likelihood: ClassVar[bool] = False
    """Whether the loss is a negative log-likelihood per token, so that a perplexity means something."""

    takes: ClassVar[Sequence[str]] = ()
    """Which of the options of `causal` mean something for it."""
    whole: ClassVar[str] = ""
    """Why its examples cannot be split; empty where they can."""
    measured: ClassVar[str] = "tokens"
    """What the limit is held against."""
    rows_of_a_sample: ClassVar[int] = 1
    """Rows of a batch that a sample takes."""

    loaded: LoadedModel
    limit: int
    """Tokens of an example, at most."""

    def __init__(self, given: Given) -> None:
        self.cfg, self.dataset, self.paths = given.cfg, given.dataset, given.paths
        self.weights = given.weights
        if self.whole and self.cfg.over_length == "split":
            raise UsageError(
                f"--over-length split is for texts that are learned token by token: {self.whole}",
                mend="use --over-length error, drop or truncate",
            )

    @property
    @abstractmethod
    def aim(self) -> str:
        """What is learned of an example, in words."""

    @property
    def heads(self) -> Sequence[str]:
        """Modules that are new in this model: trained whole, and saved with the adapter."""
        return ()

    @property
    def tokens(self) -> Sequence[int]:
        """Ids whose embeddings are new in this model: an adapter trains and saves these rows."""
        return ()

    @property
    def wording_notes(self) -> Sequence[str]:
        """What a user must know of how examples are written for the model."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """What a user must be warned of, once the parts have been asked for."""
        return self.wording_notes

    @property
    def remarks(self) -> Sequence[str]:
        """What else there is to know of the run, once the parts have been asked for: how rows are filled, memory."""
        return ()

    def endings(self, model: nn.Module) -> Mapping[str, Any]:
        """How many sample answers end by themselves: `ended`, `of`, `share`; empty for models that write nothing."""
        return {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What must be stored with the artifact so that it can be used: labels, template, limits. JSON-ready."""
        return {}

    @property
    def reads(self) -> ExampleSchema:
        """The schema of this dataset's examples."""
        return self.schema

    @abstractmethod
    def fitted(self, examples: Iterable[Any]) -> Fitted[Any]:
        """Examples in tokens, as the over-length policy leaves them.

        Raises:
            DataError: one cannot be learned from, or is too long and the policy is `error`.
        """

    @abstractmethod
    def samples(self, examples: Sequence[Any], split: Split) -> Samples:
        """What the loop reads of the examples that `fitted` left."""

    @abstractmethod
    def seen(self, examples: Sequence[Any]) -> Sequence[Seen]:
        """What a batch of training samples hands to the model of each of these examples, and asks of it."""

    @abstractmethod
    def sizes(self, examples: Sequence[Any]) -> Mapping[str, int]:
        """Of the examples that `fitted` left: `tokens`, and `trained` where that means something."""

    @cached_property
    def training(self) -> Fitted[Any]:
        """The examples to train on; raises DataError where there is none."""
        schema: Any = self.reads
        found = self.fitted(self.dataset.examples("train", schema)).checked()
        if not found.examples:
            raise nothing_to_train_on(sum(1 for _ in self.dataset.examples("validation", schema)))
        return found

    @cached_property
    def held(self) -> Fitted[Any]:
        """The examples that are held out; there may be none."""
        schema: Any = self.reads
        return self.fitted(self.dataset.examples("validation", schema)).checked()

    def part(self, split: Split) -> Part:
        """A split as samples; raises DataError where an example cannot be learned from."""
        found = self.training if split == "train" else self.held
        counts = {
            "examples": len(found.examples),
            "longest": found.longest,
            "limit": self.limit,
            "dropped": found.dropped,
            "truncated": found.truncated,
            "split": found.split,
            "untrainable": found.untrainable,
            **self.sizes(found.examples),
        }
        return Part(self.samples(found.examples, split) if found.examples else None, counts)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """As the loop wants it: (sum, weight)."""
        from llmkit.train.losses import token_loss

        return token_loss(model, batch)

    @abstractmethod
    def records(self, model: nn.Module) -> list[ItemRecord]:
        """Scores of at most `SCORED` held-out examples, in their order; empty where nothing is held out."""

    def baseline(self, model: nn.Module) -> list[ItemRecord]:
        """The same before training, to compare with; a task with a new head compares with something that is no toss."""
        return self.records(model)

    def details(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        """What the scores after training are made of: what they are compared with, what is taken for what.

        JSON-ready; `compared_with`, and `confusion` with its `labels` and `counts` (a row per gold label), are shown.
        """
        return {}

    def answers(self, model: nn.Module) -> list[str]:
        """What the model says to `shown`; empty for tasks that show nothing."""
        return []

    def shown(self) -> list[Mapping[str, str]]:
        """Held-out examples as people read them: `prompt`, `gold`."""
        return []

    @property
    def stops(self) -> Sequence[int]:
        """Ids at which a model that is saved whole must stop writing; none for models that write nothing."""
        return ()

    @abstractmethod
    def fresh(self) -> Any:
        """The model as it was before this run, with its new heads, read from disk."""

    @abstractmethod
    def probe(self) -> Batch:
        """A few training samples on which the saved artifact is compared with the trained model."""

    def complete(self, out: Path) -> None:
        """Add to the saved folder what this kind of model needs beside its weights, tokenizer and facts."""
        return

    def held_out(self, most: int = SCORED) -> Iterator[TrainingExample]:
        """Held-out examples, at most so many, evenly spread."""
        every = list(self.dataset.examples("validation"))
        count = min(most, len(every))
        return (every[at * len(every) // count] for at in range(count))


def nothing_to_train_on(held: int) -> DataError:
    """The error for a dataset without a training split, of which so many examples are held out."""
    if not held:
        return DataError("there is no example to train on", mend="check the data and its splits")
    return DataError(
        f"there is no example to train on: all {held:,} are held out",
        mend="their file is named so (dev, val, test), or their field `split` says so: change it, or add training data",
    )

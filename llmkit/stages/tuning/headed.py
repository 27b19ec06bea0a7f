"""What tasks share whose model gets a head: a text, a pair or words in, a label, a value or tags out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, UsageError
from llmkit.stages import models
from llmkit.stages.tuning.task import SHOWN, Given, Part, Split, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from llmkit.evaluation.result import ItemRecord, Score
    from llmkit.models.task_models import Head
    from llmkit.train.labelled import EncodedItems, Item, Labelled
    from llmkit.train.samples import Batch

MOST_SCORED = 5000
"""Held-out examples that are scored, at most, evenly spread: reading a text is cheap beside writing one."""
PROBED = 4
SCORED_AT_ONCE = 32


class Headed(Task):
    """A task with a head. A subclass says what the items are, and what an output means."""

    words = False
    """Whether each word has a label of its own."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        if self.cfg.over_length == "split":
            raise UsageError(
                "--over-length split is for texts that are learned token by token: half a text has not the label of "
                "the whole",
                mend="use --over-length error, drop or truncate",
            )
        from llmkit.models.task_models import with_head

        self.head = self.made_head()
        made = with_head(
            self.paths["model"], self.head, seed=self.cfg.seed, adapter=self.paths.get("adapter"), trainable=True
        )
        self.loaded, self.new = made.loaded, made.new
        self.limit = models.sequence_limit(self.loaded, self.cfg.sequence_length)

    @abstractmethod
    def made_head(self) -> Head:
        """The head that the data call for; the model is not there yet.

        Raises:
            DataError: there is nothing to learn from the examples.
        """

    @abstractmethod
    def items(self, split: Split) -> Sequence[Item]:
        """The examples of a split, with targets; raises DataError for one that has none of the head's."""

    @abstractmethod
    def score(self, number: int, output: NDArray[np.float32]) -> tuple[Mapping[str, Score], Mapping[str, Any]]:
        """Scores of a held-out example, by its number among the encoded ones, and what a person wants to see of it."""

    @abstractmethod
    def always(self, number: int) -> Mapping[str, Score]:
        """Scores of the same for who knows nothing but what is common."""

    @abstractmethod
    def said(self, number: int, output: NDArray[np.float32]) -> str:
        """An output in words."""

    @property
    def heads(self) -> Sequence[str]:
        return self.new

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"task": self.name, **self.head.facts(), "limit": self.limit}

    @property
    @abstractmethod
    def name(self) -> str:
        """As `--task` has it."""

    def part(self, split: Split) -> Part:
        found = self.encoded(split)
        counts = {
            "examples": len(found.examples),
            "tokens": sum(map(len, found.examples)),
            "longest": found.longest,
            "limit": self.limit,
            "dropped": found.dropped,
            "truncated": found.truncated,
        }
        return Part(self.samples(split), counts)

    def samples(self, split: Split) -> Labelled | None:
        """The encoded examples of a split for the loop; None where there are none."""
        from llmkit.train.labelled import Labelled

        found = self.encoded(split)
        if not found.examples:
            return None
        return Labelled(
            found.examples,
            batch_size=self.cfg.batch_size,
            seed=self.cfg.seed,
            filler=self.loaded.model.config.pad_token_id,
            masked=self.loaded.objective != "causal",
            shuffle=split == "train",
        )

    def encoded(self, split: Split) -> EncodedItems:
        """The examples of a split in tokens."""
        return self._training if split == "train" else self._held

    def records(self, model: nn.Module) -> list[ItemRecord]:
        return self._records({number: self.score(number, output) for number, output in self._outputs(model).items()})

    def baseline(self, model: nn.Module) -> list[ItemRecord]:
        # What a head says before it has learned anything is a toss; what is common is what there is to beat.
        return self._records({number: (self.always(number), {}) for number in self._scored})

    def shown(self) -> list[Mapping[str, str]]:
        items = [self.held_item(number) for number in self._shown]
        return [
            {"prompt": item.text if item.pair is None else f"{item.text}\n{item.pair}", "gold": self.gold(number)}
            for number, item in zip(self._shown, items, strict=True)
        ]

    @abstractmethod
    def gold(self, number: int) -> str:
        """The target of a held-out example in words."""

    def answers(self, model: nn.Module) -> list[str]:
        found = self._outputs(model, self._shown)
        return [self.said(number, found[number]) for number in self._shown]

    def held_item(self, number: int) -> Item:
        """A held-out example by its number among the encoded ones."""
        return self._items["validation"][self._held.examples[number].item]

    def fresh(self) -> Any:
        from llmkit.models.task_models import with_head

        return with_head(self.paths["model"], self.head, seed=self.cfg.seed).loaded.model

    def probe(self) -> Batch:
        from llmkit.train.samples import Sample

        samples = self.samples("train")
        assert samples is not None  # noqa: S101  # a task refuses a dataset without examples
        count = min(PROBED, len(samples))
        return samples.batch([Sample(0, number) for number in range(count)], count)

    def stored(self) -> Mapping[str, Any]:
        """The facts of the artifact that is tuned further, where it was tuned for a head; empty for any other base."""
        from llmkit.models.load import TASK_FILE
        from llmkit.models.task_models import HEAD_CLASSES, task_facts

        folder = self.paths.get("adapter", self.paths["model"])
        facts = task_facts(folder) if (folder / TASK_FILE).is_file() else {}
        if not facts.get("head"):
            return {}
        if facts.get("task") != self.name and facts["head"] in HEAD_CLASSES:
            raise DataError(
                f"this model was tuned for the task '{facts.get('task')}', and the data are for '{self.name}'",
                where=str(folder),
                mend="tune the base that it was made from",
            )
        return facts

    @cached_property
    def _items(self) -> Mapping[Split, Sequence[Item]]:
        return {"train": self.items("train"), "validation": self.items("validation")}

    @cached_property
    def _training(self) -> EncodedItems:
        return self._encode("train")

    @cached_property
    def _held(self) -> EncodedItems:
        return self._encode("validation")

    def _encode(self, split: Split) -> EncodedItems:
        from llmkit.train.labelled import encode

        policy = self.cfg.over_length
        assert policy != "split"  # noqa: S101  # refused in __init__
        causal = self.loaded.objective == "causal"
        items = self._items[split]
        return encode(items, self.loaded.tokenizer, limit=self.limit, policy=policy, last_piece=causal)

    @cached_property
    def _scored(self) -> Sequence[int]:
        from llmkit.stages.tuning.scoring import spread

        return spread(range(len(self._held.examples)), MOST_SCORED) if self._held.examples else []

    @property
    def _shown(self) -> Sequence[int]:
        return self._scored[:SHOWN]

    def _outputs(self, model: nn.Module, numbers: Sequence[int] | None = None) -> Mapping[int, NDArray[np.float32]]:
        from llmkit.train.labelled import outputs

        wanted = self._scored if numbers is None else numbers
        samples = self.samples("validation")
        if samples is None:
            return {}
        return outputs(model, samples, wanted, batch_size=SCORED_AT_ONCE, words=self.words)

    def _records(self, found: Mapping[int, tuple[Mapping[str, Score], Mapping[str, Any]]]) -> list[ItemRecord]:
        from llmkit.evaluation.result import ItemRecord

        items = {number: self.held_item(number) for number in found}
        return [
            ItemRecord(
                id=f"{number}:{items[number].where}",
                cluster=items[number].where or str(number),
                scores=dict(scores),
                detail=dict(detail),
            )
            for number, (scores, detail) in found.items()
        ]


def nothing_to_train_on(held: Sequence[object]) -> DataError:
    """The error for a dataset without a training split."""
    if not held:
        return DataError("there is no example to train on", mend="check the data and its splits")
    return DataError(
        f"there is no example to train on: all {len(held):,} are held out",
        mend="their file is named so (dev, val, test), or their field `split` says so: change it, or add training data",
    )

"""What tasks share whose model gets a head: a text, a pair or words in, a label, a value or tags out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError
from llmkit.stages import models
from llmkit.stages.tuning.task import SHOWN, Given, Split, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from llmkit.evaluation.result import ItemRecord, Score
    from llmkit.models.task_models import Head
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.labelled import Encoded, Item, Labelled
    from llmkit.train.lengths import Fitted
    from llmkit.train.samples import Batch

MOST_SCORED = 5000
"""Held-out examples that are scored, at most, evenly spread: reading a text is cheap beside writing one."""
PROBED = 4
SCORED_AT_ONCE = 32


class Headed(Task):
    """A task with a head. A subclass says what the items are, and what an output means."""

    words = False
    """Whether each word has a label of its own."""
    whole: ClassVar[str] = "half a text has not the label of the whole"

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        from llmkit.models.task_models import with_head

        self.head = self.made_head()
        made = with_head(
            self.paths["model"],
            self.head,
            seed=self.cfg.seed,
            adapter=self.paths.get("adapter"),
            trainable=True,
            weights=self.weights,
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
    def item(self, example: Any) -> Item:
        """An example with its target; raises DataError where that is none of the head's."""

    @abstractmethod
    def told(self, batch: Batch, row: int, length: int) -> Seen:
        """What a row of a batch, with so many tokens, hands over and asks for."""

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

    def fitted(self, examples: Iterable[Any]) -> Fitted[Encoded]:
        from llmkit.train.labelled import encode

        items = [self.item(example) for example in examples]
        causal = self.loaded.objective == "causal"
        return encode(items, self.loaded.tokenizer, limit=self.limit, policy=self.cfg.over_length, last_piece=causal)

    def sizes(self, examples: Sequence[Encoded]) -> Mapping[str, int]:
        return {"tokens": sum(map(len, examples))}

    def samples(self, examples: Sequence[Encoded], split: Split) -> Labelled:
        from llmkit.train.labelled import Labelled

        return Labelled(
            examples,
            batch_size=self.cfg.batch_size,
            seed=self.cfg.seed,
            filler=self.loaded.model.config.pad_token_id,
            masked=self.loaded.objective != "causal",
            shuffle=split == "train",
        )

    def seen(self, examples: Sequence[Encoded]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import whole

        batch = whole(self.samples(examples, "train"), len(examples))
        return [self.told(batch, row, len(example)) for row, example in enumerate(examples)]

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
        return self.item(self.held_example(number))

    def held_example(self, number: int) -> Any:
        """The same as it is in the dataset."""
        return self._held_out[self.held.examples[number].item]

    def fresh(self) -> Any:
        from llmkit.models.task_models import with_head

        return with_head(self.paths["model"], self.head, seed=self.cfg.seed).loaded.model

    def probe(self) -> Batch:
        from llmkit.train.samples import Sample

        samples = self.samples(self.training.examples, "train")
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
    def _held_out(self) -> Sequence[Any]:
        schema: Any = self.schema
        return list(self.dataset.examples("validation", schema))

    @cached_property
    def _scored(self) -> Sequence[int]:
        from llmkit.stages.tuning.scoring import spread

        return spread(range(len(self.held.examples)), MOST_SCORED)

    @property
    def _shown(self) -> Sequence[int]:
        return self._scored[:SHOWN]

    def _outputs(self, model: nn.Module, numbers: Sequence[int] | None = None) -> Mapping[int, NDArray[np.float32]]:
        from llmkit.train.labelled import outputs

        wanted = self._scored if numbers is None else numbers
        if not wanted:
            return {}
        samples = self.samples(self.held.examples, "validation")
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

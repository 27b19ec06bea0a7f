"""Tags of words: names, parts of speech, by a head on each token of an encoder or a decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError
from llmkit.stages.tuning.headed import Headed
from llmkit.stages.tuning.task import Given, Split, nothing_to_train_on

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from llmkit.data.schemas import ExampleSchema, TagExample
    from llmkit.evaluation.result import ItemRecord, Score
    from llmkit.models.task_models import Head
    from llmkit.stages.tuning.seen import Seen
    from llmkit.train.labelled import Item
    from llmkit.train.samples import Batch

MOST_SAID = 24
"""Words of a tagged example that are shown, where tags mark no spans."""


class Tags(Headed):
    """A tag for each word; the loss is the cross-entropy of the tags, and it is compared with the commonest one."""

    schema: ClassVar[ExampleSchema] = "tag"
    metrics: ClassVar[Sequence[str]] = ("accuracy",)
    name = "tag"
    words = True

    @cached_property
    def examples(self) -> Mapping[Split, Sequence[TagExample]]:
        """Of both splits; raises DataError where there is nothing to train on."""
        found: dict[Split, list[TagExample]] = {
            "train": list(self.dataset.examples("train", "tag")),
            "validation": list(self.dataset.examples("validation", "tag")),
        }
        if not found["train"]:
            raise nothing_to_train_on(len(found["validation"]))
        return found

    def made_head(self) -> Head:
        from llmkit.models.task_models import Head

        distinct = {tag.tag for example in self.examples["train"] for tag in example.tags}
        known = tuple(map(str, self.stored().get("labels", ())))
        if len(distinct) < 2 and not known:
            raise DataError(
                f"all words to train on have the tag '{min(distinct)}': there is nothing to tell apart",
                where=_where(self.examples["train"][0]),
                mend="add examples with other tags",
            )
        return Head("token", known or tuple(sorted(distinct, key=lambda tag: (tag != "O", tag))))

    @property
    def facts(self) -> Mapping[str, Any]:
        # A token of a causal model sees no later one, so a word is read at its last token; in encoders at its first.
        return {**super().facts, "word_token": "last" if self.loaded.objective == "causal" else "first"}

    @property
    def aim(self) -> str:
        where = "last" if self.loaded.objective == "causal" else "first"
        return f"one of {len(self.head.labels)} tags for each word, at its {where} token; 'O' is not written out"

    def item(self, example: TagExample) -> Item:
        from llmkit.train.labelled import Item

        strange = next((tag for tag in example.tags if tag.tag not in self._numbers), None)
        if strange is not None:
            seen = "the model knows" if self.stored() else "the examples to train on have"
            raise DataError(
                f"the tag '{strange.tag}' of '{example.text[strange.start : strange.end]}' is none of those that "
                f"{seen}: {', '.join(self.head.labels)}",
                where=_where(example),
                mend="mend the tag, remove the record, or have examples of it in the training split",
            )
        return Item(
            example.text,
            None,
            [self._numbers[tag.tag] for tag in example.tags],
            _where(example),
            [(tag.start, tag.end) for tag in example.tags],
        )

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {label: at for at, label in enumerate(self.head.labels)}

    def told(self, batch: Batch, row: int, length: int) -> Seen:
        from llmkit.stages.tuning.seen import Seen, handed
        from llmkit.train.samples import IGNORE

        numbers = enumerate(batch.labels[row, :length].tolist())
        tags = {at: self.head.labels[number] for at, number in numbers if number != IGNORE}
        return Seen([handed(batch, row, length, learned=tags, tags=tags)])

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.labelled import tag_loss

        return tag_loss(model, batch)

    def score(self, number: int, output: NDArray[np.float32]) -> tuple[Mapping[str, Score], Mapping[str, Any]]:
        return self.scores(self._gold(number), self._tags(number, output)), {}

    def always(self, number: int) -> Mapping[str, Score]:
        gold = self._gold(number)
        return self.scores(gold, [self.commonest] * len(gold))

    def scores(self, gold: Sequence[str], said: Sequence[str]) -> Mapping[str, Score]:
        """The share of words with the right tag."""
        from llmkit.evaluation.result import Score

        right = sum(one == other for one, other in zip(gold, said, strict=True))
        return {"accuracy": Score(value=float(right), weight=float(len(gold)))}

    def said(self, number: int, output: NDArray[np.float32]) -> str:
        return self.written(number, self._tags(number, output))

    def gold(self, number: int) -> str:
        return self.written(number, self._gold(number))

    def written(self, number: int, tags: Sequence[str]) -> str:
        """Tags of a held-out example as people read them."""
        words = self._words(number)[:MOST_SAID]
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=False))

    @cached_property
    def commonest(self) -> str:
        """The most frequent tag of the training split."""
        counts = Counter(tag.tag for example in self.examples["train"] for tag in example.tags)
        return max(self.head.labels, key=lambda label: counts[label])

    def details(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        return {"compared_with": f"always '{self.commonest}'"} if records else {}

    def _example(self, number: int) -> TagExample:
        found: TagExample = self.held_example(number)
        return found

    def _words(self, number: int) -> Sequence[str]:
        example = self._example(number)
        return [example.text[tag.start : tag.end] for tag in example.tags]

    def _gold(self, number: int) -> Sequence[str]:
        return [tag.tag for tag in self._example(number).tags]

    def _tags(self, number: int, output: NDArray[np.float32]) -> Sequence[str]:
        """What is said of each word; of one that was cut off, or that the tokenizer does not see, the commonest."""
        places = self.held.examples[number].places
        assert places is not None  # noqa: S101  # items with words have them
        labels = self.head.labels
        return [labels[int(output[place].argmax())] if place >= 0 else self.commonest for place in places]


class Spans(Tags):
    """Tags that mark spans: what counts is whole spans with their type."""

    metrics: ClassVar[Sequence[str]] = ("span_f1", "accuracy")

    def scores(self, gold: Sequence[str], said: Sequence[str]) -> Mapping[str, Score]:
        """Also the spans found, twice, over those that are there and those that were said."""
        from llmkit.evaluation.metrics.spans import spans_of
        from llmkit.evaluation.result import Score

        there, found = spans_of(gold), spans_of(said)
        share = Score(value=2.0 * len(there & found), weight=float(len(there) + len(found)))
        return {"span_f1": share, **super().scores(gold, said)}

    def written(self, number: int, tags: Sequence[str]) -> str:
        from llmkit.evaluation.metrics.spans import spans_of

        example = self._example(number)
        spans = sorted(spans_of(tags), key=lambda span: span[1])
        texts = [
            (kind, example.text[example.tags[first].start : example.tags[end - 1].end]) for kind, first, end in spans
        ]
        return "; ".join(f"{kind}: {text}" for kind, text in texts) or "(none)"


def open_tags(given: Given) -> Tags:
    """`Spans` where the tags mark spans and some are held out, else `Tags`."""
    from llmkit.evaluation.metrics.spans import marks_spans, spans_of

    every = [[tag.tag for tag in example.tags] for example in given.dataset.examples(None, "tag")]
    held = ([tag.tag for tag in example.tags] for example in given.dataset.examples("validation", "tag"))
    if marks_spans({tag for tags in every for tag in tags}) and any(spans_of(tags) for tags in held):
        return Spans(given)
    return Tags(given)


def _where(example: TagExample) -> str:
    return f"{example.source}:{example.record}"

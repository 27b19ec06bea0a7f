"""Classes and values of texts, or of pairs of texts, by a head on an encoder or a decoder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError, UsageError
from llmkit.stages.tuning.headed import Headed
from llmkit.stages.tuning.task import Split, nothing_to_train_on

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from llmkit.data.schemas import ExampleSchema, LabelExample
    from llmkit.evaluation.result import ItemRecord, Score
    from llmkit.models.task_models import Head
    from llmkit.stages.tuning.seen import Seen, Strip
    from llmkit.train.labelled import Item
    from llmkit.train.samples import Batch

MANY_NUMBERS = 50
"""More distinct labels than this that are all numbers are hardly classes."""
MOST_CONFUSED = 20
"""Classes up to which a confusion matrix can be read."""


class _Texts(Headed):
    """Labelled texts, read once."""

    schema: ClassVar[ExampleSchema] = "label"

    @cached_property
    def examples(self) -> Mapping[Split, Sequence[LabelExample]]:
        """Of both splits; raises DataError where there is nothing to train on, or single texts stand beside pairs."""
        found: dict[Split, list[LabelExample]] = {
            "train": list(self.dataset.examples("train", "label")),
            "validation": list(self.dataset.examples("validation", "label")),
        }
        every = [*found["train"], *found["validation"]]
        if not found["train"]:
            raise nothing_to_train_on(len(found["validation"]))
        pairs = every[0].text_pair is not None
        odd = next((example for example in every if (example.text_pair is not None) != pairs), None)
        if odd is not None:
            raise DataError(
                f"a single text, and {_where(every[0])} is a pair"
                if pairs
                else f"a pair, and {_where(every[0])} is not",
                where=_where(odd),
                mend="train on single texts or on pairs, not on both",
            )
        return found

    def _item(self, example: LabelExample, target: int | float) -> Item:
        from llmkit.train.labelled import Item

        return Item(example.text, example.text_pair, target, _where(example))

    def _held_label(self, number: int) -> str:
        return str(self.held_example(number).label)

    def _strip(self, batch: Batch, row: int, length: int) -> Strip:
        from llmkit.stages.tuning.seen import handed

        return handed(batch, row, length)

    def _read_at(self, batch: Batch, row: int) -> str:
        return f", read at token {int(batch.labels[row, 1])}" if self.loaded.objective == "causal" else ""


class Classify(_Texts):
    """One of several classes; the loss is the cross-entropy, and what it is compared with is the commonest class."""

    metrics: ClassVar[Sequence[str]] = ("accuracy",)
    name = "classify"

    def made_head(self) -> Head:
        from llmkit.models.task_models import Head

        labels = [example.label for example in self.examples["train"]]
        distinct = set(labels)
        if self.cfg.task == "auto" and (why := _rather_numbers(distinct)):
            raise UsageError(
                f"the labels are {why}: are they classes or values?",
                mend="say which: --task regress learns their values, --task classify takes each for a class",
            )
        known = tuple(map(str, self.stored().get("labels", ())))
        if len(distinct) < 2 and not known:
            raise DataError(
                f"all {len(labels):,} examples to train on have the label '{labels[0]}': nothing to tell apart",
                where=_where(self.examples["train"][0]),
                mend="add examples of another class",
            )
        return Head("sequence", known or tuple(sorted(distinct, key=_natural)))

    @property
    def aim(self) -> str:
        return f"one of {len(self.head.labels)} labels: {_listed(self.head.labels)}"

    def item(self, example: LabelExample) -> Item:
        number = self._numbers.get(example.label)
        if number is None:
            seen = "the model tells apart" if self.stored() else "the examples to train on have"
            raise DataError(
                f"the label '{example.label}' is none of those that {seen}: {_listed(self.head.labels)}",
                where=_where(example),
                mend="mend the label, remove the record, or have examples of it in the training split",
            )
        return self._item(example, number)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {label: at for at, label in enumerate(self.head.labels)}

    def told(self, batch: Batch, row: int, length: int) -> Seen:
        from llmkit.stages.tuning.seen import Seen

        number = int(batch.labels[row, 0])
        target = f"label '{self.head.labels[number]}' (number {number}){self._read_at(batch, row)}"
        return Seen([self._strip(batch, row, length)], target)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.labelled import class_loss

        return class_loss(model, batch)

    def score(self, number: int, output: NDArray[np.float32]) -> tuple[Mapping[str, Score], Mapping[str, Any]]:
        said, gold = self.said(number, output), self.gold(number)
        return self._scores(number, said), {"gold": gold, "said": said}

    def always(self, number: int) -> Mapping[str, Score]:
        return self._scores(number, self.commonest)

    def said(self, number: int, output: NDArray[np.float32]) -> str:
        return self.head.labels[int(output.argmax())]

    def gold(self, number: int) -> str:
        return self._held_label(number)

    @cached_property
    def commonest(self) -> str:
        """The most frequent class of the training split."""
        counts = Counter(example.label for example in self.examples["train"])
        return max(self.head.labels, key=lambda label: counts[label])

    def details(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        pairs = Counter((str(record.detail["gold"]), str(record.detail["said"])) for record in records)
        labels = [label for label in self.head.labels if any(label in pair for pair in pairs)]
        found: dict[str, Any] = {"compared_with": f"always '{self.commonest}'", "macro_f1": _macro_f1(pairs, labels)}
        if len(labels) <= MOST_CONFUSED:
            found["confusion"] = {
                "labels": labels,
                "counts": [[pairs[gold, said] for said in labels] for gold in labels],
            }
        return found if records else {}

    def _scores(self, number: int, said: str) -> Mapping[str, Score]:
        from llmkit.evaluation.result import Score

        return {"accuracy": Score(value=float(said == self.gold(number)))}


class Regress(_Texts):
    """A number; the loss is the squared error, in standard deviations of the training values."""

    metrics: ClassVar[Sequence[str]] = ("rmse", "r2")
    name = "regress"

    def made_head(self) -> Head:
        from llmkit.models.task_models import Head

        values = [_value(example) for example in self.examples["train"]]
        stored = self.stored()
        self.mean = float(stored.get("mean", sum(values) / len(values)))
        spread = math.sqrt(sum((value - self.mean) ** 2 for value in values) / len(values))
        self.scale = float(stored.get("scale", spread))
        if not self.scale > 0:
            raise DataError(
                f"all {len(values):,} examples to train on have the value {values[0]:g}: there is nothing to learn",
                where=_where(self.examples["train"][0]),
                mend="add examples with other values",
            )
        return Head("sequence", ("value",), regression=True)

    @property
    def facts(self) -> Mapping[str, Any]:
        # The model says (value - mean) / scale.
        return {**super().facts, "mean": self.mean, "scale": self.scale}

    @property
    def aim(self) -> str:
        return f"a number, as its distance from {self.mean:.4g} in units of {self.scale:.4g}"

    def item(self, example: LabelExample) -> Item:
        return self._item(example, (_value(example) - self.mean) / self.scale)

    def told(self, batch: Batch, row: int, length: int) -> Seen:
        from llmkit.stages.tuning.seen import Seen

        scaled = float(batch.labels[row, 0])
        # Labels are float32: what is nothing beside the spread is 0.
        value = round(scaled * self.scale + self.mean, 5 - math.floor(math.log10(self.scale)))
        target = f"value {value:g}, learned as {scaled:+.4f}{self._read_at(batch, row)}"
        return Seen([self._strip(batch, row, length)], target)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.labelled import value_loss

        return value_loss(model, batch)

    def score(self, number: int, output: NDArray[np.float32]) -> tuple[Mapping[str, Score], Mapping[str, Any]]:
        value = self._unscaled(output)
        return self._scores(number, value), {"gold": float(self.gold(number)), "said": value}

    def always(self, number: int) -> Mapping[str, Score]:
        return self._scores(number, self.mean)

    def said(self, number: int, output: NDArray[np.float32]) -> str:
        return f"{self._unscaled(output):.4g}"

    def gold(self, number: int) -> str:
        return self._held_label(number)

    def details(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        return {"compared_with": f"always {self.mean:.4g}, the mean"} if records else {}

    def _unscaled(self, output: NDArray[np.float32]) -> float:
        return float(output[0]) * self.scale + self.mean

    @cached_property
    def _held_mean(self) -> float:
        values = [_value(example) for example in self.examples["validation"]]
        return sum(values) / len(values)

    def _scores(self, number: int, said: float) -> Mapping[str, Score]:
        from llmkit.evaluation.aggregate import score

        gold = float(self.gold(number))
        where = self.held_item(number).where
        error, spread = (said - gold) ** 2, (gold - self._held_mean) ** 2
        return {
            "squared_error": score("finetune-lora", where, "squared_error", error),
            "r2": score("finetune-lora", where, "r2", spread - error, spread),
        }


def _where(example: LabelExample) -> str:
    return f"{example.source}:{example.record}"


def _value(example: LabelExample) -> float:
    value = _number(example.label)
    if value is None:
        raise DataError(
            f"the label '{example.label}' is no number",
            where=_where(example),
            mend="mend or remove the record, or use --task classify",
        )
    return value


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rather_numbers(labels: set[str]) -> str:
    """Why labels look like values and not like classes; empty where they do not."""
    if any(_number(label) is None for label in labels):
        return ""
    broken = sorted((label for label in labels if not label.lstrip("+-").isdigit()), key=_natural)
    if broken:
        return f"numbers with decimals, such as {broken[0]}"
    return f"{len(labels):,} different numbers" if len(labels) > MANY_NUMBERS else ""


def _natural(label: str) -> tuple[float, str]:
    """Numbers by their value, and before words."""
    value = _number(label)
    return (math.inf if value is None else value, label)


def _listed(labels: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:most])
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _macro_f1(pairs: Mapping[tuple[str, str], int], labels: Sequence[str]) -> float:
    """The mean F1 of the classes that occur, as gold or as said: scikit-learn's `f1_score(average="macro")`."""
    scores = []
    for label in labels:
        right = pairs.get((label, label), 0)
        seen = sum(count for pair, count in pairs.items() for each in pair if each == label)
        scores.append(2 * right / seen)
    return sum(scores) / len(scores) if scores else 0.0

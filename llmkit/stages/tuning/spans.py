"""Questions on contexts: a head marks where the answer begins and ends, or that the context does not say (SQuAD)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import DataError
from llmkit.stages import models
from llmkit.stages.tuning.task import SHOWN, Given, Split, Task, nothing_to_train_on

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmkit.data.schemas import ExampleSchema, SpanExample
    from llmkit.evaluation.result import ItemRecord
    from llmkit.models.reading import Reading
    from llmkit.stages.tuning.seen import Seen, Strip
    from llmkit.train.lengths import Fitted
    from llmkit.train.samples import Batch
    from llmkit.train.spans import Asked, Feature, Question, Spans

MOST_SCORED = 2000
"""Held-out questions that are scored, at most, evenly spread."""
FOLDS = 5
"""Parts of the held-out questions, each of which is scored with the threshold that is best on the others."""
PROBED = 4
_SHOWN_AROUND = 100
"""Characters of the context that are shown before and behind an answer."""


class SpanReading(Task):
    """Extractive question answering; what it is compared with is to answer nothing at all."""

    schema: ClassVar[ExampleSchema] = "span"
    metrics: ClassVar[Sequence[str]] = (
        "f1",
        "exact_match",
        "located_f1",
        "located_exact_match",
        "answerable_f1",
        "answerable_exact_match",
        "no_answer_accuracy",
    )
    measured: ClassVar[str] = "tokens of the question"
    whole: ClassVar[str] = "a long context is read in windows anyway, and half a question asks nothing"

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        from llmkit.models.reading import LIMIT
        from llmkit.models.task_models import Head, with_head

        self.examples: Mapping[Split, Sequence[SpanExample]] = {
            "train": list(self.dataset.examples("train", "span")),
            "validation": list(self.dataset.examples("validation", "span")),
        }
        if not self.examples["train"]:
            raise nothing_to_train_on(len(self.examples["validation"]))
        read_before = self._stored()
        self.head = Head("span")
        folder, adapter = self.paths["model"], self.paths.get("adapter")
        made = with_head(folder, self.head, seed=self.cfg.seed, adapter=adapter, trainable=True, weights=self.weights)
        self.loaded, self.new = made.loaded, made.new
        most = models.sequence_limit(self.loaded, self.cfg.sequence_length)
        self.limit = most if self.cfg.sequence_length else min(most, LIMIT)
        # Data in which every question has an answer say nothing of those that have none.
        refuses = any(not example.answers for example in self.examples["train"])
        self.threshold: float | None = (read_before.get("threshold") or 0.0) if refuses else None
        self.refusal_auroc: float | None = None
        self._reads = bool(read_before) or not self.new

    @property
    def heads(self) -> Sequence[str]:
        return self.new

    @property
    def facts(self) -> Mapping[str, Any]:
        # `threshold` is that of `Reading.answer`; none where all questions have answers.
        # `refusal_auroc`: how well it tells questions without an answer; `ask` lets it refuse by that.
        found = {"task": "qa", **self.head.facts(), "limit": self.limit, "threshold": self.threshold}
        return found if self.refusal_auroc is None else {**found, "refusal_auroc": self.refusal_auroc}

    @property
    def aim(self) -> str:
        none = ", or that the context has none" if self.threshold is not None else ""
        return f"where the answer begins and ends{none}"

    def fitted(self, examples: Iterable[SpanExample]) -> Fitted[Asked]:
        from llmkit.train.spans import features

        items = [_question(example) for example in examples]
        return features(items, self.loaded.tokenizer, limit=self.limit, policy=self.cfg.over_length)

    def sizes(self, examples: Sequence[Asked]) -> Mapping[str, int]:
        lengths = [len(window) for window in _windows(examples)]
        return {"tokens": sum(lengths), "windows": len(lengths), "longest": max(lengths, default=0)}

    def samples(self, examples: Sequence[Asked], split: Split) -> Spans:
        from llmkit.train.spans import Spans

        return Spans(
            _windows(examples),
            batch_size=self.cfg.batch_size,
            seed=self.cfg.seed,
            filler=self.loaded.model.config.pad_token_id,
            shuffle=split == "train",
        )

    def seen(self, examples: Sequence[Asked]) -> Sequence[Seen]:
        from llmkit.stages.tuning.seen import Seen, whole

        batch = whole(self.samples(examples, "train"), len(_windows(examples)))
        told, row = [], 0
        for example in examples:
            count = len(example.windows)
            titles = [f"window {number + 1} of {count}" if count > 1 else "" for number in range(count)]
            strips = [
                self._strip(batch, row + at, len(window), titles[at]) for at, window in enumerate(example.windows)
            ]
            told.append(Seen(strips, "; ".join(_asked_for(batch, row + at, titles[at]) for at in range(count))))
            row += count
        return told

    def _strip(self, batch: Batch, row: int, length: int, title: str) -> Strip:
        from llmkit.stages.tuning.seen import handed

        learned = {place for start, end in _places(batch, row) for place in range(start, end + 1)}
        return handed(batch, row, length, learned=learned, title=title)

    @property
    def notes(self) -> Sequence[str]:
        from llmkit.models.load import read_config
        from llmkit.models.task_models import renamed_weights

        renamed = renamed_weights(read_config(self.paths["model"]), self.head)
        if not renamed or self.cfg.method == "full":
            return ()
        return (
            "outside llmkit, load the base of this adapter by AutoModelForQuestionAnswering.from_pretrained(..., "
            f"key_mapping={dict(renamed)}): without that, transformers leaves its weights at random",
        )

    @property
    def remarks(self) -> Sequence[str]:
        items, windows = len(self.training.examples), len(_windows(self.training.examples))
        if items == windows:
            return ()
        return (f"{items:,} questions are read in {windows:,} windows of at most {self.limit:,} tokens",)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        from llmkit.train.spans import span_loss

        return span_loss(model, batch)

    def records(self, model: nn.Module) -> list[ItemRecord]:
        readings = self._read(model, self.scored)
        used = self._settle(readings)
        return [
            self._record(example, _said(reading, threshold), _said(reading, None))
            for example, reading, threshold in zip(self.scored, readings, used, strict=True)
        ]

    def baseline(self, model: nn.Module) -> list[ItemRecord]:
        if self._reads:
            readings = self._read(model, self.scored)
            return [
                self._record(example, _said(reading, self.threshold), _said(reading, None))
                for example, reading in zip(self.scored, readings, strict=True)
            ]
        # The marks of a new head are a toss; to answer nothing is right whenever there is no answer.
        return [self._record(example, "", "") for example in self.scored]

    def details(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        if not records:
            return {}
        right = sum((record.detail["said"] == "") == (record.detail["gold"] == []) for record in records)
        return {
            **({} if self._reads else {"compared_with": "never answering"}),
            "threshold": self.threshold,
            "refusal_auroc": self.refusal_auroc,
            "answerability_accuracy": right / len(records),
        }

    def shown(self) -> list[Mapping[str, str]]:
        return [
            {
                "prompt": f"{example.question}\n{_around(example)}",
                "gold": " | ".join(dict.fromkeys(answer.text for answer in example.answers)) or "(no answer)",
            }
            for example in self._shown
        ]

    def answers(self, model: nn.Module) -> list[str]:
        return [_said(reading, self.threshold) or "(no answer)" for reading in self._read(model, self._shown)]

    def fresh(self) -> Any:
        from llmkit.models.task_models import with_head

        return with_head(self.paths["model"], self.head, seed=self.cfg.seed).loaded.model

    def probe(self) -> Batch:
        from llmkit.train.samples import Sample

        samples = self.samples(self.training.examples, "train")
        count = min(PROBED, len(samples))
        return samples.batch([Sample(0, number) for number in range(count)], count)

    @cached_property
    def scored(self) -> Sequence[SpanExample]:
        """The held-out questions that are scored."""
        from llmkit.stages.tuning.scoring import spread

        return spread([self.examples["validation"][asked.item] for asked in self.held.examples], MOST_SCORED)

    @property
    def _shown(self) -> Sequence[SpanExample]:
        return self.scored[:: max(1, len(self.scored) // SHOWN)][:SHOWN]

    def _stored(self) -> Mapping[str, Any]:
        """The facts of a base that was tuned to read, else empty.

        Raises:
            DataError: it was tuned for another kind of task: its head marks no spans.
        """
        from llmkit.models.load import TASK_FILE
        from llmkit.models.task_models import HEAD_CLASSES, task_facts

        folder = self.paths.get("adapter", self.paths["model"])
        facts = task_facts(folder) if (folder / TASK_FILE).is_file() else {}
        if facts.get("head") in HEAD_CLASSES and facts["head"] != "span":
            raise DataError(
                f"this model was tuned for the task '{facts.get('task')}', and the data are for 'qa'",
                where=str(folder),
                mend="tune the base that it was made from",
            )
        return facts if facts.get("head") == "span" else {}

    def _read(self, model: nn.Module, examples: Sequence[SpanExample]) -> list[Reading]:
        from llmkit.models.reading import Reader

        reader = Reader(model, self.loaded.tokenizer, limit=self.limit)
        return reader.read([(example.question, example.context) for example in examples])

    def _settle(self, readings: Sequence[Reading]) -> list[float | None]:
        """Set the threshold by all held-out questions, and say which one is fair for each: made without its own part.

        Questions on one article are in one part; without titles, those on one context.
        """
        from llmkit.evaluation.metrics.text import token_f1
        from llmkit.evaluation.threshold import best_threshold

        golds = [_golds(example) for example in self.scored]
        spans = [_said(reading, None) for reading in readings]
        if self.threshold is None or not readings:
            return [self.threshold] * len(readings)
        self.refusal_auroc = _refusal_auroc(readings, golds)
        columns = [
            (reading.no_answer, token_f1(span, gold), token_f1("", gold))
            for reading, span, gold in zip(readings, spans, golds, strict=True)
        ]

        def tuned(numbers: Sequence[int]) -> float:
            chosen = [columns[number] for number in numbers]
            return best_threshold(*([row[column] for row in chosen] for column in range(3)))

        groups = [str(example.meta.get("title") or example.context) for example in self.scored]
        fold = {group: number % FOLDS for number, group in enumerate(sorted(set(groups)))}
        folds = [fold[group] for group in groups]
        if len(set(folds)) < 2:  # nothing to tune a fair threshold on
            return [self.threshold] * len(readings)
        fair = {own: tuned([n for n, other in enumerate(folds) if other != own]) for own in set(folds)}
        self.threshold = tuned(range(len(columns)))
        return [fair[own] for own in folds]

    def _record(self, example: SpanExample, said: str, best: str) -> ItemRecord:
        """Scores of what is said, and of the best span, which may not have been good enough to be said."""
        from llmkit.evaluation.metrics.text import exact_match, token_f1
        from llmkit.evaluation.result import ItemRecord, Score

        gold = _golds(example)
        f1, exact, able = token_f1(said, gold), exact_match(said, gold), float(bool(example.answers))
        return ItemRecord(
            id=_where(example),
            cluster=hashlib.blake2b(example.context.encode(), digest_size=8).hexdigest(),
            scores={
                "f1": Score(value=f1),
                "exact_match": Score(value=exact),
                "located_f1": Score(value=token_f1(best, gold) * able, weight=able),
                "located_exact_match": Score(value=exact_match(best, gold) * able, weight=able),
                "answerable_f1": Score(value=f1 * able, weight=able),
                "answerable_exact_match": Score(value=exact * able, weight=able),
                "no_answer_accuracy": Score(value=(1 - able) * (said == ""), weight=1 - able),
            },
            detail={"gold": [answer.text for answer in example.answers], "said": said, "best": best},
        )


def _windows(examples: Sequence[Asked]) -> list[Feature]:
    return [window for example in examples for window in example.windows]


def _places(batch: Batch, row: int) -> list[tuple[int, int]]:
    """Positions of the first and last token of each answer that a row's labels ask for."""
    from llmkit.train.samples import IGNORE

    found = batch.labels[row, 3:].tolist()
    pairs = zip(found[::2], found[1::2], strict=True)
    return list(dict.fromkeys((start, end) for start, end in pairs if start != IGNORE))


def _asked_for(batch: Batch, row: int, title: str) -> str:
    none = int(batch.labels[row, 2])
    places = " or ".join(
        f"no answer (token {none})" if (start, end) == (none, none) else f"the answer at tokens {start} to {end}"
        for start, end in _places(batch, row)
    )
    return f"{title}: {places}" if title else places


def _question(example: SpanExample) -> Question:
    from llmkit.train.spans import Question

    ranges = [(answer.start, answer.start + len(answer.text)) for answer in example.answers]
    return Question(example.question, example.context, ranges, _where(example))


def _refusal_auroc(readings: Sequence[Reading], golds: Sequence[Sequence[str]]) -> float | None:
    """How well "no answer" is told from answers on held-out questions; None where too few are of either kind."""
    from llmkit.evaluation.threshold import LEAST, auroc

    none: list[float] = []
    some: list[float] = []
    for reading, gold in zip(readings, golds, strict=True):
        (some if any(gold) else none).append(reading.no_answer)
    return round(auroc(none, some), 4) if min(len(none), len(some)) >= LEAST else None


def _golds(example: SpanExample) -> list[str]:
    """What the official script compares with: answers of which something is left, or none."""
    from llmkit.evaluation.metrics.text import normalise_answer

    return [answer.text for answer in example.answers if normalise_answer(answer.text)] or [""]


def _said(reading: Reading, threshold: float | None) -> str:
    span = reading.answer(threshold)
    return span.text if span else ""


def _around(example: SpanExample) -> str:
    """The context, or what is around the first answer."""
    start = example.answers[0].start if example.answers else 0
    end = start + len(example.answers[0].text) if example.answers else 0
    first, last = max(0, start - _SHOWN_AROUND), end + _SHOWN_AROUND
    before, behind = "… " if first else "", " …" if last < len(example.context) else ""
    return f"{before}{example.context[first:last]}{behind}"


def _where(example: SpanExample) -> str:
    return f"{example.source}:{example.record}"

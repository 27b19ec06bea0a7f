"""Questions on contexts for the loop: windows with the places of their answers, padded to few lengths, and the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmkit.errors import DataError
from llmkit.models.reading import Passage, Window, encode, padded
from llmkit.train.lengths import Fitted, OverLength, Shortening, fit
from llmkit.train.padding import ByLength
from llmkit.train.samples import IGNORE, Batch, Sample

_FIXED = 3
"""Columns of the labels before the answers: first and last position of the context, and that of "no answer"."""


@dataclass(frozen=True)
class Question:
    """A question to learn from.

    Attributes:
        answers: half-open ranges of characters of the context; several are what several people gave, with repetition.
            None: the context does not say.
        where: for messages.
    """

    question: str
    context: str
    answers: Sequence[tuple[int, int]]
    where: str = ""


@dataclass(frozen=True)
class Feature:
    """A window with its answers.

    Attributes:
        item: the question's position among those that were encoded.
        answers: positions of the first and last token of each; those of "no answer" where the window has none.
    """

    item: int
    window: Window
    answers: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.window)


@dataclass(frozen=True)
class Asked:
    """A question with the windows in which its context is read.

    Attributes:
        item: as in `Feature`.
        tokens: of the question, before it was cut.
    """

    item: int
    tokens: int
    windows: tuple[Feature, ...]
    where: str = ""

    def __len__(self) -> int:
        return self.tokens


def _as_it_is(asked: Asked, _: int) -> Asked:
    # Its windows hold half a window of a longer question already: `encode` leaves no other room to the context.
    return asked


def _question(_: Asked) -> str:
    return "a question"


SHORTENING = Shortening(_as_it_is, called=_question, why="half of a window is its context's")


def features(items: Sequence[Question], tokenizer: Any, *, limit: int, policy: OverLength) -> Fitted[Asked]:
    """Encode questions and contexts in windows, find the answers in them, and apply the over-length policy.

    An answer that a window cuts is none of this window: it is learned from another. Contexts may be of any length; a
    question must leave half of a window to the context.

    Args:
        limit: tokens of a window.

    Raises:
        UsageError, DataError: as `fit`; DataError also for an answer without a token.
    """

    def made() -> Iterator[Asked]:
        passages = encode([(item.question, item.context) for item in items], tokenizer, limit)
        for number, (item, passage) in enumerate(zip(items, passages, strict=True)):
            yield Asked(number, passage.asked, _features(number, item, passage), item.where)

    return fit(made(), limit // 2, policy, SHORTENING)


class Spans(ByLength):
    """Windows for the loop, padded on the right.

    The labels of a batch, shape (rows, 3 + 2 x answers): the first and last position of the context, the position of
    "no answer", then start and end of each answer. What is not there is IGNORE.

    Args:
        filler: id at padded positions; no output depends on it.
    """

    def __init__(
        self, examples: Sequence[Feature], *, batch_size: int, seed: int, filler: int, shuffle: bool = True
    ) -> None:
        super().__init__([len(each) for each in examples], batch_size=batch_size, seed=seed, shuffle=shuffle)
        self._examples, self._filler = examples, filler
        self._columns = _FIXED + 2 * max(len(each.answers) for each in examples)

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        chosen = [self._examples[sample.number] for sample in samples]
        width = self.width(samples)
        inputs = padded([each.window for each in chosen], rows=rows, width=width, filler=self._filler)
        if not chosen and self._examples[0].window.types is not None:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        labels = np.full((rows, self._columns), IGNORE, dtype=np.int64)
        for row, each in enumerate(chosen):
            window = each.window
            labels[row, :_FIXED] = (window.first, window.first + window.count - 1, window.none)
            labels[row, _FIXED : _FIXED + 2 * len(each.answers)] = np.array(each.answers).ravel()
        return Batch(inputs, torch.from_numpy(labels), rows * width)


def span_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy, in nats, of start and end together, summed over windows; and the number of windows.

    The softmax is over the context and "no answer": what a reader may say. Where several people gave answers, it is the
    mean over theirs.
    """
    made = model(**batch.inputs)
    labels = batch.labels
    there = labels[:, 2] != IGNORE
    position = torch.arange(made.start_logits.shape[1], device=labels.device)
    first, last, none = (labels[:, column, None] for column in range(_FIXED))
    # A row without a window may say anything, for a softmax over nothing is not a number.
    allowed = ((position >= first) & (position <= last)) | (position == none) | ~there[:, None]
    total = torch.zeros((), device=labels.device)
    for logits, targets in ((made.start_logits, labels[:, _FIXED::2]), (made.end_logits, labels[:, _FIXED + 1 :: 2])):
        logs = logits.float().masked_fill(~allowed, float("-inf")).log_softmax(-1)
        given = targets != IGNORE
        picked = logs.gather(1, targets.clamp_min(0)).masked_fill(~given, 0.0)
        total = total - (picked.sum(1) / given.sum(1).clamp_min(1)).sum()
    return total, there.sum()


def _features(number: int, item: Question, passage: Passage) -> tuple[Feature, ...]:
    tokens = [passage.tokens_of(*answer) for answer in item.answers]
    if None in tokens:
        raise DataError("the tokenizer makes no token of an answer", where=item.where or None, mend="remove the record")
    made = []
    for window in passage.windows:
        places = [window.places(*each) for each in tokens if each is not None]
        inside = tuple(each for each in places if each is not None)
        made.append(Feature(number, window, inside or ((window.none, window.none),)))
    return tuple(made)

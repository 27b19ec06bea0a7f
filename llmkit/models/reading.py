"""Reading: where in a context the answer to a question stands, by a model that marks its start and its end.

Windows, the longest answer and the rule of "no answer" are those of BERT's reader of SQuAD (Devlin et al. 2019,
sections 4.2 and 4.3, and its run_squad.py), but for one thing: a span is held against "no answer" of its own window, so
that the scores of several windows, and of several contexts, can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmkit.errors import DataError
from llmkit.models.task_models import load_for_task

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

LIMIT = 384
"""Tokens of a window, special ones included, at most; the next one begins a third of that (128) later: run_squad.py."""
LONGEST_ANSWER = 30
"""Tokens of the longest span that is given: run_squad.py."""
READ_AT_ONCE = 32
_ENCODED_AT_ONCE = 256

Pair = tuple[str, str]
"""A question and a context."""


@dataclass(frozen=True)
class Window:
    """A question and a part of a context, as a model reads them.

    Attributes:
        ids, types: shape (tokens,); types tell question and context apart, where the tokenizer does.
        first: the position of the first token of the context.
        count: tokens of the context in here.
        begin: how many tokens of the context are before this window.
        none: the position that stands for "no answer in here": that of the CLS token, else the first.
    """

    ids: IntArray
    types: IntArray | None
    first: int
    count: int
    begin: int
    none: int

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, start: int, end: int) -> tuple[int, int] | None:
        """The positions of the context's tokens number `start` and `end`; None if one of them is not in here."""
        if start < self.begin or end >= self.begin + self.count:
            return None
        return start - self.begin + self.first, end - self.begin + self.first


@dataclass(frozen=True)
class Passage:
    """A question and a context in windows.

    Attributes:
        offsets: shape (tokens of the context, 2): the half-open range of characters that each stands for.
        windows: each token of the context is in at least one.
        asked: tokens of the question; more than `longest_question` of the limit were cut off.
    """

    offsets: IntArray
    windows: tuple[Window, ...]
    asked: int

    def tokens_of(self, start: int, end: int) -> tuple[int, int] | None:
        """Numbers of the first and last token that a range of characters touches; None if it touches none."""
        touched = np.flatnonzero((self.offsets[:, 1] > start) & (self.offsets[:, 0] < end))
        return (int(touched[0]), int(touched[-1])) if len(touched) else None


@dataclass(frozen=True)
class Span:
    """A part of the context: `context[start:end] == text`.

    Attributes:
        score: log-odds of this span against "no answer", by the model.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Reading:
    """What a model makes of a question and a context.

    Attributes:
        spans: the best ones, best first; empty where the context has no token.
    """

    spans: tuple[Span, ...]

    @property
    def no_answer(self) -> float:
        """Log-odds of "no answer" against the best span."""
        return -self.spans[0].score if self.spans else float("inf")

    def answer(self, threshold: float | None = 0.0) -> Span | None:
        """The best span, unless "no answer" is ahead of it by more than the threshold; None: it never is."""
        if not self.spans or (threshold is not None and self.no_answer > threshold):
            return None
        return self.spans[0]


class Reader:
    """A model with a span head, its tokenizer, and how it reads.

    Args:
        limit: tokens of a window.
        threshold: of `Reading.answer`, as tuned; None for a model that knows no question without an answer.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, limit: int = LIMIT, threshold: float | None = 0.0) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.limit, self.threshold = limit, threshold

    @classmethod
    def open(cls, folder: Path, *, adapter: Path | None = None, device: str = "cpu") -> Reader:
        """What `finetune-lora --task qa` made: an adapter on its base, or a model that was tuned whole.

        Raises:
            NotFoundError, DataError: as `load_for_task`; also where it was tuned for something else.
        """
        loaded, facts = load_for_task(folder, adapter=adapter)
        if facts["head"] != "span":
            raise DataError(
                f"it was tuned for the task '{facts.get('task')}', and does not mark answers in a text",
                where=str(adapter or folder),
                mend="use one that was tuned with --task qa",
            )
        model: nn.Module = loaded.model.to(device)
        return cls(model, loaded.tokenizer, limit=facts["limit"], threshold=facts["threshold"])

    def answer(self, question: str, context: str) -> Span | None:
        """The span that answers the question, or None: the context does not say."""
        return self.read([(question, context)])[0].answer(self.threshold)

    @torch.no_grad()
    def read(self, pairs: Sequence[Pair], *, best: int = 1) -> list[Reading]:
        """The `best` spans for each question and context, whether or not they are likely; in float32, without dropout.

        Of a question longer than half a window the end is not read.
        """
        passages = encode(pairs, self._tokenizer, self.limit)
        windows = [(number, window) for number, passage in enumerate(passages) for window in passage.windows]
        windows.sort(key=lambda each: len(each[1]), reverse=True)
        found: list[list[Span]] = [[] for _ in pairs]
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.compiler.set_stance("force_eager"):
                for at in range(0, len(windows), READ_AT_ONCE):
                    group = windows[at : at + READ_AT_ONCE]
                    for (number, window), logits in zip(group, self._logits([w for _, w in group]), strict=True):
                        offsets = passages[number].offsets[window.begin : window.begin + window.count]
                        found[number] += _spans(logits, window, offsets, pairs[number][1], best)
        finally:
            self._model.train(was_training)
        return [Reading(_best(spans, best)) for spans in found]

    def _logits(self, windows: Sequence[Window]) -> FloatArray:
        """Shape (windows, width, 2): of the start and of the end."""
        device = next(self._model.parameters()).device
        inputs = padded(windows, rows=len(windows), width=max(map(len, windows)), filler=_filler(self._tokenizer))
        made = self._model(**{name: tensor.to(device) for name, tensor in inputs.items()})
        both = torch.stack([made.start_logits, made.end_logits], dim=-1)
        logits: FloatArray = both.float().cpu().numpy()
        return logits


def encode(pairs: Sequence[Pair], tokenizer: Any, limit: int) -> list[Passage]:
    """Questions and contexts in windows of at most `limit` tokens.

    A question longer than half of that is cut. Where the tokenizer puts no token between two texts, a line break ends
    the question.

    Raises:
        DataError: the tokenizer does not say which characters a token stands for, or the limit is too small.
    """
    if not tokenizer.is_fast:
        raise DataError(
            "the model's tokenizer does not tell where in a text its tokens stand",
            mend="use a model with a tokenizer.json",
        )
    separator = "" if tokenizer.sep_token_id is not None else "\n"
    found: list[Passage] = []
    for at in range(0, len(pairs), _ENCODED_AT_ONCE):
        group = pairs[at : at + _ENCODED_AT_ONCE]
        asked = [_cut(question, tokenizer, limit) for question, _ in group]
        encoded = tokenizer(
            [question + separator for question, _ in asked],
            [context for _, context in group],
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        for number, (_, tokens) in enumerate(asked):
            columns = {name: column[number] for name, column in encoded.items()}
            found.append(_passage(columns, encoded.sequence_ids(number), tokenizer.cls_token_id, limit, tokens))
    return found


def padded(windows: Sequence[Window], *, rows: int, width: int, filler: int) -> dict[str, Tensor]:
    """Windows as a model's arguments, each of shape (rows, width), padded on the right."""
    ids = np.full((rows, width), filler, dtype=np.int64)
    types = np.zeros((rows, width), dtype=np.int64)
    # A row without a window sees one token: attention to none at all is not a number.
    seen = np.zeros((rows, width), dtype=np.int64)
    seen[:, 0] = 1
    for row, window in enumerate(windows):
        ids[row, : len(window)] = window.ids
        seen[row, : len(window)] = 1
        if window.types is not None:
            types[row, : len(window)] = window.types
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(seen)}
    if windows and windows[0].types is not None:
        inputs["token_type_ids"] = torch.from_numpy(types)
    return inputs


def _cut(question: str, tokenizer: Any, limit: int) -> tuple[str, int]:
    """The question, cut to half a window, and how many tokens it had."""
    found = tokenizer(
        question,
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_offsets_mapping=True,
        verbose=False,
    )["offset_mapping"]
    most = limit // 2
    return (question if len(found) <= most else question[: found[most - 1][1]]), len(found)


def _passage(found: dict[str, Any], texts: Sequence[int | None], cls: int | None, limit: int, asked: int) -> Passage:
    """Cut what was encoded whole into windows: each has all that stands before and behind the context."""
    ids = np.array(found["input_ids"], dtype=np.int64)
    types = np.array(found["token_type_ids"], dtype=np.int64) if "token_type_ids" in found else None
    of_context = np.flatnonzero([text == 1 for text in texts])
    first, count = (int(of_context[0]), len(of_context)) if len(of_context) else (len(ids), 0)
    offsets = np.array(found["offset_mapping"], dtype=np.int64).reshape(-1, 2)[first : first + count]
    behind = len(ids) - first - count
    room = limit - first - behind
    if room < 1:
        raise DataError(
            f"a window of {limit} tokens leaves no room for a context beside the question",
            mend="use a larger --sequence-length",
        )
    step = max(1, min(limit // 3, room))
    windows = []
    for begin in _begins(count, room, step):
        end = min(begin + room, count)
        taken = np.r_[0:first, first + begin : first + end, len(ids) - behind : len(ids)]
        places = np.flatnonzero(ids[taken] == cls) if cls is not None else np.array([0])
        none = int(places[0]) if len(places) else 0
        windows.append(Window(ids[taken], None if types is None else types[taken], first, end - begin, begin, none))
    return Passage(offsets, tuple(windows), asked)


def _begins(count: int, room: int, step: int) -> Iterator[int]:
    begin = 0
    yield begin
    while begin + room < count:
        begin += step
        yield begin


def _spans(logits: FloatArray, window: Window, offsets: IntArray, context: str, best: int) -> Iterator[Span]:
    """The best spans of a window by the sum of their logits, less that of "no answer"."""
    if not window.count:
        return
    here = slice(window.first, window.first + window.count)
    starts, ends = logits[here, 0], logits[here, 1]
    filled = offsets[:, 1] > offsets[:, 0]
    distance = np.arange(window.count) - np.arange(window.count)[:, None]
    allowed = (distance >= 0) & (distance < LONGEST_ANSWER) & filled[:, None] & filled
    scores = np.where(allowed, starts[:, None] + ends, -np.inf).ravel()
    none = float(logits[window.none].sum())
    # Some spans may hold nothing but white space, and two may be the same without it.
    chosen = np.argsort(-scores, kind="stable")[: 4 * best]
    for at in chosen.tolist():
        first, last = divmod(at, window.count)
        start, end = int(offsets[first, 0]), int(offsets[last, 1])
        text = context[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        if text and np.isfinite(scores[at]):
            yield Span(text, start, start + len(text), float(scores[at]) - none)


def _best(spans: Sequence[Span], best: int) -> tuple[Span, ...]:
    """The best spans, each place once."""
    kept: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda each: (-each.score, each.start, each.end)):
        kept.setdefault((span.start, span.end), span)
    return tuple(kept.values())[:best]


def _filler(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id or 0)

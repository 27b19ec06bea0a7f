"""Texts with labels, values or tags for the loop: encoded, padded to few lengths, and the losses of their heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from llmkit.errors import DataError
from llmkit.models.task_models import reading_at
from llmkit.train.lengths import Fitted, OverLength, Shortening, fit
from llmkit.train.losses import unwrapped, without_cache
from llmkit.train.padding import ByLength
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample

SMALLEST = 8
"""The least width: single sentences of a dozen tokens are common here, and at 32 most of a row would be padding."""
_ENCODED_AT_ONCE = 1000

Span = tuple[int, int]


@dataclass(frozen=True)
class Item:
    """What is to be learned, as text.

    Attributes:
        target: the number of its class, its value, or, for words, the number of each one's tag.
        words: half-open ranges of characters of the text; none for a text that is labelled as a whole.
        where: for messages.
    """

    text: str
    pair: str | None
    target: int | float | Sequence[int]
    where: str
    words: Sequence[Span] = ()


@dataclass(frozen=True)
class Encoded:
    """An item in tokens, special ones included.

    Attributes:
        item: its position among those that were encoded.
        ids, types: shape (tokens,); types tell the two texts of a pair apart, where the tokenizer does.
        target: as the item's; of words, shape (tokens,) with IGNORE at all tokens but one of each word.
        places: of words, the position of each one's token, or -1: it has none, or was cut off.
    """

    item: int
    ids: IntArray
    types: IntArray | None
    target: int | float | IntArray
    places: IntArray | None = None
    where: str = ""

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    items: Sequence[Item], tokenizer: Any, *, limit: int, policy: OverLength, last_piece: bool = False
) -> Fitted[Encoded]:
    """Encode as the tokenizer does it for one text or for a pair, and apply the over-length policy.

    A pair that is cut loses tokens of its longer text first. Nothing is split: half a text has not the label of all.

    Args:
        last_piece: a word is read at its last token, as is right where a token sees only what is before it; else at its
            first (Devlin et al. 2019, section 5.3).

    Raises:
        UsageError, DataError: as `fit`; DataError also for an item without a token.
    """

    def made() -> Iterator[Encoded]:
        for number, found in enumerate(_encodings(items, tokenizer)):
            if not len(found["input_ids"]):
                raise DataError(
                    "the tokenizer makes no token of this text", where=items[number].where, mend="remove the record"
                )
            yield _made(number, items[number], found, last_piece)

    def cut(example: Encoded, most: int) -> Encoded:
        item = items[example.item]
        (found,) = _encoded(tokenizer, [item], truncation="longest_first", max_length=most)
        return _made(example.item, item, found, last_piece)

    return fit(made(), limit, policy, Shortening(cut))


class Labelled(ByLength):
    """Encoded items for the loop, padded on the right.

    The labels of a batch are, for texts as a whole, of shape (rows, 2): the class or the value, and the position of
    the last token, -1 in a row without a sample. For words they are of shape (rows, width), as usual.

    Args:
        filler: id at padded positions; no output depends on it.
        masked: whether the model must be told where the padding is: one whose tokens see what follows them.
    """

    def __init__(
        self,
        examples: Sequence[Encoded],
        *,
        batch_size: int,
        seed: int,
        filler: int,
        masked: bool,
        shuffle: bool = True,
    ) -> None:
        lengths = [len(example) for example in examples]
        super().__init__(lengths, batch_size=batch_size, seed=seed, shuffle=shuffle, smallest=SMALLEST)
        self._examples, self._filler, self._masked = examples, filler, masked

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        return padded(
            [self._examples[sample.number] for sample in samples],
            rows=rows,
            width=self.width(samples),
            filler=self._filler,
            like=self._examples[0],
            masked=self._masked,
        )


def padded(examples: Sequence[Encoded], *, rows: int, width: int, filler: int, like: Encoded, masked: bool) -> Batch:
    """Encoded items as one batch of so many rows and columns; `like` says what kind of items they are."""
    ids = np.full((rows, width), filler, dtype=np.int64)
    types = np.zeros((rows, width), dtype=np.int64)
    # A row without a sample sees one token: attention to none at all is not a number.
    seen = np.zeros((rows, width), dtype=np.int64)
    seen[:, 0] = 1
    for row, example in enumerate(examples):
        ids[row, : len(example)] = example.ids
        seen[row, : len(example)] = 1
        if example.types is not None:
            types[row, : len(example)] = example.types
    inputs = {"input_ids": torch.from_numpy(ids)}
    if masked:
        inputs["attention_mask"] = torch.from_numpy(seen)
    if like.types is not None:
        inputs["token_type_ids"] = torch.from_numpy(types)
    return Batch(inputs, torch.from_numpy(_labels(examples, rows, width, like)), rows * width)


def text_outputs(model: nn.Module, batch: Batch) -> Tensor:
    """What a sequence head says of each row, shape (rows, outputs), read at the row's last token."""
    with reading_at(unwrapped(model), batch.labels[:, 1].long().clamp_min(0)):
        outputs: Tensor = model(**batch.inputs).logits
    return outputs


def class_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, in nats, of the rows' classes, and the number of rows with a sample."""
    target = batch.labels[:, 0]
    total = functional.cross_entropy(text_outputs(model, batch).float(), target, ignore_index=IGNORE, reduction="sum")
    return total, (target != IGNORE).sum()


def value_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed squared error of the rows' values, and the number of rows with a sample."""
    there = batch.labels[:, 1] >= 0
    error = text_outputs(model, batch)[:, 0].float() - batch.labels[:, 0].float()
    return (error.square() * there).sum(), there.sum()


def tag_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, in nats, of the words' tags, and the number of words."""
    outputs = model(**batch.inputs).logits.float().flatten(0, 1)
    total = functional.cross_entropy(outputs, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
    return total, (batch.labels != IGNORE).sum()


@torch.no_grad()
def outputs(
    model: nn.Module, samples: Labelled, numbers: Sequence[int], *, batch_size: int, words: bool
) -> Mapping[int, NDArray[np.float32]]:
    """What the model says of these samples, in their order: shape (outputs,), or for words (tokens, outputs).

    In float32 and without dropout, the longest first; a sample's neighbours change its output by rounding only.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: dict[int, NDArray[np.float32]] = {}
    order = sorted(numbers, key=samples.length, reverse=True)
    try:
        with without_cache(model), torch.compiler.set_stance("force_eager"):
            for start in range(0, len(order), batch_size):
                chosen = [Sample(0, number) for number in order[start : start + batch_size]]
                batch = samples.batch(chosen, len(chosen)).to(device)
                made = model(**batch.inputs).logits if words else text_outputs(model, batch)
                for sample, row in zip(chosen, made.float().cpu().numpy(), strict=True):
                    found[sample.number] = row[: samples.length(sample.number)] if words else row
    finally:
        model.train(was_training)
    return {number: found[number] for number in numbers}


def _labels(examples: Sequence[Encoded], rows: int, width: int, like: Encoded) -> NDArray[Any]:
    if like.places is not None:
        labels = np.full((rows, width), IGNORE, dtype=np.int64)
        for row, example in enumerate(examples):
            labels[row, : len(example)] = example.target
        return labels
    whole = isinstance(like.target, int)
    found = np.full((rows, 2), (IGNORE if whole else 0, -1), dtype=np.int64 if whole else np.float32)
    for row, example in enumerate(examples):
        found[row] = (example.target, len(example) - 1)
    return found


def _encodings(items: Sequence[Item], tokenizer: Any) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(items), _ENCODED_AT_ONCE):
        yield from _encoded(tokenizer, items[start : start + _ENCODED_AT_ONCE], truncation=False)


def _encoded(tokenizer: Any, items: Sequence[Item], **how: Any) -> list[Mapping[str, Any]]:
    pairs = [item.pair for item in items] if items[0].pair is not None else None
    words = bool(items[0].words)
    found = tokenizer(
        [item.text for item in items],
        pairs,
        padding=False,
        return_attention_mask=False,
        return_offsets_mapping=words,
        return_special_tokens_mask=words,
        verbose=False,
        **how,
    )
    return [{name: column[at] for name, column in found.items()} for at in range(len(items))]


def _made(number: int, item: Item, found: Mapping[str, Any], last_piece: bool) -> Encoded:
    ids = np.array(found["input_ids"], dtype=np.int64)
    types = np.array(found["token_type_ids"], dtype=np.int64) if "token_type_ids" in found else None
    if not item.words:
        assert not isinstance(item.target, Sequence)  # noqa: S101  # a text as a whole has one
        return Encoded(number, ids, types, item.target, where=item.where)
    places = _places(item.words, found["offset_mapping"], found["special_tokens_mask"], last_piece)
    tags = np.array(item.target, dtype=np.int64)
    target = np.full(len(ids), IGNORE, dtype=np.int64)
    target[places[places >= 0]] = tags[places >= 0]
    return Encoded(number, ids, types, target, places, item.where)


def _places(words: Sequence[Span], offsets: Sequence[Span], special: Sequence[int], last_piece: bool) -> IntArray:
    """The position of each word's first or last token; -1 where no token is of that word alone.

    Tokens of byte-level vocabularies may begin with the space before a word: what counts is where they end.
    """
    places = np.full(len(words), -1, dtype=np.int64)
    at = 0
    for position, (start, end) in enumerate(offsets):
        if special[position] or end <= start:
            continue
        while at < len(words) and words[at][1] < end:
            at += 1
        if at == len(words):
            break
        if end > words[at][0] and (last_piece or places[at] < 0):
            places[at] = position
    return places

"""Contrastive training of sentence encoders: a text is to be nearer to its own than to all others of the batch.

The formula is that of sentence-transformers' MultipleNegativesRankingLoss with its defaults (arXiv:1705.00652, section
4.4; cosine similarity, scale 20). Theirs cannot leave out a negative that is right, so it is written down here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmkit.errors import DataError
from llmkit.models.encoders import Pooling, pooled
from llmkit.train.losses import Loss
from llmkit.train.padding import ByLength, buckets
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample

SCALE = 20.0
"""Cosines are multiplied by it (a temperature of 0.05): sentence-transformers' default."""
_SMALLEST = 16
"""Least width of a row: questions and titles are short."""


@dataclass(frozen=True)
class Anchored:
    """A text with one that belongs to it, and perhaps one that is like it and does not; as token ids."""

    anchor: IntArray
    positive: IntArray
    negative: IntArray | None = None
    where: str = ""

    def __len__(self) -> int:
        return max(len(self.anchor), len(self.positive), 0 if self.negative is None else len(self.negative))


@dataclass(frozen=True)
class ContrastiveBatch(Batch):
    """Anchors are the inputs; labels, shape (rows, 3), number the texts of a row, equal texts alike; IGNORE for none.

    Attributes:
        documents: what the anchors are compared with: the positives, row by row, and below them the negatives, if any.
    """

    documents: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> ContrastiveBatch:
        moved = super().to(device)
        documents = {name: tensor.to(device) for name, tensor in self.documents.items()}
        return ContrastiveBatch(moved.inputs, moved.labels, moved.read, documents)


class Texts(ByLength):
    """Anchors with their positives and negatives for the loop, in steps of similar lengths."""

    def __init__(self, rows: Sequence[Anchored], *, batch_size: int, seed: int, shuffle: bool = True) -> None:
        super().__init__(list(map(len, rows)), batch_size=batch_size, seed=seed, shuffle=shuffle, smallest=_SMALLEST)
        self._rows = rows
        self._widths = buckets(int(self._lengths.max()), _SMALLEST)
        self._negatives = any(row.negative is not None for row in rows)
        known: dict[bytes, int] = {}
        self._numbers = [
            [IGNORE if text is None else known.setdefault(text.tobytes(), len(known)) for text in _texts(row)]
            for row in rows
        ]

    def batch(self, samples: Sequence[Sample], rows: int) -> ContrastiveBatch:
        chosen = [self._rows[sample.number] for sample in samples]
        labels = np.full((rows, 3), IGNORE, dtype=np.int64)
        for row, sample in enumerate(samples):
            labels[row] = self._numbers[sample.number]
        documents: list[IntArray | None] = [*(row.positive for row in chosen), *[None] * (rows - len(chosen))]
        if self._negatives:
            documents += [*(row.negative for row in chosen), *[None] * (rows - len(chosen))]
        anchors = padded([*(row.anchor for row in chosen), *[None] * (rows - len(chosen))], self._widths)
        others = padded(documents, self._widths)
        read = anchors["input_ids"].numel() + others["input_ids"].numel()
        return ContrastiveBatch(anchors, torch.from_numpy(labels), read, others)


def padded(texts: Sequence[IntArray | None], widths: Sequence[int]) -> dict[str, Tensor]:
    """Texts as rows of one width, padded on the right, with a mask; None is a row of one token that means nothing."""
    longest = max((len(text) for text in texts if text is not None), default=1)
    shape = (len(texts), widths[bisect_left(widths, longest)])
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    mask[:, 0] = 1  # attention over nothing is not a number
    for row, text in enumerate(texts):
        if text is not None:
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def contrastive_loss(pooling: Pooling, scale: float = SCALE) -> Loss:
    """The loss as (sum, anchors): cross-entropy of an anchor's own positive among all documents of the batch.

    Another document that is right too (the same text, or the positive of an equal anchor) is no negative.
    """

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(batch, ContrastiveBatch)  # noqa: S101  # these samples make no others
        anchors = vectors_of(model, batch.inputs, pooling)
        documents = vectors_of(model, batch.documents, pooling)
        return ranking_loss(anchors, documents, batch.labels, scale)

    return loss


def ranking_loss(anchors: Tensor, documents: Tensor, labels: Tensor, scale: float = SCALE) -> tuple[Tensor, Tensor]:
    """(sum, weight) of vectors of length 1: anchors (n, width), documents (n or 2n, width), labels as in a batch."""
    own, there = labels[:, 1], labels[:, 0] != IGNORE
    numbers = torch.cat([own, labels[:, 2]])[: len(documents)]
    alike = labels[:, :1] == labels[None, :, 0]
    with torch.autocast(anchors.device.type, enabled=False):
        scores = scale * anchors @ documents.T
        right = alike.float() @ (own[:, None] == numbers[None]).float() > 0
    at = torch.arange(len(anchors), device=anchors.device)
    left_out = right | (numbers == IGNORE)[None]
    left_out[at, at] = False
    each = torch.nn.functional.cross_entropy(scores.masked_fill(left_out, -torch.inf), at, reduction="none")
    return torch.where(there, each, torch.zeros_like(each)).sum(), there.sum()


def vectors_of(model: nn.Module, inputs: Mapping[str, Tensor], pooling: Pooling) -> Tensor:
    """Vectors of length 1, in float32, shape (rows, width)."""
    return pooled(model(**inputs)[0], inputs["attention_mask"], pooling)


@torch.no_grad()
def encode(
    model: nn.Module, texts: Sequence[IntArray], pooling: Pooling, *, batch_size: int = 64
) -> NDArray[np.float32]:
    """Vectors of all texts, shape (texts, width), in float32 and without dropout."""
    device = next(model.parameters()).device
    order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
    widths = buckets(max(map(len, texts)), _SMALLEST)
    found: dict[int, NDArray[np.float32]] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            for start in range(0, len(order), batch_size):
                numbers = order[start : start + batch_size]
                inputs = padded([texts[number] for number in numbers], widths)
                moved = {name: tensor.to(device) for name, tensor in inputs.items()}
                vectors = vectors_of(model, moved, pooling).cpu().numpy()
                found |= dict(zip(numbers, vectors, strict=True))
    finally:
        model.train(was_training)
    return np.stack([found[number] for number in range(len(texts))])


def ranks(rows: Sequence[Anchored], anchors: NDArray[np.float32], documents: NDArray[np.float32]) -> list[int]:
    """For each row the place, from 1, of its best positive among the distinct positives of all rows.

    What equal anchors have as positives is right for each of them. Of equally near documents a wrong one comes first.

    Args:
        anchors: vectors of the rows' anchors, shape (rows, width).
        documents: vectors of the rows' positives, shape (rows, width).
    """
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(row.positive.tobytes(), number)
    right: dict[bytes, set[int]] = {}
    for row in rows:
        right.setdefault(row.anchor.tobytes(), set()).add(first[row.positive.tobytes()])
    candidates = np.array(list(first.values()))
    scores = anchors @ documents[candidates].T
    found = []
    for number, row in enumerate(rows):
        wanted = np.isin(candidates, list(right[row.anchor.tobytes()]))
        best = scores[number][wanted].max()
        found.append(1 + int((scores[number][~wanted] >= best).sum()))
    return found


def check_apart(rows: Sequence[Anchored]) -> None:
    """Raise DataError where there is nothing to tell apart: fewer than two different positives, and no negatives."""
    different = {row.positive.tobytes() for row in rows}
    if len(different) < 2 and not any(row.negative is not None for row in rows):
        raise DataError(
            "all rows have the same text to be near to, so there is nothing to tell apart",
            mend="give pairs with different completions, or preferences with a rejected one",
        )


def _texts(row: Anchored) -> tuple[IntArray, IntArray, IntArray | None]:
    return row.anchor, row.positive, row.negative

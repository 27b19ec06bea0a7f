"""Direct preference optimisation (DPO, arXiv:2305.18290): pairs of answers, and the loss that tells them apart.

The reference's log-probabilities come with the pairs: they never change, so they are computed once and not in every
epoch, and no second model is in memory, whatever is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llmkit.errors import DataError
from llmkit.models.heads import logits_at_once
from llmkit.train.examples import Rendered
from llmkit.train.lengths import Shortening
from llmkit.train.losses import HEAD_IS_LAST, Loss, unwrapped, without_cache
from llmkit.train.padding import ByLength
from llmkit.train.precision import autocast
from llmkit.train.samples import IGNORE, Batch, Sample

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """One prompt with two answers, the first of which is preferred. `trained` marks the tokens of the answer only."""

    chosen: Rendered
    rejected: Rendered
    where: str = ""

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class PairBatch(Batch):
    """Rows 0 to n-1 are the chosen answers, n to 2n-1 the rejected ones of the same pairs.

    Attributes:
        reference: shape (2n,), float32: log-probability of each row's answer under the reference; 0 if not known.
    """

    reference: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        moved = super().to(device)
        reference = None if self.reference is None else self.reference.to(device)
        return PairBatch(moved.inputs, moved.labels, moved.read, reference)


def answer_only(example: Rendered, said_before: int) -> Rendered:
    """The example with its first `said_before` learned turns no longer learned: the two answers share them."""
    starts = np.flatnonzero(np.diff(np.concatenate([[0], example.trained.astype(np.int8)])) == 1)
    if said_before >= len(starts):
        raise DataError("an answer has no tokens of its own", where=example.where or None, mend="remove the record")
    trained = example.trained & (np.arange(len(example)) >= starts[said_before])
    return replace(example, trained=trained)


def truncated(pair: Pair, limit: int) -> Pair | None:
    """The first `limit` tokens of both sequences; None where no difference is left of them, or no answer."""
    chosen, rejected = (
        Rendered(each.ids[:limit], each.trained[:limit], each.where) for each in (pair.chosen, pair.rejected)
    )
    learnable = chosen.trained.any() and rejected.trained.any()
    return Pair(chosen, rejected, pair.where) if learnable and differ(chosen, rejected) else None


def _called(_: Pair) -> str:
    return "a prompt with its longer answer"


SHORTENING = Shortening(truncated, called=_called)
"""Both answers of a pair have the limit."""


def differ(chosen: Rendered, rejected: Rendered) -> bool:
    """Whether two answers are different tokens: what is the same cannot be preferred."""
    return not np.array_equal(chosen.ids, rejected.ids)


class Pairs(ByLength):
    """Preference pairs for the loop: a sample is a pair, which takes two rows of a batch, padded on the right.

    As in `Padded`, attention is causal and no mask is needed; padding is known by its position only.
    """

    def __init__(self, pairs: Sequence[Pair], *, batch_size: int, seed: int, shuffle: bool = True) -> None:
        super().__init__([len(pair) - 1 for pair in pairs], batch_size=batch_size, seed=seed, shuffle=shuffle)
        self._pairs = pairs
        self._reference = np.zeros((len(pairs), 2), np.float32)

    def against(self, reference: FloatArray) -> Pairs:
        """These pairs with the reference's log-probabilities, shape (pairs, 2): see `log_probabilities`."""
        self._reference = reference
        return self

    def batch(self, samples: Sequence[Sample], rows: int) -> PairBatch:
        width = self.width(samples)
        ids = np.zeros((2, rows, width), dtype=np.int64)
        labels = np.full((2, rows, width), IGNORE, dtype=np.int64)
        reference = np.zeros((2, rows), dtype=np.float32)
        for row, sample in enumerate(samples):
            pair = self._pairs[sample.number]
            reference[:, row] = self._reference[sample.number]
            for side, example in enumerate((pair.chosen, pair.rejected)):
                ids[side, row, : len(example) - 1] = example.ids[:-1]
                labels[side, row, : len(example) - 1] = np.where(example.trained[1:], example.ids[1:], IGNORE)
        shape = (2 * rows, width)
        return PairBatch(
            {"input_ids": torch.from_numpy(ids.reshape(shape))},
            torch.from_numpy(labels.reshape(shape)),
            reference=torch.from_numpy(reference.reshape(2 * rows)),
        )


def dpo_loss(beta: float) -> Loss:
    """The loss of equation 7 as (sum, number of pairs): -log sigmoid(beta * (margin - the reference's margin)).

    A margin is how many nats more likely the chosen answer is than the rejected one, each the sum over its tokens.
    """

    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(batch, PairBatch)  # noqa: S101  # these samples make no others
        assert batch.reference is not None  # noqa: S101
        gained = row_log_probabilities(model, batch) - batch.reference
        chosen, rejected = gained.chunk(2)
        there = (batch.labels != IGNORE).any(dim=1).chunk(2)[0]
        each = -functional.logsigmoid(beta * (chosen - rejected))
        # Rows that only fill a batch have no part: multiplied by 0 they would still pass on what is not finite.
        return torch.where(there, each, torch.zeros_like(each)).sum(), there.sum()

    return loss


def row_log_probabilities(model: nn.Module, batch: Batch) -> Tensor:
    """Log-probability, in nats, of the labels of each row: shape (rows,), float32, with gradient.

    Logits are computed only where there is a label, a slice at a time, and again in the backward pass: nothing of the
    shape (rows, length, vocabulary) ever exists where the model's output layer is its last one.
    """
    inner = unwrapped(model)
    trained = batch.labels != IGNORE
    targets = batch.labels[trained]
    if inner.config.model_type in HEAD_IS_LAST:
        head = inner.get_output_embeddings()
        rows = max(1, logits_at_once(targets.device.type) // head.weight.shape[0])
        with _in_place_of(head, partial(_chosen, head.forward, trained, targets, rows)):
            each = model(**batch.inputs).logits
    else:
        each = _gathered(model(**batch.inputs).logits[trained], targets)
    row = trained.nonzero()[:, 0]
    return torch.zeros(len(trained), dtype=torch.float32, device=each.device).index_add(0, row, each)


def _chosen(
    logits_of: Callable[[Tensor], Tensor], trained: Tensor, targets: Tensor, rows: int, hidden: Tensor
) -> Tensor:
    """Log-probability of each target, shape (targets,), in place of logits."""

    def part(states: Tensor, wanted: Tensor) -> Tensor:
        return _gathered(logits_of(states), wanted)

    parts = zip(torch.split(hidden[trained], rows), torch.split(targets, rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([part(states, wanted) for states, wanted in parts])
    return torch.cat([checkpoint(part, states, wanted, use_reentrant=False) for states, wanted in parts])


def _gathered(logits: Tensor, targets: Tensor) -> Tensor:
    return -functional.cross_entropy(logits.float(), targets, reduction="none")


@contextmanager
def _in_place_of(head: nn.Module, made: Callable[[Tensor], Tensor]) -> Iterator[None]:
    head.forward = made
    try:
        yield
    finally:
        del head.forward


@torch.no_grad()
def log_probabilities(model: nn.Module, samples: Any, *, batch_size: int, precision: str = "fp32") -> FloatArray:
    """Log-probabilities of the answers of all pairs under a model without dropout, shape (pairs, 2).

    Args:
        samples: `Pairs`, read in the order of their first epoch, so that batches are those of an evaluation.
        precision: of matrix products; the run's own, whose rounding then cancels out between model and reference.
    """
    device = next(model.parameters()).device
    found = np.zeros((len(samples), 2), dtype=np.float32)
    order = samples.order(0)
    was_training = model.training
    model.eval()
    try:
        with without_cache(model), autocast(device, precision), torch.compiler.set_stance("force_eager"):
            for start in range(0, len(order), batch_size):
                numbers = order[start : start + batch_size]
                batch = samples.batch([Sample(0, int(number)) for number in numbers], batch_size).to(device)
                sums = row_log_probabilities(model, batch).cpu().numpy().reshape(2, batch_size)
                found[numbers] = sums[:, : len(numbers)].T
    finally:
        model.train(was_training)
    return found

"""Prompts and answers for models that read with an encoder and write with a decoder (T5, arXiv:1910.10683)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from llmkit.errors import DataError
from llmkit.train.examples import OverLength
from llmkit.train.losses import token_loss, without_cache
from llmkit.train.padding import ByLength, buckets
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample

_SMALLEST = 16
"""Least width of a row: many answers are a word."""


@dataclass(frozen=True)
class Answered:
    """What the encoder reads, and what the decoder is to write, up to the eos that ends it; as token ids."""

    prompt: IntArray
    answer: IntArray
    where: str = ""

    def __len__(self) -> int:
        return max(len(self.prompt), len(self.answer))


@dataclass(frozen=True)
class FittedAnswers:
    """Rows that fit a limit, and what became of those that did not."""

    rows: list[Answered]
    longest: int
    dropped: int = 0
    truncated: int = 0


def fit_answers(rows: Sequence[Answered], limit: int, policy: OverLength) -> FittedAnswers:
    """Apply the over-length policy; encoder and decoder have the limit each.

    `truncate` keeps the beginnings. A prompt keeps its last token if that is what ends every prompt; an answer that was
    cut does not end. Nothing can be split: its second half would answer no prompt.

    Raises:
        DataError: with policy `error` or `split`, for the first row that is too long; if no row is left.
    """
    kept: list[Answered] = []
    dropped = truncated = 0
    ends = {int(row.prompt[-1]) for row in rows}
    for row in rows:
        if len(row) <= limit:
            kept.append(row)
        elif policy in ("error", "split"):
            cannot = ", and a prompt with its answer cannot be split" if policy == "split" else ""
            part = "prompt" if len(row.prompt) > limit else "completion"
            raise DataError(
                f"a {part} of {len(row)} tokens is longer than the limit of {limit}{cannot}",
                where=row.where or None,
                mend="use --over-length drop or truncate, or a higher --sequence-length if the model can read it",
            )
        elif policy == "drop":
            dropped += 1
        else:
            truncated += 1
            kept.append(_cut(row, limit, ended=len(ends) == 1))
    longest = max(map(len, rows), default=0)
    if not kept:
        raise DataError(
            f"no example is left: the longest has {longest} tokens and the limit is {limit}",
            mend="use --sequence-length to raise the limit, or more data",
        )
    return FittedAnswers(kept, longest, dropped, truncated)


def _cut(row: Answered, limit: int, *, ended: bool) -> Answered:
    prompt = row.prompt
    if len(prompt) > limit:
        prompt = np.append(prompt[: limit - 1], prompt[-1]) if ended else prompt[:limit]
    return replace(row, prompt=prompt, answer=row.answer[:limit])


class Answers(ByLength):
    """Prompts and answers for the loop, padded on the right, each side to a width of its own.

    An encoder looks both ways, so what is padded is masked, by its position: the pad token's id plays no part. The
    decoder looks back only and needs no mask.

    Args:
        start: id that the decoder's input begins with.
    """

    def __init__(
        self, rows: Sequence[Answered], *, start: int, batch_size: int, seed: int, shuffle: bool = True
    ) -> None:
        super().__init__(list(map(len, rows)), batch_size=batch_size, seed=seed, shuffle=shuffle, smallest=_SMALLEST)
        self._rows, self._start = rows, start
        self._widths = buckets(int(self._lengths.max()), _SMALLEST)

    def batch(self, samples: Sequence[Sample], rows: int) -> Batch:
        chosen = [self._rows[sample.number] for sample in samples]
        read = self._width(max((len(row.prompt) for row in chosen), default=1))
        written = self._width(max((len(row.answer) for row in chosen), default=1))
        ids, mask = np.zeros((rows, read), dtype=np.int64), np.zeros((rows, read), dtype=np.int64)
        mask[:, 0] = 1  # attention over nothing is not a number, not even where no label looks at it
        decoder = np.zeros((rows, written), dtype=np.int64)
        labels = np.full((rows, written), IGNORE, dtype=np.int64)
        for number, row in enumerate(chosen):
            ids[number, : len(row.prompt)] = row.prompt
            mask[number, : len(row.prompt)] = 1
            labels[number, : len(row.answer)] = row.answer
            decoder[number, 1 : len(row.answer)] = row.answer[:-1]
        decoder[:, 0] = self._start
        inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoder}
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        return Batch(tensors, torch.from_numpy(labels), rows * (read + written))

    def _width(self, length: int) -> int:
        return self._widths[bisect_left(self._widths, length)]


@torch.no_grad()
def answers_nll(model: nn.Module, rows: Sequence[Answered], start: int) -> list[tuple[float, int]]:
    """For each row (negative log-likelihood of its answer in nats, its tokens).

    One row at a time, in float32 and without dropout: no neighbour and no padding has any part in it.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = []
    try:
        with without_cache(model), torch.compiler.set_stance("force_eager"):
            for row in rows:
                batch = Answers([row], start=start, batch_size=1, seed=0).batch([Sample(0, 0)], 1)
                nll, tokens = token_loss(model, batch.to(device))
                found.append((float(nll), int(tokens)))
    finally:
        model.train(was_training)
    return found

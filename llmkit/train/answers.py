"""Prompts and answers for models that read with an encoder and write with a decoder (T5, arXiv:1910.10683)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from llmkit.train.lengths import Shortening
from llmkit.train.losses import token_loss, without_cache
from llmkit.train.padding import ByLength, buckets
from llmkit.train.samples import IGNORE, Batch, IntArray, Sample

_SMALLEST = 16
"""Least width of a row: many answers are a word."""


@dataclass(frozen=True)
class Answered:
    """What the encoder reads, and what the decoder is to write, up to the eos that ends it; as token ids.

    Attributes:
        closed: whether the prompt's last token is a mark that ends it, which a prompt that is cut must keep.
    """

    prompt: IntArray
    answer: IntArray
    where: str = ""
    closed: bool = True

    def __len__(self) -> int:
        return max(len(self.prompt), len(self.answer))


def truncated(row: Answered, limit: int) -> Answered:
    """The beginnings of both sides, each within the limit; an answer that was cut does not end."""
    prompt = row.prompt
    if len(prompt) > limit:
        prompt = np.append(prompt[: limit - 1], prompt[-1]) if row.closed else prompt[:limit]
    return replace(row, prompt=prompt, answer=row.answer[:limit])


def _called(row: Answered) -> str:
    return "a prompt" if len(row.prompt) >= len(row.answer) else "a completion"


SHORTENING = Shortening(truncated, called=_called)
"""Encoder and decoder have the limit each."""


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

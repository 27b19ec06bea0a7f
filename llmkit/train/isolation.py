"""Documents packed into one row that cannot see each other.

Most architectures isolate packed documents when they are handed position ids that begin anew with each of them, if
neither a cache nor an attention mask is there; some need an explicit mask; some can do neither. Which one a model is
cannot be told from its name, and where it goes wrong nothing warns. So it is tried on the model itself: what is used
is what was seen to isolate exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from llmkit.errors import ConfigError
from llmkit.train.losses import unwrapped, without_cache
from llmkit.train.samples import IntArray

Means = Literal["positions", "mask"]
_MEANS: tuple[Means, ...] = ("positions", "mask")

_TOLERANCE = 1e-4
"""Largest difference in a logit between a document in a row and the same document alone. Rounding stays below 1e-5 at
logits of ordinary size; an absolute position that is not reset, or a neighbour that is seen, gives 1e-2 and more."""


@dataclass(frozen=True)
class Isolation:
    """How rows keep their documents apart.

    A document begins with the token that ended the one before it, as in GPT-2, where the same token ends and opens a
    text. So every token is still predicted once, and from nothing but its own document.

    Attributes:
        separator: id that ends each document.
        means: `positions`: position ids that begin anew; `mask`: those, and an explicit attention mask.
        causal: whether a position sees only what is before it; else it sees its whole document.
    """

    separator: int
    means: Means
    causal: bool

    def inputs(self, ids: IntArray, count: int) -> Mapping[str, np.ndarray]:
        """What a model is handed besides the ids of a row, of shape (length,), of which the first `count` are text.

        Returns:
            `position_ids` of shape (length,), and by the means `mask` also `attention_mask`, bool of shape
            (1, length, length): in a batch that of transformers' prepared masks, which are used as they are.
        """
        document = documents(ids, self.separator)
        document[count:] = document[count - 1] + 1  # padding is seen by nobody
        return self.handed(document)

    def handed(self, document: IntArray) -> Mapping[str, np.ndarray]:
        """As `inputs`, of the number of the document that each position belongs to, which must not fall."""
        found: dict[str, np.ndarray] = {"position_ids": positions(document)}
        if self.means == "mask":
            seen = document[:, None] == document[None, :]
            found["attention_mask"] = (np.tril(seen) if self.causal else seen)[None]
        return found


def documents(ids: IntArray, separator: int) -> IntArray:
    """The number of the document, from 0 in each row, that each position belongs to; same shape as `ids`."""
    opens = ids == separator
    opens[0] = False  # whatever stands there, the row begins with the first document
    return np.cumsum(opens, dtype=np.int64)


def positions(document: IntArray) -> IntArray:
    """Positions within each document, from 0."""
    places = np.arange(len(document), dtype=np.int64)
    first = np.searchsorted(document, document, side="left")
    return places - first


def isolation_for(model: nn.Module, separator: int, length: int, *, causal: bool = True) -> Isolation:
    """The means by which this model isolates documents, found by trying.

    A row of two documents is read with two different first ones: the second one's logits must stay the same to the
    last bit, and be those of the second document alone up to rounding.

    Args:
        length: tokens of a row; the trial takes at most 32 of them.
        causal: whether the model's positions see only what is before them.

    Raises:
        ConfigError: the model sees across documents by any means there is.
    """
    inner = unwrapped(model)
    was_training = inner.training
    inner.eval()
    try:
        for means in _MEANS:
            isolation = Isolation(separator, means, causal)
            if _isolates(inner, isolation, min(length, 32)):
                return isolation
    finally:
        inner.train(was_training)
    raise ConfigError(
        f"{inner.config.model_type} models cannot keep the documents of a row apart",
        where="--isolate",
        mend="leave it out (in pretraining it is worth little), or use another family, such as llama or gpt2",
    )


@torch.no_grad()
def _isolates(model: nn.Module, isolation: Isolation, length: int) -> bool:
    half = length // 2
    second = _without(_trial_ids(model, length - half, 1), isolation.separator)
    second[:, 0] = isolation.separator
    rows = []
    for seed in (2, 3):
        first = _without(_trial_ids(model, half, seed), isolation.separator)
        rows.append(torch.cat([first, second], dim=1))
    with without_cache(model):
        packed = [_logits(model, row, isolation) for row in rows]
        alone = _logits(model, second)
    if packed[0] is None or packed[1] is None or alone is None:
        return False
    one, other = (logits[:, half:] for logits in packed if logits is not None)
    return torch.equal(one, other) and bool((one - alone).abs().max() <= _TOLERANCE)


def _logits(model: nn.Module, ids: Tensor, isolation: Isolation | None = None) -> Tensor | None:
    """None where the architecture does not take what it is handed."""
    extra = isolation.inputs(ids[0].cpu().numpy(), ids.shape[1]) if isolation else {}
    handed = {name: torch.from_numpy(np.asarray(value))[None].to(ids.device) for name, value in extra.items()}
    try:
        logits: Tensor = model(input_ids=ids, **handed).logits
    except (TypeError, ValueError, RuntimeError):
        return None
    return logits.float()


def _trial_ids(model: nn.Module, length: int, seed: int) -> Tensor:
    device = next(model.parameters()).device
    draw = np.random.default_rng(seed).integers(0, _vocabulary(model), (1, length))
    return torch.from_numpy(draw.astype(np.int64)).to(device)


def _without(ids: Tensor, separator: int) -> Tensor:
    return torch.where(ids == separator, (ids + 1) % max(2, int(ids.max()) + 1), ids)


def _vocabulary(model: nn.Module) -> int:
    embedding = model.get_input_embeddings()  # type: ignore[operator]  # a transformers model has it
    return int(embedding.weight.shape[0])

"""Attention on a CPU: plain matrix products where they are faster than torch's fused kernel.

Training computes with it, and a plan of training counts the memory that it takes; so it stands below both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LONGEST: Mapping[torch.dtype, int] = {torch.bfloat16: 512, torch.float32: 128}
"""Longest rows that are computed by matrix products, by the type they are computed in.

Speed against `scaled_dot_product_attention`, forward and backward, on 2 cores with AVX-512, torch 2.13: bfloat16 4.4
times at length 64, 2.8 at 256, 1.4 at 512, 0.8 at 1024; float32 1.3 at 64, 1.1 at 128, 0.8 at 256. The kernel's
backward pass is what is slow.
"""

_FUSED = functional.scaled_dot_product_attention


@contextmanager
def short_attention() -> Iterator[None]:
    """While open, attention over short rows on a CPU is computed by matrix products, with or without a mask.

    Results differ by rounding only: in bfloat16 the scores are rounded before the softmax, as in transformers' own
    plain implementation. Longer rows and other devices go to torch as before.
    """
    # Every architecture calls it by this name, also those that do not use transformers' table of implementations.
    module: Any = functional
    before = module.scaled_dot_product_attention
    module.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        module.scaled_dot_product_attention = before


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> Tensor:
    """Stands in for `torch.nn.functional.scaled_dot_product_attention`, with its arguments and result."""
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    if kind != "cpu" or not _short(query, key, LONGEST.get(dtype, 0)) or not _plain(attn_mask):
        return _FUSED(query, key, value, attn_mask, dropout_p, is_causal, **more)
    scale = more.get("scale") or query.shape[-1] ** -0.5
    scores = _scores(query.to(dtype), key.to(dtype), scale, is_causal)
    if attn_mask is not None:
        scores = (scores.view(*query.shape[:-1], -1) + _added(attn_mask, dtype)).view_as(scores)
    weights = scores.softmax(-1)
    if dropout_p:
        weights = functional.dropout(weights, dropout_p)
    values = value.to(dtype).reshape(-1, *value.shape[-2:])
    return torch.bmm(weights, values).view(*query.shape[:-1], -1)


def _short(query: Tensor, key: Tensor, longest: int) -> bool:
    if query.dim() != 4 or query.shape[-2] != key.shape[-2] or query.shape[-2] > longest:
        return False
    return query.shape[0] == key.shape[0] and query.shape[1] % key.shape[1] == 0


def _plain(mask: Tensor | None) -> bool:
    """Whether a mask is there for (rows, heads, queries, keys) and learns nothing."""
    return mask is None or (mask.dim() == 4 and not mask.requires_grad)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to the scores; the least number and not -inf, which makes a row of nothing else NaN."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _scores(query: Tensor, key: Tensor, scale: float, causal: bool) -> Tensor:
    """Of shape (rows * key heads, queries that share a key * length, length)."""
    length, width = query.shape[-2:]
    shared = query.shape[1] // key.shape[1]
    # The queries that share a key stand one below the other: no key or value is copied for them.
    queries, keys = query.reshape(-1, shared * length, width), key.reshape(-1, length, width).transpose(1, 2)
    later = query.new_zeros(1)
    if causal:
        later = query.new_full((length, length), float("-inf")).triu_(1).repeat(shared, 1)
    return torch.baddbmm(later, queries, keys, alpha=scale)

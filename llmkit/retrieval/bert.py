"""The forward pass of a BERT sentence encoder, once, over two backends: NumPy to start at once, torch for bulk.

A cold `ask` embeds one question. Importing torch for it takes 1.3 s, transformers' BertModel 3.3 s and
sentence-transformers 6 s (2-core CPU); NumPy takes 0.1 s and is exact in float32. An index embeds thousands of chunks:
there torch with bf16 autocast is several times faster. Both run the same lines below (Devlin et al. 2019, post-LN).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # it has no stubs

Array = Any
"""An `np.ndarray` or a `torch.Tensor`, whichever the backend works with."""


Pooling = Literal["mean", "cls", "lasttoken"]


class Ops(Protocol):
    """The few operations in which NumPy and torch differ. Weights keep the file's names and orientation."""

    def embed(self, name: str, ids: NDArray[np.int64]) -> Array: ...
    def linear(self, x: Array, name: str) -> Array: ...
    def layer_norm(self, x: Array, name: str, eps: float) -> Array: ...
    def gelu(self, x: Array) -> Array: ...
    def attention(self, q: Array, k: Array, v: Array, mask: NDArray[np.bool_], heads: int) -> Array: ...
    def mean(self, x: Array, mask: NDArray[np.bool_]) -> NDArray[np.float32]: ...
    def at(self, x: Array, places: NDArray[np.int64]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class BertShape:
    layers: int
    heads: int
    eps: float
    pooling: Pooling = "mean"


def sentence_vectors(
    ops: Ops, shape: BertShape, ids: NDArray[np.int64], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Pooled, L2-normalised vectors [n, d] of padded token ids [n, t]; `mask` is True on real tokens."""
    positions = np.arange(ids.shape[1])[None, :]
    x = (
        ops.embed("embeddings.word_embeddings", ids)
        + ops.embed("embeddings.position_embeddings", positions)
        + ops.embed("embeddings.token_type_embeddings", np.zeros_like(positions))
    )
    x = ops.layer_norm(x, "embeddings.LayerNorm", shape.eps)
    for n in range(shape.layers):
        layer = f"encoder.layer.{n}"
        q, k, v = (ops.linear(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        heard = ops.linear(ops.attention(q, k, v, mask, shape.heads), f"{layer}.attention.output.dense")
        x = ops.layer_norm(x + heard, f"{layer}.attention.output.LayerNorm", shape.eps)
        inner = ops.gelu(ops.linear(x, f"{layer}.intermediate.dense"))
        x = ops.layer_norm(x + ops.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm", shape.eps)
    if shape.pooling == "mean":
        return normalised(ops.mean(x, mask))
    # Texts are padded on the right.
    last = mask.sum(1) - 1 if shape.pooling == "lasttoken" else np.zeros(len(ids))
    return normalised(ops.at(x, last.astype(np.int64)))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; a row of zeros stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """NumPy's products on one thread: they are small here, and OpenBLAS's threads spin for each other. On a machine
    with anything else to do, embedding one question took 340 ms with two and takes 14 ms with one."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


class NumpyOps:
    """float32 on the CPU, no import beyond NumPy."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self.weights = weights

    def embed(self, name: str, ids: NDArray[np.int64]) -> Array:
        return self.weights[f"{name}.weight"][ids]

    def linear(self, x: Array, name: str) -> Array:
        # One product of two matrices: NumPy multiplies a stack of them one by one.
        flat = x.reshape(-1, x.shape[-1]) @ self.weights[f"{name}.weight"].T
        return (flat + self.weights[f"{name}.bias"]).reshape(*x.shape[:-1], -1)

    def layer_norm(self, x: Array, name: str, eps: float) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(eps))
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def gelu(self, x: Array) -> Array:
        return np.float32(0.5) * x * (np.float32(1) + _erf(x * np.float32(math.sqrt(0.5))))

    def attention(self, q: Array, k: Array, v: Array, mask: NDArray[np.bool_], heads: int) -> Array:
        n, t, d = q.shape
        q, k, v = (x.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3) for x in (q, k, v))
        scores = q @ k.transpose(0, 1, 3, 2) * np.float32(1 / math.sqrt(d // heads))
        scores = np.where(mask[:, None, None, :], scores, np.float32(-1e9))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ v).transpose(0, 2, 1, 3).reshape(n, t, d)

    def mean(self, x: Array, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        weight = mask[..., None].astype(np.float32)
        total: NDArray[np.float32] = (x * weight).sum(1) / np.maximum(weight.sum(1), 1)
        return total

    def at(self, x: Array, places: NDArray[np.int64]) -> NDArray[np.float32]:
        states: NDArray[np.float32] = x[np.arange(len(places)), places]
        return states


class TorchOps:
    """torch on one device. With `bf16` the products and attention run in bf16, the norms and sums in float32: what
    autocast does, without casting the weights again for every batch."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], device: str, *, bf16: bool = False) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        # A copy: torch refuses read-only arrays, and these may be a view of the file.
        self.weights = {name: torch.tensor(value, device=self._device) for name, value in weights.items()}
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        self._linear = {
            name: value.to(self._dtype)
            for name, value in self.weights.items()
            if "embeddings" not in name and "LayerNorm" not in name
        }

    def inference(self) -> AbstractContextManager[object]:
        """The forward pass runs inside it; each thread enters its own."""
        mode: AbstractContextManager[object] = self._torch.inference_mode()
        return mode

    def embed(self, name: str, ids: NDArray[np.int64]) -> Array:
        return self.weights[f"{name}.weight"][self._torch.from_numpy(ids).to(self._device)]

    def linear(self, x: Array, name: str) -> Array:
        weight, bias = self._linear[f"{name}.weight"], self._linear[f"{name}.bias"]
        return self._torch.nn.functional.linear(x.to(self._dtype), weight, bias)

    def layer_norm(self, x: Array, name: str, eps: float) -> Array:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return self._torch.nn.functional.layer_norm(x.float(), weight.shape, weight, bias, eps)

    def gelu(self, x: Array) -> Array:
        return self._torch.nn.functional.gelu(x)

    def attention(self, q: Array, k: Array, v: Array, mask: NDArray[np.bool_], heads: int) -> Array:
        n, t, d = q.shape
        q, k, v = (x.view(n, t, heads, d // heads).transpose(1, 2) for x in (q, k, v))
        # A batch without padding needs no mask, and is faster without one.
        allowed = None if mask.all() else self._torch.from_numpy(mask).to(self._device)[:, None, None, :]
        out = self._torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return out.transpose(1, 2).reshape(n, t, d)

    def mean(self, x: Array, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        weight = self._torch.from_numpy(mask).to(self._device)[..., None].float()
        pooled = (x.float() * weight).sum(1) / weight.sum(1).clamp(min=1)
        result: NDArray[np.float32] = pooled.cpu().numpy()
        return result

    def at(self, x: Array, places: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._torch.arange(len(places), device=self._device)
        result: NDArray[np.float32] = x[rows, self._torch.from_numpy(places).to(self._device)].float().cpu().numpy()
        return result


def _erf(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26); NumPy has none and SciPy is slow to import."""
    a = np.abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * a)
    poly = t * (
        np.float32(0.254829592)
        + t
        * (
            np.float32(-0.284496736)
            + t * (np.float32(1.421413741) + t * (np.float32(-1.453152027) + t * np.float32(1.061405429)))
        )
    )
    result: NDArray[np.float32] = np.copysign(np.float32(1) - poly * np.exp(-a * a), x)
    return result

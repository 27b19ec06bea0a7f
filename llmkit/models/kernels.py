"""The quicker computations that training uses, together; each says what it replaces and by how much it is faster.

Training computes with them, and a plan of training counts the memory that they take; so they stand below both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from llmkit.models.activations import use_torchs_gelu
from llmkit.models.attention import short_attention
from llmkit.models.dropout import quick_dropout
from llmkit.models.lora_product import fuse_updates


def use_kernels(model: nn.Module) -> None:
    """Replace parts of a model in place, adapter included. Results differ by rounding only."""
    use_torchs_gelu(model)
    fuse_updates(model)


@contextmanager
def quick_kernels() -> Iterator[None]:
    """While open, attention over short rows and dropout are computed by our own functions on a CPU."""
    with short_attention(), quick_dropout():
        yield

"""Text from a model in the middle of its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.generation.local import LocalModel
    from llmkit.models.load import LoadedModel


@contextmanager
def speaking(loaded: LoadedModel, model: Any) -> Iterator[LocalModel]:
    """The model as something that writes, until the block ends; then it is in the mode it was in.

    Blocks compiled for training run as they are written: each new length of text would be compiled anew.
    """
    import torch

    from llmkit.generation.local import LocalModel

    was_training = model.training
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield LocalModel(model, loaded.tokenizer, loaded.objective)
    finally:
        model.train(was_training)

"""Text from a model in the middle of its training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from llmkit.generation.local import LocalModel
    from llmkit.models.load import LoadedModel

T = TypeVar("T")


def kept(file: Path, make: Callable[[], T]) -> T:
    """What `make` gives, JSON-ready; after an interruption, what it gave when the run began.

    So a resumed run shows the model as it was before training, and what it publishes is what it would have been.
    """
    if file.exists():
        found: T = json.loads(file.read_text(encoding="utf-8"))
        return found
    made = make()
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    partial.replace(file)
    return made


@dataclass(frozen=True)
class Samples:
    """What a model says on the way, kept in `folder` so that a run that was interrupted shows all of it.

    Attributes:
        say: text from the model as it now is.
    """

    folder: Path
    say: Callable[[], str]

    def take(self, step: int) -> str:
        """What the model says after so many steps; what it said, where the run has been there before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return kept(self.folder / f"{step}.json", self.say)

    def shown(self, after: str) -> dict[str, str]:
        """All that was said, in order: `before` the first step, by the number of steps done, and `after` the last."""
        steps = sorted(int(file.stem) for file in self.folder.glob("*.json"))
        texts = {str(step) if step else "before": self.take(step) for step in steps}
        return texts | {"after": after}


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

"""The kinds of task by name, and which one a dataset and a model call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from llmkit.stages.tuning.task import Given, Task

if TYPE_CHECKING:
    from llmkit.data.schemas import ExampleSchema

TaskName = Literal["auto", "chat", "text", "dpo"]

SCHEMAS: Mapping[str, tuple[ExampleSchema, ...]] = {"chat": ("chat",), "text": ("chat",), "dpo": ("preference",)}
"""What each task learns from."""
AUTO: Mapping[ExampleSchema, str] = {"chat": "chat", "preference": "dpo"}
"""The task that `auto` stands for, by what the data are; a chat model without a template is taught plain text."""


def _causal(given: Given) -> Task:
    from llmkit.stages.tuning.causal import Causal

    return Causal(given)


def _preference(given: Given) -> Task:
    from llmkit.stages.tuning.preference import Preference

    return Preference(given)


TASKS: Mapping[str, Callable[[Given], Task]] = {"chat": _causal, "text": _causal, "dpo": _preference}


def open_task(given: Given) -> Task:
    """The task of these options on this dataset, with its model loaded."""
    name = given.cfg.task
    return TASKS[AUTO[given.dataset.schema] if name == "auto" else name](given)  # type: ignore[index]  # no texts here

"""The kinds of task by name, and which one a dataset and a model call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from llmkit.stages.tuning.task import Given, Task

if TYPE_CHECKING:
    from llmkit.data.schemas import ExampleSchema

TaskName = Literal["auto", "chat", "text", "dpo", "embed", "seq2seq", "classify", "regress", "tag"]

SCHEMAS: Mapping[str, tuple[ExampleSchema, ...]] = {
    "chat": ("chat",),
    "text": ("chat",),
    "dpo": ("preference",),
    "embed": ("chat", "preference"),
    "seq2seq": ("chat",),
    "classify": ("label",),
    "regress": ("label",),
    "tag": ("tag",),
}
"""What each task learns from."""
AUTO: Mapping[ExampleSchema, str] = {"chat": "chat", "preference": "dpo", "label": "classify", "tag": "tag"}
"""The task that `auto` stands for, by what the data are; a chat model without a template is taught plain text."""


def _causal(given: Given) -> Task:
    from llmkit.stages.tuning.causal import Causal

    return Causal(given)


def _preference(given: Given) -> Task:
    from llmkit.stages.tuning.preference import Preference

    return Preference(given)


def _embedding(given: Given) -> Task:
    from llmkit.stages.tuning.embedding import Embedding

    return Embedding(given)


def _seq2seq(given: Given) -> Task:
    from llmkit.stages.tuning.seq2seq import Seq2Seq

    return Seq2Seq(given)


def _classify(given: Given) -> Task:
    from llmkit.stages.tuning.labels import Classify

    return Classify(given)


def _regress(given: Given) -> Task:
    from llmkit.stages.tuning.labels import Regress

    return Regress(given)


def _tag(given: Given) -> Task:
    from llmkit.stages.tuning.tags import open_tags

    return open_tags(given)


TASKS: Mapping[str, Callable[[Given], Task]] = {
    "chat": _causal,
    "text": _causal,
    "dpo": _preference,
    "embed": _embedding,
    "seq2seq": _seq2seq,
    "classify": _classify,
    "regress": _regress,
    "tag": _tag,
}


def open_task(given: Given) -> Task:
    """The task of these options on this dataset, with its model loaded."""
    return TASKS[_for_these(given) if given.cfg.task == "auto" else given.cfg.task](given)


def _for_these(given: Given) -> str:
    """What the data and the model are for, where nobody says: an encoder of sentences is tuned as one."""
    from llmkit.models.encoders import is_sentence_encoder
    from llmkit.models.load import objective_of, read_config

    folder, name = given.paths["model"], AUTO[given.dataset.schema]  # type: ignore[index]  # no texts here
    if name in ("chat", "dpo") and is_sentence_encoder(folder):
        return "embed"
    return "seq2seq" if name == "chat" and objective_of(read_config(folder), folder) == "seq2seq" else name

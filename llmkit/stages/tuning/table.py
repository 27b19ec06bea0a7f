"""The kinds of task by name, and which one a dataset and a model call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from llmkit.config.base import leaves
from llmkit.config.sections import CausalOptions, DpoOptions
from llmkit.errors import UsageError
from llmkit.stages.tuning.task import Given, Task

if TYPE_CHECKING:
    from llmkit.data.schemas import ExampleSchema
    from llmkit.stages.finetune_lora import FinetuneConfig

TaskName = Literal["auto", "chat", "text", "dpo", "embed", "seq2seq", "classify", "regress", "tag", "qa"]

SCHEMAS: Mapping[str, tuple[ExampleSchema, ...]] = {
    "chat": ("chat",),
    "text": ("chat",),
    "dpo": ("preference",),
    "embed": ("chat", "preference"),
    "seq2seq": ("chat",),
    "classify": ("label",),
    "regress": ("label",),
    "tag": ("tag",),
    "qa": ("span",),
}
"""What each task learns from."""
AUTO: Mapping[ExampleSchema, str] = {
    "chat": "chat",
    "preference": "dpo",
    "label": "classify",
    "tag": "tag",
    "span": "qa",
}
"""The task that `auto` stands for, by what the data are; a chat model without a template is taught plain text."""

FULL_LR, ADAPTER_LR = 2e-5, 2e-4
RATES: Mapping[str, tuple[float, float]] = {"dpo": (5e-6, 5e-7), "seq2seq": (ADAPTER_LR, 1e-4)}
"""Peak learning rates (of an adapter, of all weights) of the tasks that differ from others: those of TRL's script for
DPO (trl/scripts/dpo.py), and of transformers' page on T5 for all of its weights."""


def rate_of(task: str | None, method: str | None) -> float:
    """The learning rate where nobody names one."""
    adapter, full = RATES.get(task or "", (ADAPTER_LR, FULL_LR))
    return full if method == "full" else adapter


def rate_notes(task: str, cfg: FinetuneConfig) -> list[str]:
    """A warning where a task was detected too late for its own learning rate."""
    own, rate = rate_of(task, cfg.method), rate_of("auto", cfg.method)
    if cfg.task != "auto" or cfg.lr != rate or own == rate:
        return []
    return [f"the learning rate is {cfg.lr:g}; --task {task} would take {own:g}, which is usual for it"]


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


def _qa(given: Given) -> Task:
    from llmkit.stages.tuning.spans import SpanReading

    return SpanReading(given)


TASKS: Mapping[str, Callable[[Given], Task]] = {
    "chat": _causal,
    "text": _causal,
    "dpo": _preference,
    "embed": _embedding,
    "seq2seq": _seq2seq,
    "classify": _classify,
    "regress": _regress,
    "tag": _tag,
    "qa": _qa,
}


def open_task(given: Given) -> Task:
    """The task of these options on this dataset, with its model loaded.

    Raises:
        UsageError: an option means nothing for it, or the model cannot be taught it.
        DataError: there is nothing to learn from the data.
    """
    task = TASKS[_for_these(given) if given.cfg.task == "auto" else given.cfg.task](given)
    for leaf in leaves(CausalOptions):
        if leaf.parameter not in task.takes and leaf.value(given.cfg.causal) != leaf.default:
            name = given.cfg.task if given.cfg.task != "auto" else given.dataset.schema
            raise UsageError(f"{leaf.flag} means nothing for '{name}'", mend="leave it out")
    if given.cfg.dpo != DpoOptions() and task.schema != "preference":
        raise UsageError("--beta is for preference pairs (--task dpo)", mend="leave it out")
    if given.cfg.method == "qlora" and "qlora" not in task.takes:
        raise UsageError("--method qlora is for causal models", mend="use --method lora")
    return task


def _for_these(given: Given) -> str:
    """What the data and the model are for, where nobody says: an encoder of sentences is tuned as one."""
    from llmkit.models.load import objective_of, read_config
    from llmkit.models.sentence_files import is_sentence_encoder

    folder, name = given.paths["model"], AUTO[given.dataset.schema]  # type: ignore[index]  # no texts here
    if name in ("chat", "dpo") and is_sentence_encoder(folder):
        return "embed"
    return "seq2seq" if name == "chat" and objective_of(read_config(folder), folder) == "seq2seq" else name

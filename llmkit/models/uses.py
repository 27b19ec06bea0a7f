"""What a model is for, by what it learned: its pipeline on the Hub, what loads it, and what its loss counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.models.families import Objective

SENTENCE_TRANSFORMERS = "sentence-transformers"


@dataclass(frozen=True)
class Use:
    """One kind of model, as its card tells of it.

    Attributes:
        pipeline: name of its task on the Hub (https://huggingface.co/tasks).
        loader: class of transformers that loads its weights.
        command: of llmkit, with {name} for the model.
        loss: what the loss is, and of what.
        head: whether the base alone has no such output layer.
        library: that reads the folder of a model which was tuned whole.
    """

    pipeline: str
    loader: str
    command: str
    loss: str = "nats a token"
    head: bool = False
    library: str = "transformers"


BY_OBJECTIVE: Mapping[Objective, Use] = {
    "causal": Use("text-generation", "AutoModelForCausalLM", 'llmkit ask "..." --model {name}'),
    "masked": Use("fill-mask", "AutoModelForMaskedLM", "llmkit pretrain --init {name} --data DATA"),
    "seq2seq": Use("text2text-generation", "AutoModelForSeq2SeqLM", "llmkit pretrain --init {name} --data DATA"),
}

_ONNX = "llmkit export {name} --to onnx --out FOLDER"

BY_TASK: Mapping[str, Use] = {
    "classify": Use(
        "text-classification",
        "AutoModelForSequenceClassification",
        _ONNX,
        "nats a text",
        head=True,
    ),
    "regress": Use(
        "text-classification",  # the Hub knows no other task for a number: its STS models have this one
        "AutoModelForSequenceClassification",
        _ONNX,
        "squared error, in variances of the training values",
        head=True,
    ),
    "tag": Use("token-classification", "AutoModelForTokenClassification", _ONNX, "nats a word", head=True),
    "qa": Use(
        "question-answering",
        "AutoModelForQuestionAnswering",
        'llmkit ask "..." --index INDEX --reader {name}',
        "nats a window, for its start and its end",
        head=True,
    ),
    "embed": Use(
        "sentence-similarity",
        "AutoModel",
        "llmkit index DOCUMENTS --embedder {name} --name INDEX",
        "nats a text",
        library=SENTENCE_TRANSFORMERS,
    ),
    "dpo": Use("text-generation", "AutoModelForCausalLM", 'llmkit ask "..." --model {name}', "nats a pair"),
    "seq2seq": Use("text2text-generation", "AutoModelForSeq2SeqLM", 'llmkit ask "..." --model {name}'),
}
"""Those that `finetune-lora` teaches; what is not here is what the model's objective makes it."""


def use_of(task: Mapping[str, Any], objective: Objective) -> Use:
    """What a model is for.

    Args:
        task: its `task.json`; empty where it has none.
    """
    return BY_TASK.get(str(task.get("tuned") or task.get("task") or ""), BY_OBJECTIVE[objective])

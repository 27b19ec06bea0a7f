"""The commands that are stages: which module holds each. Importing this costs nothing; `load` imports one stage."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.stages.base import Stage

STAGES: dict[str, str] = {
    "preprocess": "Turn a folder of anything into clean, deduplicated, split data, with a report and a tokenizer.",
    "pretrain": "Train a language model from scratch, or go on from one.",
    "finetune-lora": "Adapt a model to your examples with LoRA, and prove that it learned.",
    "merge": "Merge an adapter into its base, or several with weights, and prove the result.",
    "export": "Write a model for other programs: merged weights, GGUF, ONNX, Ollama.",
    "index": "Make documents searchable: SQLite full text, and vectors in Chroma.",
    "ask": "Answer a question with quotes that are checked against their source.",
    "eval": "Measure a model or an index, compare with a baseline, and gate a release.",
}
"""Command -> its one line of help, in the order of a model's life."""


def load(command: str) -> Stage[Any]:
    """The stage of a command; imports its module (its Config and no heavy library)."""
    module = import_module(f"llmkit.stages.{command.replace('-', '_')}")
    stage: Stage[Any] = module.STAGE
    return stage

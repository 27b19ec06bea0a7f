"""A finished model of any task, read as what it was tuned for: with its head, its tokenizer and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.models.encoders import load_encoder, save_sentence_files
from llmkit.models.families import Objective
from llmkit.models.load import TASK_FILE, LoadedModel, load_model, read_config
from llmkit.models.sentence_files import is_sentence_encoder
from llmkit.models.task_models import HEAD_CLASSES, Head, HeadKind, head_of, task_facts, with_head
from llmkit.registry.disk import write_whole

Use = Literal["causal", "masked", "seq2seq", "sequence", "token", "span", "embed"]
"""What a model puts out: logits of tokens, of labels, of a span's ends, or states of which vectors are made."""

_ARCHITECTURES: Mapping[str, HeadKind] = {
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
    "ForQuestionAnswering": "span",
}
_PROBE_ROWS, _PROBE_TOKENS = 2, 24
_PUBLISHED_LIMIT = 512
"""Tokens of a sentence encoder that says nothing: BERT's."""


@dataclass(frozen=True)
class Opened:
    """A model on the CPU in float32 and evaluation mode.

    Attributes:
        model: inside a PeftModel where there is an adapter.
        facts: of its `task.json`; empty where it has none.
        context: longest sequence in tokens; None where nothing sets a limit.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    use: Use
    objective: Objective
    facts: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None

    @property
    def config(self) -> PretrainedConfig:
        config: PretrainedConfig = self.model.config
        return config


def open_model(folder: Path, adapter: Path | None = None) -> Opened:
    """Load a model, or a base with an adapter, as what its `task.json` says; without one, by its architecture.

    Raises:
        NotFoundError: a file is missing.
        DataError: a file is damaged, or adapter and base do not fit.
    """
    holder = adapter or folder
    facts = task_facts(holder) if (holder / TASK_FILE).is_file() else {}
    if facts.get("task") == "embed" or (not facts and is_sentence_encoder(holder)):
        return _opened(load_encoder(folder, adapter=adapter).loaded, "embed", facts)
    head = head_of(facts, holder) if facts.get("head") in HEAD_CLASSES else _published_head(folder, adapter, facts)
    if head is not None:
        # Every new module is in the adapter, or the model is whole: the seed has no part in what comes out.
        return _opened(with_head(folder, head, seed=0, adapter=adapter).loaded, head.kind, facts)
    loaded = load_model(folder, adapter=adapter)
    return _opened(loaded, loaded.objective, facts)


def probe_of(opened: Opened, *, seed: int = 0) -> dict[str, Tensor]:
    """A batch to compare models on: drawn ids, shape (2, 24) or as long as the model reads, the second row padded.

    A drawn text leans on no tokenizer and touches the whole vocabulary; two models that agree on it are one function.
    """
    rows = int(opened.model.get_input_embeddings().weight.shape[0])
    length = min(_PROBE_TOKENS, opened.context or _PROBE_TOKENS)
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(rows, (_PROBE_ROWS, length), generator=source)
    # Architectures that find a row's last token by the pad id must find it where the mask does.
    pad = opened.config.get_text_config().pad_token_id
    if pad is not None:
        ids[ids == pad] = (pad + 1) % rows
    mask = torch.ones_like(ids)
    tail = length // 4
    if tail and pad is not None:
        ids[1, -tail:] = pad
        mask[1, -tail:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if opened.use == "seq2seq":
        inputs["decoder_input_ids"] = torch.randint(rows, ids.shape, generator=source)
    return inputs


def save_whole(opened: Opened, folder: Path, *, holder: Path) -> None:
    """Write a model with all that belongs to it: weights, tokenizer and template, facts, sentence files.

    Args:
        holder: the folder it came from; of an adapter, the adapter's.
    """
    opened.model.save_pretrained(folder)
    save_beside(opened, folder, holder=holder)


def save_beside(opened: Opened, folder: Path, *, holder: Path) -> None:
    """What `save_whole` writes besides the weights and their configuration."""
    opened.tokenizer.save_pretrained(folder)
    if (holder / TASK_FILE).is_file():
        write_whole(folder / TASK_FILE, (holder / TASK_FILE).read_bytes())
    if opened.use == "embed":
        limit = int(opened.facts.get("limit") or opened.context or _PUBLISHED_LIMIT)
        save_sentence_files(holder, folder, width=int(opened.config.hidden_size), limit=limit)


def _opened(loaded: LoadedModel, use: Use, facts: Mapping[str, Any]) -> Opened:
    return Opened(loaded.model, loaded.tokenizer, use, loaded.objective, facts, loaded.context)


def _published_head(folder: Path, adapter: Path | None, facts: Mapping[str, Any]) -> Head | None:
    """The head of a model that was not made here, by the class that its configuration names."""
    if adapter is not None or facts:
        return None
    config = read_config(folder)
    for name in config.architectures or ():
        for suffix, kind in _ARCHITECTURES.items():
            if name.endswith(suffix):
                labels = tuple(config.id2label[number] for number in sorted(config.id2label or {}))
                return Head(kind, () if kind == "span" else labels, kind == "sequence" and len(labels) == 1)
    return None

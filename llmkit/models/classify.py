"""Labels of texts, by what `finetune-lora --task classify` made or a published classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from llmkit.errors import DataError
from llmkit.models.load import TASK_FILE, read_config
from llmkit.models.task_models import Head, TaskModel, head_of, load_for_task, reading_at, task_facts, with_head

Classify = Callable[[str], Mapping[str, float]]
"""A text to the probability of each label, likeliest first."""


def is_classifier(folder: Path, adapter: Path | None) -> bool:
    """Whether a model tells classes of texts apart, without loading it."""
    where = adapter or folder
    if adapter is not None or (where / TASK_FILE).is_file():
        facts = task_facts(where) if (where / TASK_FILE).is_file() else {}
        return facts.get("head") == "sequence" and not facts.get("regression")
    return any(name.endswith("ForSequenceClassification") for name in read_config(folder).architectures or ())


def open_classifier(folder: Path, *, adapter: Path | None = None, device: str = "cpu") -> Classify:
    """A classifier, ready to use. A text that is longer than it reads loses its end.

    Raises:
        NotFoundError, DataError: as `load_for_task`; also where it is no classifier.
    """
    where = adapter or folder
    if not is_classifier(folder, adapter):
        raise DataError(
            "it was not tuned to tell classes of texts apart",
            where=str(where),
            mend="use one that was tuned with `finetune-lora --task classify`",
        )
    if (where / TASK_FILE).is_file():
        loaded, facts = load_for_task(folder, adapter=adapter)
        labels = head_of(facts, where).labels
        limit = int(facts.get("limit") or loaded.context or 512)
    else:
        labels, made = _published(folder)
        loaded = made.loaded
        limit = loaded.context or 512
    model = loaded.model.to(device).eval()

    @torch.no_grad()
    def classify(text: str) -> Mapping[str, float]:
        batch = loaded.tokenizer([text], truncation=True, max_length=limit, return_tensors="pt").to(device)
        with reading_at(model, batch["attention_mask"].sum(dim=1) - 1):
            shares = torch.softmax(model(**batch).logits[0].float(), dim=-1).tolist()
        return dict(sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1]))

    return classify


def _published(folder: Path) -> tuple[tuple[str, ...], TaskModel]:
    names: Mapping[int, str] = read_config(folder).id2label or {}
    labels = tuple(names[number] for number in sorted(names))
    return labels, with_head(folder, Head("sequence", labels), seed=0)

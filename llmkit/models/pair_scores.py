"""How well a passage answers a question, by a model that reads both at once (Nogueira and Cho 2019, "Passage Re-ranking
with BERT"): one tuned here on pairs, or any cross-encoder of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmkit.errors import DataError
from llmkit.models.load import TASK_FILE
from llmkit.models.task_models import Head, head_of, load_for_task, reading_at

PairScores = Callable[[str, Sequence[str]], list[float]]
"""A question and passages to a score each, higher for a better answer, on the model's own scale."""

AT_ONCE = 16
NO = frozenset({"0", "no", "false", "irrelevant", "negative", "not_relevant", "bad", "not_duplicate", "not_entailment"})
"""Names of the label that means "does not answer", so that the other one of two means that it does."""


def open_pair_scores(folder: Path, *, adapter: Path | None = None, device: str = "cpu") -> PairScores:
    """A model that scores pairs: what `finetune-lora --task classify` or `regress` made, or a cross-encoder's folder.

    Raises:
        NotFoundError, DataError: as `load_for_task`; also where it was tuned for something else, or tells more than two
            classes apart.
    """
    if adapter is None and not (folder / TASK_FILE).is_file():
        return _cross_encoder(folder, device)
    where = adapter or folder
    loaded, facts = load_for_task(folder, adapter=adapter)
    column = _answers(head_of(facts, where), where)
    model, tokenizer = loaded.model.to(device).eval(), loaded.tokenizer
    limit = int(facts.get("limit") or loaded.context or 512)

    @torch.no_grad()
    def scores(question: str, passages: Sequence[str]) -> list[float]:
        found: list[float] = []
        for at in range(0, len(passages), AT_ONCE):
            part = list(passages[at : at + AT_ONCE])
            batch = tokenizer(
                [question] * len(part),
                part,
                truncation="longest_first",
                max_length=limit,
                padding=True,
                padding_side="right",
                return_tensors="pt",
            ).to(device)
            with reading_at(model, batch["attention_mask"].sum(dim=1) - 1):
                logits = model(**batch).logits.float()
            found += (logits @ column.to(device)).tolist()
        return found

    return scores


def _answers(head: Head, where: Path) -> torch.Tensor:
    """What the outputs are multiplied with: the one value, or the log-odds of the class that means "answers it"."""
    if head.kind != "sequence":
        raise DataError(
            "it was not tuned to judge pairs of texts",
            where=str(where),
            mend="use one that was tuned with --task classify or regress on pairs of question and passage",
        )
    if head.regression:
        return torch.ones(1)
    if len(head.labels) != 2:
        raise DataError(
            f"it tells {len(head.labels)} classes apart, and which of them answers a question is not known",
            where=str(where),
            mend="tune one with two labels (relevant and irrelevant), or with --task regress",
        )
    no = next((n for n, label in enumerate(head.labels) if label.strip().lower().replace(" ", "_") in NO), 0)
    return torch.tensor([-1.0, 1.0] if no == 0 else [1.0, -1.0])


def _cross_encoder(folder: Path, device: str) -> PairScores:
    from sentence_transformers import CrossEncoder

    try:
        model: Any = CrossEncoder(str(folder), device=device, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(
            f"it cannot be loaded as a cross-encoder: {error}",
            where=str(folder),
            mend="name a sequence-classification model of sentence-transformers, or one tuned on pairs",
        ) from error
    if model.num_labels != 1:
        raise DataError(
            f"it gives {model.num_labels} scores for a pair, and one is needed",
            where=str(folder),
            mend="use a cross-encoder for ranking, such as cross-encoder/ms-marco-MiniLM-L6-v2",
        )

    def scores(question: str, passages: Sequence[str]) -> list[float]:
        pairs = [(question, passage) for passage in passages]
        said = model.predict(pairs, batch_size=AT_ONCE, show_progress_bar=False)
        return [float(score) for score in np.asarray(said).reshape(-1)]

    return scores

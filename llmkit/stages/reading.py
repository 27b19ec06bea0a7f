"""Models that read passages for an answer: readers that mark it, cross-encoders that put passages in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.config.sections import RankingOptions
from llmkit.errors import DataError
from llmkit.stages import models
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.answering.quoting import Marker
    from llmkit.answering.retrieve import Ranking
    from llmkit.models.reading import Reader
    from llmkit.retrieval.search import Mode

READER, RERANKER = "reader", "reranker"
"""Roles among a command's inputs."""


def ranking_of(options: RankingOptions, found: Inputs, *, most: int, mode: Mode, device: str) -> Ranking:
    """How passages are ranked, with the cross-encoder opened where one is named.

    Raises:
        DataError: it is none, or cannot be read.
    """
    from llmkit.answering.retrieve import Ranking

    if options.rerank is None:
        return Ranking(most, mode, diversity=options.diversity)
    from llmkit.models.pair_scores import open_pair_scores
    from llmkit.train.precision import resolve_device

    folder, adapter = models.folders_of(found, RERANKER)
    scores = open_pair_scores(folder, adapter=adapter, device=str(resolve_device(device)))
    return Ranking(most, mode, scores, options.rerank_top, options.diversity)


def marker_of(found: Inputs, *, device: str) -> Marker:
    """The reader that was named, with what was measured of it.

    Raises:
        DataError: it marks no answers in texts, or cannot be read.
    """
    from llmkit.answering.quoting import Marker
    from llmkit.models.load import TASK_FILE
    from llmkit.models.task_models import task_facts
    from llmkit.train.precision import resolve_device

    folder, adapter = models.folders_of(found, READER)
    where = adapter or folder
    tuned = (where / TASK_FILE).is_file()
    reader = _opened(folder, adapter, str(resolve_device(device)), tuned=tuned)
    auroc = task_facts(where).get("refusal_auroc") if tuned else None
    return Marker(
        lambda pairs, best: reader.read(pairs, best=best),
        reader.threshold,
        float(auroc) if isinstance(auroc, int | float) else None,
    )


def _opened(folder: Path, adapter: Path | None, device: str, *, tuned: bool) -> Reader:
    """What `finetune-lora --task qa` made, or a published model with a head for spans."""
    from llmkit.models.reading import LIMIT, Reader
    from llmkit.models.task_models import Head, with_head

    if tuned or adapter is not None:
        return Reader.open(folder, adapter=adapter, device=device)
    made = with_head(folder, Head("span"), seed=0)
    if made.new:
        raise DataError(
            "it was not trained to mark answers in a text",
            where=str(folder),
            mend="use one that was tuned with `finetune-lora --task qa`, or a published model for question answering",
        )
    model = made.loaded.model.to(device)
    return Reader(model, made.loaded.tokenizer, limit=min(LIMIT, made.loaded.context or LIMIT))

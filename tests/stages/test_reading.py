"""Readers and cross-encoders from a reference to something that reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.reading import save_encoder, tiny_config, toy_tokenizer
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, BertForQuestionAnswering

from llmkit.config.sections import RankingOptions
from llmkit.errors import DataError
from llmkit.models.load import TASK_FILE
from llmkit.registry.store import Registry
from llmkit.stages import models
from llmkit.stages.reading import READER, marker_of, ranking_of

QUESTION, CONTEXT = "Which animal?", "one day we saw a sea lion and it was red."


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def published(folder: Path) -> Path:
    """A reader as the Hub has them: a head for spans, and no word of how it was made."""
    tokenizer = toy_tokenizer()
    torch.manual_seed(1)
    BertForQuestionAnswering(tiny_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tuned(folder: Path, **facts: object) -> Path:
    made = {"task": "qa", "head": "span", "labels": [], "regression": False, "limit": 64, "threshold": 1.5}
    (published(folder) / TASK_FILE).write_text(json.dumps({**made, **facts}))
    return folder


def test_a_published_reader_marks_what_transformers_marks(tmp_path: Path, registry: Registry) -> None:
    folder = published(tmp_path / "published")
    marker = marker_of(models.find_model(str(folder), registry, role=READER), device="cpu")
    (span,) = marker.read([(QUESTION, CONTEXT)], 1)[0].spans
    assert CONTEXT[span.start : span.end] == span.text and not marker.may_refuse
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(QUESTION, CONTEXT, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        made = AutoModelForQuestionAnswering.from_pretrained(folder).eval()(**encoded)
    starts, ends = made.start_logits[0], made.end_logits[0]
    inside = [n for n, kind in enumerate(encoded.sequence_ids(0)) if kind == 1]
    best = max(((a, b) for a in inside for b in inside if 0 <= b - a < 30), key=lambda p: starts[p[0]] + ends[p[1]])
    assert (span.start, span.end) == (offsets[best[0]][0], offsets[best[1]][1])
    assert span.score == pytest.approx(float(starts[best[0]] + ends[best[1]] - starts[0] - ends[0]), abs=1e-4)


@pytest.mark.parametrize(
    ("facts", "may"),
    [
        ({"refusal_auroc": 0.82}, True),
        ({"refusal_auroc": 0.635}, False),
        ({}, False),
        ({"refusal_auroc": 0.9, "threshold": None}, False),
        ({"refusal_auroc": "good"}, False),
    ],
)
def test_a_reader_may_refuse_where_it_was_measured_to_be_able_to(
    tmp_path: Path, registry: Registry, facts: dict[str, object], may: bool
) -> None:
    folder = tuned(tmp_path / "tuned", **facts)
    assert marker_of(models.find_model(str(folder), registry, role=READER), device="cpu").may_refuse == may


def test_an_encoder_without_a_head_is_no_reader(tmp_path: Path, registry: Registry) -> None:
    folder = save_encoder(tmp_path / "encoder", toy_tokenizer())
    with pytest.raises(DataError, match="not trained to mark answers") as caught:
        marker_of(models.find_model(str(folder), registry, role=READER), device="cpu")
    assert caught.value.mend and "--task qa" in caught.value.mend


def test_without_a_cross_encoder_nothing_is_opened(registry: Registry) -> None:
    ranking = ranking_of(RankingOptions(diversity=0.3), models.Inputs(), most=7, mode="lexical", device="cpu")
    assert (ranking.most, ranking.mode, ranking.diversity, ranking.rerank) == (7, "lexical", 0.3, None)

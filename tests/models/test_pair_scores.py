"""Scores of pairs: those of transformers on each pair alone, whoever made the model."""

from __future__ import annotations

import json

import pytest
import torch
from support.reading import tiny_config, toy_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from llmkit.errors import DataError
from llmkit.models.load import TASK_FILE
from llmkit.models.pair_scores import open_pair_scores

QUESTION = "Which animal?"
PASSAGES = [
    "one day we saw a horse.",
    "it was red.",
    "there and on with all so far we went to Oslo on a sea lion.",
    "fox",
]


def saved(folder, labels: list[str], facts: dict | None = None):
    tokenizer = toy_tokenizer()
    config = tiny_config(tokenizer)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: n for n, label in enumerate(labels)}
    torch.manual_seed(3)
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # as made, all scores would be nearly the same
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if facts is not None:
        (folder / TASK_FILE).write_text(json.dumps({"head": "sequence", "labels": labels, "limit": 64, **facts}))
    return folder


def logits(folder) -> torch.Tensor:
    """Of each pair alone, by transformers."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        each = [model.eval()(**tokenizer(QUESTION, text, return_tensors="pt")).logits[0] for text in PASSAGES]
    return torch.stack(each)


def test_a_tuned_value_is_the_score(tmp_path) -> None:
    folder = saved(tmp_path, ["value"], {"task": "regress", "regression": True})
    scores = open_pair_scores(folder)(QUESTION, PASSAGES)
    assert len(set(scores)) == 4 and torch.allclose(torch.tensor(scores), logits(folder)[:, 0], atol=1e-5)
    assert open_pair_scores(folder)(QUESTION, []) == []


@pytest.mark.parametrize(
    ("labels", "sign"),
    [(["0", "1"], 1), (["irrelevant", "relevant"], 1), (["entailment", "not_entailment"], -1), (["bad", "good"], 1)],
)
def test_of_two_classes_it_is_the_log_odds_of_the_one_that_answers(tmp_path, labels: list[str], sign: int) -> None:
    folder = saved(tmp_path, labels, {"task": "classify", "regression": False})
    expected = logits(folder)
    scores = open_pair_scores(folder)(QUESTION, PASSAGES)
    assert torch.allclose(torch.tensor(scores), sign * (expected[:, 1] - expected[:, 0]), atol=1e-5)


def test_a_published_cross_encoder_keeps_the_order_of_its_logits(tmp_path) -> None:
    folder = saved(tmp_path, ["LABEL_0"])
    scores = open_pair_scores(folder)(QUESTION, PASSAGES)
    expected = logits(folder)[:, 0]
    assert torch.tensor(scores).argsort().tolist() == expected.argsort().tolist()
    activated = [expected, expected.sigmoid()]
    assert any(torch.allclose(torch.tensor(scores), each, atol=1e-4) for each in activated)


def test_what_judges_no_pairs_is_refused_with_the_way_out(tmp_path) -> None:
    with pytest.raises(DataError, match="3 classes") as caught:
        open_pair_scores(saved(tmp_path / "three", ["a", "b", "c"], {"task": "classify", "regression": False}))
    assert caught.value.mend and "two labels" in caught.value.mend
    with pytest.raises(DataError, match="2 scores"):
        open_pair_scores(saved(tmp_path / "published", ["no", "yes"]))
    with pytest.raises(DataError, match="not tuned to judge pairs"):
        folder = saved(tmp_path / "tags", ["a", "b"], {"task": "tag", "regression": False})
        facts = json.loads((folder / TASK_FILE).read_text())
        (folder / TASK_FILE).write_text(json.dumps({**facts, "head": "token"}))
        open_pair_scores(folder)

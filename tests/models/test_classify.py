"""Labels of texts: those of transformers, whoever made the classifier."""

from __future__ import annotations

import pytest
import torch
from support.reading import tiny_config, toy_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmkit.errors import DataError
from llmkit.models.classify import is_classifier, open_classifier

from .test_pair_scores import saved

LABELS = ["bad", "good", "so-so"]


@pytest.mark.parametrize("facts", [None, {"task": "classify"}], ids=["published", "tuned"])
def test_the_probabilities_are_those_of_transformers(tmp_path, facts) -> None:
    folder = saved(tmp_path, LABELS, facts)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    classify = open_classifier(folder)
    for text in ("one day we saw a horse.", "fox", "it was red."):
        with torch.no_grad():
            expected = torch.softmax(model.eval()(**tokenizer(text, return_tensors="pt")).logits[0], dim=-1)
        found = classify(text)
        assert found == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_long_text_loses_its_end(tmp_path) -> None:
    classify = open_classifier(saved(tmp_path, LABELS, {"task": "classify", "limit": 8}))
    assert classify("fox " * 400) == pytest.approx(classify("fox " * 6))


def test_what_tells_no_classes_apart_is_no_classifier(tmp_path) -> None:
    values = saved(tmp_path / "values", ["value"], {"task": "regress", "regression": True})
    assert not is_classifier(values, None)
    with pytest.raises(DataError, match="not tuned to tell classes"):
        open_classifier(values)
    from transformers import BertModel

    plain = tmp_path / "plain"
    BertModel(tiny_config(toy_tokenizer())).save_pretrained(plain)
    toy_tokenizer().save_pretrained(plain)
    assert not is_classifier(plain, None)

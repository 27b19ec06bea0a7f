"""Sentence encoders: read as sentence-transformers reads them, which is the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from llmkit.errors import DataError
from llmkit.models.encoders import load_encoder, pooled, save_sentence_files
from llmkit.models.sentence_files import is_sentence_encoder

TEXTS = ["def f(x):", "return x + 1", "x"]


def vectors(encoder, texts, role="document"):
    found = []
    for text in texts:
        ids = encoder.loaded.tokenizer(encoder.written(text, role), padding=False)["input_ids"]
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=int)}
        with torch.no_grad():
            found.append(pooled(encoder.loaded.model(**given)[0], given["attention_mask"], encoder.pooling)[0].numpy())
    return np.stack(found)


@pytest.fixture
def folder(saved):
    """A BERT of sentence-transformers: mean pooling, vectors of length 1."""
    made = saved("bert")
    save_sentence_files(made, made, width=32, limit=24)
    return made


def test_a_plain_base_becomes_a_folder_that_sentence_transformers_reads_alike(folder):
    encoder = load_encoder(folder)
    assert (is_sentence_encoder(folder), encoder.pooling, encoder.limit) == (True, "mean", 24)
    assert np.allclose(vectors(encoder, TEXTS), SentenceTransformer(str(folder)).encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("way", ["cls", "lasttoken", "mean"])
def test_other_poolings_are_read_in_the_new_and_the_old_form(way, folder):
    config = folder / "1_Pooling" / "config.json"
    flag = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}.get(way, f"pooling_mode_{way}")
    for written in ({"embedding_dimension": 32, "pooling_mode": way}, {"word_embedding_dimension": 32, flag: True}):
        config.write_text(json.dumps(written))
        encoder = load_encoder(folder)
        assert encoder.pooling == way
        assert np.allclose(vectors(encoder, TEXTS), SentenceTransformer(str(folder)).encode(TEXTS), atol=1e-5)


def test_the_prompts_of_questions_and_documents_are_put_before_them(folder):
    prompts = {"query": "if ", "document": "def ", "passage": "for "}
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts, "model_type": "SentenceTransformer"})
    )
    encoder, theirs = load_encoder(folder), SentenceTransformer(str(folder))
    assert np.allclose(vectors(encoder, TEXTS, "query"), theirs.encode_query(TEXTS), atol=1e-5)
    assert np.allclose(vectors(encoder, TEXTS, "document"), theirs.encode_document(TEXTS), atol=1e-5)


def test_a_copy_has_all_that_the_base_says(folder, tmp_path):
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "if "}}))
    out = tmp_path / "out"
    out.mkdir()
    save_sentence_files(folder, out, width=32, limit=7)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert (out / "1_Pooling" / "config.json").is_file()


def test_what_cannot_be_trained_is_refused_by_name(folder):
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode_max_tokens": True}))
    with pytest.raises(DataError, match="pooling is max"):
        load_encoder(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(DataError, match="Dense"):
        load_encoder(folder)


def test_a_pooler_that_the_base_does_not_have_is_the_same_every_time(folder):
    first, second = (load_encoder(folder).loaded.model.state_dict() for _ in range(2))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())

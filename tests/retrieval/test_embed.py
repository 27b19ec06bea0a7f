"""The encoder: the published weights, equal to sentence-transformers, light to start."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from llmkit.errors import DataError, NotFoundError, UnavailableError
from llmkit.retrieval import embed
from llmkit.retrieval.embed import Embedder, find_encoder, open_embedder
from llmkit.retrieval.encoders import NUMPY_TOKENS, BertEmbedder, SentenceTransformerEmbedder, _batches
from llmkit.retrieval.language import knows_language

TEXTS = [
    "How do I compute the SHA-256 digest of a file?",
    "def file_digest(fileobj, digest, /):\n    return None",
    "吾輩は猫である。",
    "",
    "word " * 400,
    *[line for line in Path(sysconfig.get_path("stdlib"), "this.py").read_text().splitlines() if line],
]


@pytest.fixture(scope="module")
def peer():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(find_encoder(None).path), device="cpu")


def cosines(a, b):
    return (a * b).sum(axis=1)


def test_vectors_of_few_texts_equal_those_of_sentence_transformers(minilm: Embedder, peer) -> None:
    expected = peer.encode(TEXTS[:4], normalize_embeddings=True)
    assert cosines(minilm.encode(TEXTS[:4]), expected).min() > 0.999999


def test_vectors_of_many_texts_equal_those_of_sentence_transformers(peer) -> None:
    embedder = open_embedder()
    many = [*TEXTS, *(f"{n} salad words and more of them " * 30 for n in range(9))]
    assert sum(embedder.count_tokens(many)) > NUMPY_TOKENS
    vectors = embedder.encode(many)
    assert cosines(vectors, peer.encode(many, normalize_embeddings=True)).min() > 0.9999
    assert vectors.dtype == np.float32 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_length_is_256_and_not_the_128_in_the_tokenizers_file(minilm: Embedder, peer) -> None:
    assert minilm.max_tokens == 254
    start = "alpha beta gamma " * 60
    long = [start + "volcano", start + "harbour"]
    assert 128 < minilm.count_tokens(long)[0] < 254
    assert cosines(*[minilm.encode([text]) for text in long])[0] < 0.9999
    assert cosines(minilm.encode(long), peer.encode(long, normalize_embeddings=True)).min() > 0.999999


def test_tokens_are_counted_as_the_model_counts_them(minilm: Embedder, peer) -> None:
    counted = [len(ids) for ids in peer.tokenizer(TEXTS, add_special_tokens=False, truncation=False)["input_ids"]]
    assert minilm.count_tokens(TEXTS) == counted


def test_a_text_given_twice_is_embedded_once_and_the_order_is_kept(minilm: Embedder) -> None:
    a, b, c = minilm.encode(["one", "two", "one"])
    assert (a == c).all() and not (a == b).all()
    assert minilm.encode([]).shape == (0, 384)


def test_a_lone_surrogate_is_embedded_like_a_question_mark(minilm: Embedder) -> None:
    assert np.allclose(minilm.encode(["a \ud800 b"]), minilm.encode(["a ? b"]))


def test_one_question_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from llmkit.retrieval.embed import open_embedder; open_embedder().encode(['hello']);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'chromadb'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_encoder(None).path, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"\0\1\2\3")
    monkeypatch.setattr(embed, "_packaged_folder", lambda: folder)
    with pytest.raises(DataError, match="not the published"):
        find_encoder(None)


def test_a_copy_of_the_folder_is_read_by_its_path_and_a_cut_one_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(find_encoder(None).path, folder)
    embedder = open_embedder(str(folder))
    assert isinstance(embedder, BertEmbedder) and embedder.name == "mine"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="safetensors"):
        open_embedder(str(folder)).encode(["x"])


def test_another_pooling_goes_to_sentence_transformers(tmp_path: Path, minilm: Embedder) -> None:
    folder = tmp_path / "cls"
    shutil.copytree(find_encoder(None).path, folder)
    pooling = folder / "1_Pooling" / "config.json"
    settings = json.loads(pooling.read_text())
    pooling.write_text(json.dumps(settings | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    embedder = open_embedder(str(folder))
    assert isinstance(embedder, SentenceTransformerEmbedder)
    assert (embedder.dimension, embedder.max_tokens) == (384, 254)
    vectors = embedder.encode(["one", "two", "one"])
    assert vectors.shape == (3, 384) and (vectors[0] == vectors[2]).all()
    assert cosines(vectors, minilm.encode(["one", "two", "one"])).max() < 0.99
    assert embedder.count_tokens(["one two"]) == minilm.count_tokens(["one two"])
    assert embedder.unknown_tokens(["龘"]) == 1


def test_what_is_not_there_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError):
        find_encoder("./nowhere")
    monkeypatch.setattr(embed, "_packaged_folder", lambda: None)
    with pytest.raises(UnavailableError) as caught:
        find_encoder(None)
    assert "llmkit[offline]" in str(caught.value.mend)


def test_batches_hold_every_text_once_and_similar_lengths() -> None:
    lengths = [5, 250, 7, 30, 100, 5, 1]
    batches = list(_batches(lengths, 300))
    assert sorted(n for batch in batches for n in batch) == list(range(7))
    assert all(max(lengths[n] for n in batch) * len(batch) <= 300 for batch in batches)


@pytest.mark.parametrize(
    ("text", "unspaced", "known"),
    [
        ("The Normans were the people who gave their name to Normandy, a region in France.", False, True),
        ("def file_digest(fileobj, digest):\n    return digest(fileobj.read())", False, True),
        ("東大寺は奈良時代に聖武天皇が建立した寺院である。", True, False),
        ("Москва является столицей России и крупнейшим городом страны.", False, False),
    ],
)
def test_minilm_is_found_to_know_english_and_code_but_not_japanese(minilm, text, unspaced, known) -> None:
    assert knows_language(minilm, [text], unspaced=unspaced) == known

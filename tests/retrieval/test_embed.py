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
import torch

from llmkit.errors import DataError, NotFoundError, UnavailableError
from llmkit.retrieval import embed
from llmkit.retrieval.embed import Embedder, find_encoder, open_embedder, open_folder
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


def with_files(tmp_path: Path, **files: object) -> Path:
    """A copy of the encoder in which JSON files say something else, by their name without `.json`."""
    folder = tmp_path / "mine"
    shutil.copytree(find_encoder(None).path, folder)
    for name, content in files.items():
        place = folder / {"pooling": "1_Pooling/config.json"}.get(name, f"{name}.json")
        place.write_text(json.dumps(content))
    return folder


POOLINGS = {
    "cls": {"word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "lasttoken": {"embedding_dimension": 384, "pooling_mode": "lasttoken"},
    "max": {"word_embedding_dimension": 384, "pooling_mode_max_tokens": True},
    "mean and cls": {"embedding_dimension": 384, "pooling_mode": ["cls", "mean"]},
}


@pytest.mark.parametrize("way", POOLINGS)
@pytest.mark.parametrize("many", [False, True])
def test_every_pooling_is_read_as_sentence_transformers_reads_it(way: str, many: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = with_files(tmp_path, pooling=POOLINGS[way])
    embedder = open_embedder(str(folder))
    assert isinstance(embedder, BertEmbedder) == (way in ("cls", "lasttoken"))
    texts = [
        "one",
        "two words",
        "one",
        *([f"{n} salad words and more of them " * 30 for n in range(12)] if many else []),
    ]
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    vectors = embedder.encode(texts)
    assert vectors.shape == (len(texts), embedder.dimension) == expected.shape
    assert cosines(vectors, expected).min() > (0.9995 if many else 0.999999)
    assert embedder.max_tokens == 254
    assert embedder.unknown_tokens(["龘"]) == 1


PROMPTS = [
    {"query": "query: ", "document": "text: "},
    {"query": "query: ", "passage": "passage: "},
    {"query": "ask: "},
]


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("pooling", ["lasttoken", "max"])
def test_prompts_of_the_files_go_before_questions_and_passages(prompts, pooling, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = with_files(tmp_path, pooling=POOLINGS[pooling], config_sentence_transformers={"prompts": prompts})
    embedder, theirs = open_embedder(str(folder)), SentenceTransformer(str(folder), device="cpu")
    before = {"query": prompts["query"], "document": prompts.get("document") or prompts.get("passage") or ""}
    for role, prompt in before.items():
        expected = theirs.encode(["How so?", "x"], prompt=prompt, normalize_embeddings=True)
        assert cosines(embedder.encode(["How so?", "x"], role=role), expected).min() > 0.999999
    # What a document is told first takes room that its text then does not have.
    assert embedder.max_tokens == 254 - embedder.count_tokens([before["document"]])[0]


def test_prompts_of_the_catalogue_count_only_where_the_files_give_none(tmp_path: Path) -> None:
    from dataclasses import replace

    plain = find_encoder(None)
    given = replace(plain, prompts={"query": "query: ", "document": "passage: "})
    prompted, bare = open_folder(given), open_folder(plain)
    assert np.allclose(prompted.encode(["x"]), bare.encode(["passage: x"]))
    assert np.allclose(prompted.encode(["x"], role="query"), bare.encode(["query: x"]))
    assert prompted.max_tokens < bare.max_tokens
    own = with_files(tmp_path, config_sentence_transformers={"prompts": {"query": "ask: "}})
    assert replace(given, path=own).files().prompts == {"query": "ask: ", "document": ""}


def test_a_dense_module_is_applied(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    theirs = SentenceTransformer(str(find_encoder(None).path), device="cpu")
    torch.manual_seed(0)
    theirs.append(Dense(384, 48))
    theirs.save(str(tmp_path / "dense"), create_model_card=False)
    embedder = open_embedder(str(tmp_path / "dense"))
    assert isinstance(embedder, SentenceTransformerEmbedder) and embedder.dimension == 48
    assert cosines(embedder.encode(TEXTS[:3]), theirs.encode(TEXTS[:3], normalize_embeddings=True)).min() > 0.999999
    assert embedder.encode([]).shape == (0, 48)


def test_a_folder_that_the_library_has_saved_again_is_still_read_without_it(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(find_encoder(None).path), device="cpu").save(str(tmp_path / "new"), create_model_card=False)
    embedder = open_embedder(str(tmp_path / "new"))
    assert isinstance(embedder, BertEmbedder) and embedder.max_tokens == 254


@pytest.mark.parametrize("name", ["config", "modules", "pooling", "sentence_bert_config"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    folder = with_files(tmp_path, **{name: 5})
    place = next(folder.rglob("1_Pooling/config.json" if name == "pooling" else f"{name}.json"))
    place.write_text("{")
    with pytest.raises(DataError) as caught:
        open_embedder(str(folder)).encode(["x"])
    assert caught.value.where == str(place)


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

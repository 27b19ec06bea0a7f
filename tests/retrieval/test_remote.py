"""An encoder behind an endpoint, against a real HTTP server on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.embeddings import DIMENSION, EmbeddingServer, embedding_server, vector

from llmkit.errors import DataError, NotFoundError, RunError, UnavailableError
from llmkit.models.server import Server
from llmkit.retrieval.remote import BATCH, CONTEXT, PROBES, RemoteEmbedder, is_same, space_digest


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with embedding_server() as found:
        yield found


def embedder(server: EmbeddingServer, model: str = "tiny", **options: object) -> RemoteEmbedder:
    pauses: list[float] = []
    made = RemoteEmbedder(Server(server.url, sleep=pauses.append, **options), model, "d")  # type: ignore[arg-type]  # options of several types
    made.pauses = pauses  # type: ignore[attr-defined]  # for the test
    return made


def expected(texts: list[str]) -> np.ndarray:
    rows = np.array([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


TEXTS = [f"text {n} " + "word " * (n * 7 % 23) for n in range(3 * BATCH + 5)]


def test_texts_come_back_in_order_in_batches_and_each_is_sent_once(server: EmbeddingServer) -> None:
    asked = [*TEXTS, *TEXTS[:7]]
    assert np.allclose(embedder(server).encode(asked), expected(asked), atol=1e-6)
    assert sorted(server.texts) == sorted(TEXTS)
    assert max(len(body["input"]) for body in server.requests) == BATCH
    assert {body["model"] for body in server.requests} == {"tiny"}


def test_no_text_is_no_vector_and_odd_texts_are_sent_as_the_protocol_can(server: EmbeddingServer) -> None:
    made = embedder(server)
    assert made.encode([]).shape == (0, DIMENSION) and made.dimension == DIMENSION
    assert made.encode(["", "a \ud800 b"]).shape == (2, DIMENSION)
    assert "" not in server.texts and "a ? b" in server.texts


def test_a_busy_server_is_asked_again_as_it_says(server: EmbeddingServer) -> None:
    replies = [(429, {"retry-after": "7"}, {}), (503, {}, {"error": {"message": "loading"}}), None]
    server.refuse = lambda body: replies.pop(0) if replies else None
    made = embedder(server)
    assert np.allclose(made.encode(["one"]), expected(["one"]), atol=1e-6)
    assert made.pauses == [7.0, 1.0]  # type: ignore[attr-defined]  # see embedder


def test_a_server_that_keeps_failing_is_an_error_that_says_what_is_kept(server: EmbeddingServer) -> None:
    server.refuse = lambda body: (500, {}, {"error": {"message": "broken"}})
    with pytest.raises(RunError, match=r"3 attempts; last: HTTP 500: broken") as caught:
        embedder(server, retries=2).encode(TEXTS)
    assert "the next run goes on" in str(caught.value.mend)


def test_a_batch_that_is_too_large_is_halved(server: EmbeddingServer) -> None:
    server.refuse = lambda body: (413, {}, {"message": "too many"}) if len(body["input"]) > 5 else None
    assert np.allclose(embedder(server).encode(TEXTS), expected(TEXTS), atol=1e-6)


def test_one_text_that_is_too_long_is_an_error_with_its_length(server: EmbeddingServer) -> None:
    server.refuse = lambda body: (400, {}, {"error": {"message": "too long"}}) if "long" in str(body["input"]) else None
    with pytest.raises(DataError, match=r"4,004 characters \(HTTP 400: too long\)") as caught:
        embedder(server).encode(["one", "two", "long" * 1001])
    assert "--chunk-size" in str(caught.value.mend)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_the_model_or_the_protocol(server: EmbeddingServer, status: int) -> None:
    server.refuse = lambda body: (status, {}, {"error": "no such model"})
    kind = RunError if status == 501 else NotFoundError  # 5xx may pass, and is asked again first
    with pytest.raises(kind, match="no such model"):
        embedder(server).encode(["one"])


def test_the_key_is_sent_asked_for_and_never_shown(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse = lambda body: None if server.headers[-1].get("Authorization") == "Bearer s3cret" else (401, {}, {})
    with pytest.raises(UnavailableError, match="a key is needed") as caught:
        embedder(server).encode(["one"])
    assert "OPENAI_API_KEY" in str(caught.value.mend)
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    assert embedder(server).encode(["one"]).shape == (1, DIMENSION)
    server.refuse = lambda body: (500, {}, {"error": {"message": "key s3cret is tired"}})
    with pytest.raises(RunError) as failed:
        embedder(server, retries=0).encode(["one"])
    assert "s3cret" not in str(failed.value)


def test_nothing_there_is_an_error_that_says_so() -> None:
    with embedding_server() as gone:
        url = gone.url
    with pytest.raises(UnavailableError, match="nothing answers"):
        RemoteEmbedder(Server(url), "tiny").encode(["one"])


@pytest.mark.parametrize(
    "reply",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": "text"}]},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [float("nan")]}]},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]},
        {"choices": []},
        [],
        "hello",
    ],
)
def test_what_is_not_the_protocol_is_refused(server: EmbeddingServer, reply: object) -> None:
    server.refuse = lambda body: (200, {}, reply)
    with pytest.raises(RunError, match="not that of an OpenAI embeddings endpoint"):
        embedder(server).encode(["one"])


def test_vectors_of_several_lengths_are_refused(server: EmbeddingServer) -> None:
    lengths = iter(range(1, 100))

    def grow(body: dict) -> tuple:
        length = next(lengths)
        return 200, {}, {"data": [{"index": n, "embedding": [1.0] * length} for n, _ in enumerate(body["input"])]}

    server.refuse = grow
    with pytest.raises(RunError, match="several lengths"):
        embedder(server).encode(TEXTS)


def test_tokens_are_counted_by_the_servers_own_counts(server: EmbeddingServer) -> None:
    made = embedder(server)
    english, japanese = made.count_tokens(["a" * 400, "図" * 400])
    # The server counts a token for every four bytes, so 100 and 300; counted here are some more, never fewer.
    assert 100 <= english <= 150 and 300 <= japanese <= 450
    assert made.unknown_tokens(["x"]) == 0


def test_a_server_that_does_not_count_is_taken_to_have_short_tokens(server: EmbeddingServer) -> None:
    server.usage = False
    assert embedder(server).count_tokens(["a" * 300, "図" * 100, ""]) == [100, 100, 0]


@pytest.mark.parametrize(
    ("models", "limit"),
    [
        ({"data": [{"id": "tiny", "max_model_len": 130}]}, 128),
        ({"data": [{"id": "tiny", "meta": {"n_ctx_train": 2048}}]}, 2046),
        ({"data": [{"id": "other", "max_model_len": 130}]}, CONTEXT - 2),
        ("nothing", CONTEXT - 2),
        (None, CONTEXT - 2),
    ],
)
def test_the_limit_is_what_the_list_of_models_says(server: EmbeddingServer, models: object, limit: int) -> None:
    server.models = models
    assert embedder(server).max_tokens == limit


def test_a_model_is_known_again_through_noise_and_another_is_not(server: EmbeddingServer) -> None:
    first = embedder(server).fingerprint()
    assert first.shape == (len(PROBES), DIMENSION)
    server.noise = 0.01
    assert is_same(first, embedder(server).fingerprint())
    server.noise, server.seed = 0.0, 1
    other = embedder(server).fingerprint()
    assert not is_same(first, other) and space_digest("a", first) != space_digest("a", other)
    assert not is_same(first, first[:, :8])

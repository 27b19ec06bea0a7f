"""Weights as a pickle: read once, apart, as tensors only; and how the Hub's files get there."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file
from support.logits import logits_of
from transformers import AutoModelForCausalLM

from llmkit.errors import DataError, StorageError
from llmkit.models.convert import with_safetensors
from llmkit.models.hub import fetch
from llmkit.models.load import load_model

IDS = torch.arange(8)[None] + 107


@pytest.fixture
def published(saved):
    """The folder of a model as it was published before safetensors: `.bin` files, one or several."""

    def make(name="gpt2", *, shards=False):
        folder = saved(name, shards=shards)
        for path in folder.glob("model*.safetensors"):
            old = path.with_name(path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin"))
            torch.save(load_file(path), old)
            path.unlink()
        index = folder / "model.safetensors.index.json"
        if index.exists():
            text = index.read_text().replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
            (folder / "pytorch_model.bin.index.json").write_text(text)
            index.unlink()
        return folder

    return make


@pytest.mark.parametrize("shards", [False, True])
def test_pickled_weights_are_converted_once_and_are_the_same(shards, published, small_model, tmp_path, monkeypatch):
    folder = published(shards=shards)
    made = with_safetensors(folder, tmp_path / "cache")
    assert not list(made.glob("*.bin*"))
    assert len(list(made.glob("*.safetensors"))) == len(list(folder.glob("*.bin")))
    loaded = load_model(made)
    assert torch.equal(logits_of(loaded.model, IDS), logits_of(small_model("gpt2"), IDS))
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("def f(x):")) == "def f(x):"
    plain = AutoModelForCausalLM.from_pretrained(made)
    assert torch.equal(logits_of(plain, IDS), logits_of(loaded.model, IDS))
    monkeypatch.setattr("llmkit.models.convert.subprocess.run", None)  # the second time reads nothing
    assert with_safetensors(folder, tmp_path / "cache") == made
    assert list((tmp_path / "cache").iterdir()) == [made]


def test_a_tied_output_layer_survives(published, tmp_path):
    folder = published()
    path = folder / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    state["lm_head.weight"] = state["transformer.wte.weight"]  # one storage, as older versions saved it
    torch.save(state, path)
    made = load_file(with_safetensors(folder, tmp_path) / "model.safetensors")
    assert torch.equal(made["lm_head.weight"], made["transformer.wte.weight"])


def test_other_content_is_converted_anew(published, tmp_path):
    folder = published()
    first = with_safetensors(folder, tmp_path / "cache")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_pdrop": 0.3}))
    assert with_safetensors(folder, tmp_path / "cache") != first


def test_a_folder_with_safetensors_or_without_weights_is_left_as_it_is(saved, tmp_path):
    folder = saved()
    (folder / "pytorch_model.bin").write_bytes(b"older, and not looked at")
    assert with_safetensors(folder, tmp_path / "cache") == folder
    assert with_safetensors(tmp_path, tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(published, tmp_path):
    folder = published()
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write({"weight": Evil(str(tmp_path / "ran"))}, folder / "pytorch_model.bin")
        with pytest.raises(DataError, match="cannot be read as plain tensors") as caught:
            with_safetensors(folder, tmp_path / "cache")
        assert "safetensors" in caught.value.mend
    assert not (tmp_path / "ran").exists()
    assert not list((tmp_path / "cache").iterdir())


def test_a_truncated_pickle_is_bad_data(published, tmp_path):
    path = published() / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="plain tensors"):
        with_safetensors(path.parent, tmp_path / "cache")


def test_a_place_that_cannot_be_written_is_said(published, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="could not be converted"):
        with_safetensors(published(), tmp_path / "cache")


def test_a_module_in_the_current_folder_is_not_taken_for_ours(published, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with_safetensors(published(), tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


def test_from_the_hub_pickled_weights_are_fetched_only_where_there_are_no_others(published, saved, monkeypatch):
    asked = []

    def download(folder):
        def snapshot(repository, *, revision, allow_patterns, ignore_patterns):
            asked.append(allow_patterns)
            return str(folder)

        return snapshot

    monkeypatch.setattr("llmkit.models.hub.snapshot_download", download(saved("llama")))
    fetch("org/name")
    assert len(asked) == 1
    assert not any(pattern.endswith(".bin") for pattern in asked[0])
    monkeypatch.setattr("llmkit.models.hub.snapshot_download", download(published()))
    fetch("org/name")
    assert asked[2] == [*asked[1], "pytorch_model*.bin"]

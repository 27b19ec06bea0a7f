from __future__ import annotations

import json

import pytest
import torch
from support.logits import logits_of

from llmkit.errors import DataError, NotFoundError, UnavailableError, UsageError
from llmkit.models.hub import fetch
from llmkit.models.load import load_model, load_tokenizer
from llmkit.models.templates import CHAT_TEMPLATES

IDS = torch.arange(8)[None] + 107


@pytest.mark.parametrize(("name", "objective"), [("gpt2", "causal"), ("bert", "masked"), ("t5", "seq2seq")])
def test_a_saved_model_is_the_same_when_it_is_loaded(name, objective, saved, small_model):
    loaded = load_model(saved(name))
    assert (loaded.objective, loaded.family.name) == (objective, name)
    assert not loaded.model.training
    assert torch.equal(logits_of(loaded.model, IDS), logits_of(small_model(name), IDS))
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("def f(x):")) == "def f(x):"
    assert loaded.context == (32 if name != "t5" else None)


def test_a_truncated_weights_file_is_named(saved):
    folder = saved()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(DataError, match="damaged or incomplete") as caught:
        load_model(folder)
    assert caught.value.where == str(weights)


def test_of_several_weights_files_the_truncated_or_missing_one_is_named(saved):
    folder = saved(shards=True)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    load_model(folder)
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:100])
    with pytest.raises(DataError) as caught:
        load_model(folder)
    assert caught.value.where == str(shards[1])
    shards[1].unlink()
    with pytest.raises(NotFoundError, match="missing") as missing:
        load_model(folder)
    assert missing.value.where == str(shards[1])


def test_weights_of_another_shape_are_bad_data(saved):
    folder = saved()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_embd": 64}))
    with pytest.raises(DataError, match="cannot be loaded"):
        load_model(folder)


@pytest.mark.parametrize("content", ["{", '{"model_type": "nothing-like-it"}', "[]"])
def test_a_damaged_configuration_is_named(content, saved):
    folder = saved()
    (folder / "config.json").write_text(content)
    with pytest.raises(DataError) as caught:
        load_model(folder)
    assert caught.value.where == str(folder / "config.json")


def test_a_model_that_is_no_language_model_is_refused(saved):
    folder = saved()
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(DataError, match="'vit' is no language model"):
        load_model(folder)


def test_pickled_weights_are_refused_with_the_reason(saved):
    folder = saved()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="can run code"):
        load_model(folder)


def test_a_folder_without_a_model_or_tokenizer_says_so(tmp_path):
    with pytest.raises(NotFoundError, match="no model in this folder"):
        load_model(tmp_path)
    with pytest.raises(NotFoundError, match="no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_is_named(saved):
    folder = saved()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="tokenizer cannot be read"):
        load_model(folder)


def test_code_in_a_model_folder_is_never_run(saved, tmp_path):
    folder = saved()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_a_template_gets_that_of_its_family(saved, tokenizer):
    folder = saved("llama")
    (folder / "chat_template.jinja").unlink()
    assert load_model(folder).tokenizer.chat_template == CHAT_TEMPLATES["llama2"]
    folder = saved("gpt2")
    (folder / "chat_template.jinja").unlink()
    assert load_model(folder).tokenizer.chat_template is None


def test_the_hub_switched_off_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match="switched off") as caught:
        fetch("openai-community/gpt2", revision="main")
    assert "HF_HUB_OFFLINE" in caught.value.mend
    assert caught.value.where == "openai-community/gpt2@main"


def test_a_name_that_cannot_be_a_repository_is_a_usage_error():
    with pytest.raises(UsageError, match="no Hub repository"):
        fetch("a/b/c d")

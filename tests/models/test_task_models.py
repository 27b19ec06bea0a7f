from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from llmkit.config.sections import LoraOptions
from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.models.adapters import NewParts, attach, save_adapter
from llmkit.models.task_models import Head, load_for_task, reading_at, with_head

THREE = Head("sequence", ("a", "b", "c"))
TAGS = Head("token", ("O", "B-X"))
IDS = torch.arange(8)[None] + 107
PLAIN = {"sequence": AutoModelForSequenceClassification, "token": AutoModelForTokenClassification}


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def tuned(made, *, method="lora"):
    parts = NewParts(heads=made.new)
    model = attach(made.loaded.model, made.loaded.objective, LoraOptions(rank=4), method=method, new=parts, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "head", "new"),
    [
        ("bert", THREE, ("bert.pooler", "classifier")),
        ("gpt2", THREE, ("score",)),
        ("llama", THREE, ("score",)),
        ("bert", TAGS, ("classifier",)),
        ("llama", TAGS, ("score",)),
    ],
)
def test_a_new_head_is_the_seeds_and_the_rest_is_the_bases(saved, name, head, new):
    folder = saved(name)
    made, again, other = (with_head(folder, head, seed=seed) for seed in (1, 1, 2))
    assert made.new == new
    assert torch.equal(logits(made.loaded.model), logits(again.loaded.model))
    assert not torch.equal(logits(made.loaded.model), logits(other.loaded.model))
    assert made.loaded.model.config.id2label == dict(enumerate(head.labels))
    assert made.loaded.model.config.label2id == {label: number for number, label in enumerate(head.labels)}
    one, two = made.loaded.model.state_dict(), other.loaded.model.state_dict()
    differing = {key for key in one if not torch.equal(one[key], two[key])}
    assert differing
    assert all(key.startswith(new) for key in differing)


def test_drawing_a_head_leaves_the_callers_random_numbers_alone(saved):
    folder = saved("bert")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    with_head(folder, THREE, seed=1)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(("name", "head"), [("bert", THREE), ("gpt2", THREE), ("llama", THREE), ("bert", TAGS)])
def test_plain_peft_and_transformers_load_what_was_saved(saved, tmp_path, name, head, method):
    torch.manual_seed(0)
    folder = saved(name)
    model = tuned(with_head(folder, head, seed=0), method=method)
    save_adapter(model, tmp_path / "adapter")
    plain = PLAIN[head.kind].from_pretrained(folder, num_labels=len(head.labels))
    plain = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.equal(logits(plain), logits(model))
    (tmp_path / "adapter" / "task.json").write_text(json.dumps({"task": "classify", **head.facts()}))
    loaded, facts = load_for_task(folder, adapter=tmp_path / "adapter")
    assert torch.equal(logits(loaded.model), logits(model))
    assert facts["labels"] == list(head.labels)


def test_a_model_that_was_tuned_whole_is_loaded_with_its_head(saved, tmp_path):
    made = with_head(saved("bert"), THREE, seed=3)
    made.loaded.save(tmp_path / "whole")
    (tmp_path / "whole" / "task.json").write_text(json.dumps({"task": "classify", **THREE.facts()}))
    loaded, _ = load_for_task(tmp_path / "whole")
    assert torch.equal(logits(loaded.model), logits(made.loaded.model))
    assert with_head(tmp_path / "whole", THREE, seed=9).new == ()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_causal_model_reads_a_row_at_its_last_token_whatever_its_ids_are(saved, name):
    made = with_head(saved(name), THREE, seed=0)
    model, tokenizer = made.loaded.model, made.loaded.tokenizer
    pad = model.config.pad_token_id
    eos = tokenizer.eos_token_id
    # Texts that end with the pad id, with the end token, and with both, among others of the same lengths.
    rows = [[120, 121, pad], [120, 121, 122, eos], [pad], [120, pad, eos, pad, pad], [130, 131]]
    width = max(map(len, rows))
    alone = []
    for row in rows:
        with reading_at(model, torch.tensor([len(row) - 1])):
            alone.append(logits(model, torch.tensor([row])))
    for filler in (pad, eos, 140):
        ids = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])
        with reading_at(model, torch.tensor([len(row) - 1 for row in rows])):
            together = logits(model, ids)
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    inner = model.transformer if name == "gpt2" else model.model
    with torch.no_grad():
        wanted = model.score(inner(torch.tensor([rows[0]])).last_hidden_state[:, -1])
    torch.testing.assert_close(alone[0], wanted)


def test_reading_at_a_position_ends_with_its_block_and_carries_gradients_through_an_adapter(saved):
    made = with_head(saved("gpt2"), THREE, seed=0)
    model = attach(made.loaded.model, "causal", LoraOptions(rank=2), new=NewParts(heads=made.new), seed=0)
    ids = torch.tensor([[120, 121, 122, 123]])
    before = logits(model, ids)
    with reading_at(model, torch.tensor([1])):
        inside = model(input_ids=ids).logits
        inside.sum().backward()
    assert not torch.allclose(inside, before)
    assert torch.equal(logits(model, ids), before)
    gradient = next(p.grad for key, p in model.named_parameters() if "modules_to_save" in key and p.requires_grad)
    assert gradient.abs().sum() > 0


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(saved, tokenizer):
    folder = saved("llama")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    loaded = with_head(folder, THREE, seed=0).loaded
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == loaded.model.config.pad_token_id
    assert logits(loaded.model, IDS.repeat(2, 1)).shape == (2, 3)


def test_what_takes_no_head_is_refused(saved):
    with pytest.raises(UsageError, match="takes no head of this kind"):
        with_head(saved("t5"), THREE, seed=0)


def test_a_head_with_other_labels_is_not_taken_for_this_one(saved, tmp_path):
    made = with_head(saved("bert"), THREE, seed=0)
    made.loaded.save(tmp_path / "whole")
    with pytest.raises(DataError, match="was tuned for the labels 'a', 'b', 'c', and the data have 'x', 'y', 'z'"):
        with_head(tmp_path / "whole", Head("sequence", ("x", "y", "z")), seed=0)


def test_a_file_that_lacks_weights_of_the_base_is_refused(saved):
    from safetensors.torch import load_file, save_file

    folder = saved("bert")
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"lacks weights of the model: bert\.encoder\.layer\.1"):
        with_head(folder, THREE, seed=0)


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, NotFoundError, "does not say what it was tuned for"),
        ("{", DataError, "damaged"),
        ("[]", DataError, "damaged"),
        ('{"task": "chat"}', DataError, "tuned for 'chat', which has no head"),
    ],
)
def test_an_artifact_that_is_not_of_such_a_task_says_so(saved, content, error, match):
    folder = saved("bert")
    if content is not None:
        (folder / "task.json").write_text(content)
    with pytest.raises(error, match=match):
        load_for_task(folder)


def test_tokenizers_that_frame_nothing_learn_to(saved, tmp_path):
    encoder = with_head(saved("bert"), THREE, seed=0).loaded
    tokenizer = encoder.tokenizer
    bare = tokenizer("return", add_special_tokens=False)["input_ids"]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert tokenizer("return")["input_ids"] == [cls, *bare, sep]
    assert tokenizer("return", "return")["input_ids"] == [cls, *bare, sep, *bare, sep]
    encoder.save(tmp_path / "again")
    again = with_head(tmp_path / "again", THREE, seed=0).loaded.tokenizer
    assert again("return", "return")["input_ids"] == [cls, *bare, sep, *bare, sep]

    causal = with_head(saved("llama"), THREE, seed=0).loaded.tokenizer
    assert causal("return")["input_ids"] == bare
    assert causal("return", "return")["input_ids"] == [*bare, causal.eos_token_id, *bare]

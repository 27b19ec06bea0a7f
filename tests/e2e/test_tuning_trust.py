"""What a fine-tuning run promises: what is learned is seen, one template is used everywhere, a base is known again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit.generation.local import LocalModel
from llmkit.registry.store import Registry
from llmkit.stages.models import find_model, load

QUESTIONS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")


def refused(ran: Any, code: int, *words: str) -> None:
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err + ran.out
    for word in words:
        assert word in ran.err, ran.err


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def chat(*turns: str, first: str = "user") -> dict[str, Any]:
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return {"messages": [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]}


@pytest.fixture(scope="module")
def data(chain: Any) -> tuple[str, str]:
    """Conversations of two turns, and single pairs."""
    chats = [chat(f"Say {one} {n}", f"the {one}", "Again", one) for n in range(5) for one in QUESTIONS]
    pairs = [{"prompt": f"Say {one} {n}", "completion": f" the {one}"} for n in range(5) for one in QUESTIONS]
    return write(chain.folder, "chats.jsonl", chats), write(chain.folder, "pairs.jsonl", pairs)


@pytest.fixture(scope="module")
def plain(chain: Any) -> Path:
    """The base as a folder from elsewhere, whose tokenizer knows no chat: no template, and no control tokens of one."""
    folder = chain.folder / "plain"
    shutil.copytree(
        chain.ok("registry", "show", "base")["path"],
        folder,
        ignore=shutil.ignore_patterns("manifest.json"),
        dirs_exist_ok=True,  # a worker may come back to this module
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    for file in folder.glob("*.json"):
        file.write_text(file.read_text().replace("<|im_start|>", "<|x_1|>").replace("<|im_end|>", "<|x_2|>"))
    return folder


def told(artifact: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(artifact["path"]) / "task.json").read_text())
    return found


def test_a_base_without_a_template_learns_pairs_as_text_and_is_asked_so(chain: Any, data: Any, plain: Path) -> None:
    made = chain.ok("finetune-lora", "--model", plain, "--data", data[1], "--name", "texts", "--steps", 2)
    assert any("no chat template" in warning and "--template chatml" in warning for warning in made["warnings"])
    assert told(made["artifact"])["task"] == "text"
    assert chain("ask", "Say fox 1", "--model", "texts").code == 0


def test_conversations_need_a_template_and_the_error_says_how_to_give_one(chain: Any, data: Any, plain: Path) -> None:
    ran = chain("finetune-lora", "--model", plain, "--data", data[0], "--name", "x", "--steps", 1)
    refused(ran, 4, "chats.jsonl:", "several turns", "--template chatml")
    ran = chain("finetune-lora", "--model", plain, "--data", data[1], "--task", "chat", "--name", "x", "--steps", 1)
    refused(ran, 4, "no chat template", "--template chatml")
    refused(
        chain("finetune-lora", "--model", plain, "--data", data[0], "--template", "chatlm"), 3, "did you mean 'chatml'"
    )


def test_a_given_template_brings_its_tokens_and_stays_with_the_adapter(chain: Any, data: Any, plain: Path) -> None:
    made = chain.ok("finetune-lora", "--model", plain, "--data", data[0], "--template", "chatml", "--name", "spoken",
                    "--epochs", 1, "--lr", 0.01)  # fmt: skip
    folder = Path(made["artifact"]["path"])
    facts = told(made["artifact"])
    assert facts["template"]["name"] == "chatml"
    assert facts["template"]["added"] == ["<|im_start|>", "<|im_end|>"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    seen = chain.ok("finetune-lora", "preview", "--model", "spoken", "--data", data[0], "-n", 1)
    messages = json.loads((chain.folder / data[0]).read_text().splitlines()[0])["messages"]
    assert (
        seen["samples"][0]["rows"][0]["ids"]
        == tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"][:-1]
    )
    # What ask, eval and serve load, and what they then put to the model.
    loaded = load(find_model("spoken", Registry(chain.home)))
    served = LocalModel(loaded.model, loaded.tokenizer, loaded.objective)
    assert hashlib.sha256(served.tokenizer.chat_template.encode()).hexdigest() == facts["template"]["sha256"]
    read = seen["samples"][0]["rows"][0]["ids"]
    asked = served.encode_messages(messages[:1])
    assert asked == read[: len(asked)]
    model = peft.AutoPeftModelForCausalLM.from_pretrained(folder)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert made["check"]["reloaded"] == 0
    assert chain.ok("ask", "Say fox 1", "--model", "spoken", "--max-tokens", 5)["answer"] is not None
    again = chain.ok("finetune-lora", "--model", "spoken", "--data", data[0], "--name", "spoken-on", "--steps", 2)
    assert told(again["artifact"])["template"]["name"] == "chatml"
    refused(
        chain("finetune-lora", "--model", "spoken", "--data", data[0], "--template", "llama3"), 2, "keeps the tokens"
    )


def test_tokens_that_only_the_tokenizer_has_are_learned_too(chain: Any, data: Any, plain: Path) -> None:
    folder = chain.folder / "wider"
    shutil.copytree(plain, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["fox"])
    tokenizer.save_pretrained(folder)
    words = ("finetune-lora", "--model", "./wider", "--data", data[1], "--name", "wider", "--steps", 2)
    made = chain.ok(*words)
    assert any("no embedding for fox" in warning for warning in made["warnings"])
    assert made["check"]["reloaded"] == 0
    model = peft.AutoPeftModelForCausalLM.from_pretrained(made["artifact"]["path"])
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)


def test_another_text_of_a_template_is_another_input(chain: Any, data: Any) -> None:
    file = chain.folder / "own.jinja"
    text = "{% for m in messages %}{{ m.role }}> {{ m.content }}{{ eos_token }}{% endfor %}"
    tail = "{% if add_generation_prompt %}assistant> {% endif %}"
    words = (
        "finetune-lora",
        "--model",
        "base",
        "--data",
        data[0],
        "--template",
        "own.jinja",
        "--steps",
        1,
        "--name",
        "own",
    )
    file.write_text(text + tail)
    assert not chain.ok(*words)["reused"]
    assert chain.ok(*words)["reused"]
    file.write_text("{{ '' }}" + text + tail)
    assert not chain.ok(*words)["reused"]


def test_a_doubled_beginning_is_refused_by_template_and_record(chain: Any, data: Any) -> None:
    (chain.folder / "twice.jinja").write_text(
        "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    ran = chain("finetune-lora", "--model", "base", "--data", data[0], "--template", "twice.jinja", "--steps", 1)
    refused(ran, 4, "chats.jsonl:", "begins with 2", "twice.jinja")


def test_examples_that_teach_no_end_are_refused(chain: Any) -> None:
    name = write(chain.folder, "endless.jsonl", [chat(f"Say {n}", "word " * 60) for n in range(12)])
    words = ("finetune-lora", "--model", "base", "--data", name, "--sequence-length", 40, "--over-length", "truncate")
    refused(chain(*words, "--steps", 1, "--name", "x"), 4, "never learn to stop", "--over-length drop")


def test_how_many_answers_end_is_told_and_can_be_required(chain: Any, data: Any) -> None:
    words = ("finetune-lora", "--model", "base", "--data", data[1], "--task", "text", "--steps", 1, "--name", "stop")
    made = chain.ok(*words)
    ending = made["ending"]
    assert ending["of"] >= 2
    assert ending["share"] == ending["ended"] / ending["of"] == made["metrics"]["ended_share"]
    assert ending["ended"] == 0, "an untrained model does not end"
    assert any("when to stop" in warning for warning in made["warnings"])
    before = chain.ok("registry", "list")["artifacts"]
    refused(chain(*words, "--require-eos"), 6, "--require-eos", "when to stop")
    assert chain.ok("registry", "list")["artifacts"] == before


def test_packing_learns_the_same_tokens_in_fewer_rows(chain: Any, data: Any) -> None:
    words = ("finetune-lora", "--model", "base", "--data", data[0], "--epochs", 1, "--batch-size", 2)
    apart = chain.ok(*words, "--name", "apart")["metrics"]
    together = chain.ok(*words, "--name", "together", "--packing")["metrics"]
    assert together["trained_tokens"] == apart["trained_tokens"]
    assert together["steps"] < apart["steps"] / 2


def test_what_an_option_means_nothing_for_is_said(chain: Any) -> None:
    rows = [{"prompt": f"Say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(12)]
    name = write(chain.folder, "prefer.jsonl", rows)
    ran = chain("finetune-lora", "--model", "base", "--data", name, "--packing", "--steps", 1)
    refused(ran, 2, "--packing means nothing")


def test_an_adapter_is_refused_where_its_base_has_changed(chain: Any, data: Any, plain: Path) -> None:
    base = chain.folder / "moving"
    shutil.copytree(plain, base)
    chain.ok("finetune-lora", "--model", "./moving", "--data", data[1], "--name", "moved", "--steps", 1)
    assert chain("ask", "Say fox 1", "--model", "moved", "--max-tokens", 4).code == 0
    weights = load_file(base / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, base / "model.safetensors", metadata={"format": "pt"})
    refused(chain("ask", "Say fox 1", "--model", "moved"), 4, "made for another base", "restore the base")
    refused(chain("finetune-lora", "--model", "moved", "--data", data[1], "--steps", 1), 4, "made for another base")
    shutil.rmtree(base)
    refused(chain("ask", "Say fox 1", "--model", "moved"), 3, "no folder on this machine")


def test_an_adapter_saved_by_plain_peft_is_used_and_tuned_further(chain: Any, data: Any, plain: Path) -> None:
    torch.manual_seed(0)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(plain),
        peft.LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["c_attn"], init_lora_weights=False),
    )
    folder = chain.folder / "foreign"
    model.save_pretrained(folder)
    from llmkit.models.load import load_model
    from llmkit.stages import models

    class NoRegistry:
        pass

    found = models.find_model(str(folder), NoRegistry())  # type: ignore[arg-type]  # a folder needs none
    base, adapter = models.folders_of(found)
    assert (base, adapter) == (plain, folder)
    ids = torch.arange(9)[None] + 50
    with torch.no_grad():
        ours = load_model(base, adapter=adapter).model(input_ids=ids).logits
        assert torch.equal(ours, model.eval()(input_ids=ids).logits)
    assert chain("ask", "Say fox 1", "--model", "./foreign", "--max-tokens", 4).code == 0
    made = chain.ok("finetune-lora", "--model", "./foreign", "--data", data[1], "--name", "adopted", "--steps", 1)
    assert json.loads((Path(made["artifact"]["path"]) / "adapter_config.json").read_text())["r"] == 4
    refused(chain("finetune-lora", "--model", "./foreign", "--data", data[1], "--rank", 8), 2, "has rank 4")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "some/where"}))
    refused(chain("ask", "x", "--model", "./foreign"), 3, "some/where", "base_model_name_or_path")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (chat("hi", "ho", "he", ""), "turn 4 (assistant) is empty"),
        ({"messages": [{"role": "user", "content": "a"}] * 2 + [{"role": "assistant", "content": "b"}]}, "turn 2"),
        (chat("first", "then", first="assistant"), "turn 1 is the assistant's"),
        ({"prompt": "x", "completion": "y"}, "the file began with messages"),
        ({"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "b"}]}, "robot"),
    ],
)
def test_a_bad_conversation_is_named_by_its_line_with_the_mend(chain: Any, row: dict[str, Any], said: str) -> None:
    name = write(chain.folder, "bad.jsonl", [chat("hi", "ho"), row])
    refused(
        chain("finetune-lora", "--model", "base", "--data", name, "--steps", 1),
        4,
        "bad.jsonl:2",
        said,
        "--bad-rows drop",
    )

"""`llmkit merge` and `llmkit export` as their users call them, on what a small chain has made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TUNED = ("--steps", 3, "--lr", 2e-3, "--over-length", "drop")


@pytest.fixture(scope="module")
def tuned(chain: Any) -> Any:
    """The chain, with a llama, two adapters of it of different ranks, and one adapter of the chain's own base (bot)."""
    chain.ok("pretrain", "--data", "corpus", "--family", "llama", "--name", "llama", "--steps", 4,
             "--sequence-length", 128)  # fmt: skip
    chain.ok("finetune-lora", "--model", "llama", "--data", "pairs", "--name", "one", *TUNED)
    chain.ok("finetune-lora", "--model", "llama", "--data", "pairs", "--name", "two", "--rank", 4, "--seed", 1, *TUNED)
    return chain


def folder(result: dict[str, Any]) -> Path:
    return Path(result["artifact"]["path"])


def said(text: str) -> Any:
    return json.loads(text)["error"]


def test_a_merged_adapter_is_a_model_that_all_commands_take(tuned: Any) -> None:
    result = tuned.ok("merge", "one", "--name", "whole")
    assert result["artifact"]["kind"] == "model"
    assert result["check"]["merged"] <= result["check"]["tolerance"] < result["check"]["changed"]
    model = AutoModelForCausalLM.from_pretrained(folder(result))
    assert AutoTokenizer.from_pretrained(folder(result)).chat_template
    assert not any("lora" in name for name in model.state_dict())
    roles = {used["role"]: used["ref"] for used in tuned.ok("registry", "show", "whole")["inputs"]}
    assert roles == {"adapter": "one@1", "base": "llama@1"}
    assert "base_model: llama" in (folder(result) / "README.md").read_text()
    asked = [tuned.ok("ask", "What?", "--model", name, "--max-tokens", 8)["answer"] for name in ("one", "whole")]
    assert asked[0] == asked[1]
    assert tuned.ok("merge", "one", "--name", "whole")["reused"] is True


def test_adapters_add_up_by_their_weights(tuned: Any) -> None:
    base = Path(tuned.ok("registry", "show", "llama")["path"])
    alone = [folder(tuned.ok("merge", name, "--name", f"{name}-alone")) for name in ("one", "two")]
    both = folder(tuned.ok("merge", "one", "two", "--weights", "0.7,0.3", "--name", "soup"))
    start, found = load_file(base / "model.safetensors"), load_file(both / "model.safetensors")
    merged = [load_file(each / "model.safetensors") for each in alone]
    for name, value in start.items():
        wanted = value + 0.7 * (merged[0][name] - value) + 0.3 * (merged[1][name] - value)
        assert torch.allclose(found[name], wanted, atol=1e-6), name


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("one", "bot"), 4, "one was made for llama@1, and bot for base@1"),
        (("llama",), 2, "llama is a whole model"),
        (("one", "two", "--weights", "1"), 2, "2 adapters need as many weights"),
        (("one", "one", "--weights", "1,1"), 2, "named twice"),
        (("none-such",), 3, "none-such"),
    ],
)
def test_what_cannot_be_merged_is_refused(words: tuple[str, ...], code: int, message: str, tuned: Any) -> None:
    ran = tuned("merge", *words, "--json")
    assert ran.code == code
    assert message in said(ran.out)["message"]
    assert said(ran.out)["mend"]


def test_an_adapter_leaves_as_transformers_files(tuned: Any) -> None:
    result = tuned.ok("export", "one", "--to", "merged", "--out", "out/merged")
    out = tuned.folder / "out" / "merged"
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "llama"
    record = json.loads((out / "llmkit-export.json").read_text())
    assert {used["ref"] for used in record["inputs"]} == {"one@1", "llama@1"}
    assert {file["name"] for file in result["files"]} == {
        path.name for path in out.iterdir() if path.name != "llmkit-export.json"
    }
    assert result["artifact"] is None


def test_a_gguf_file_holds_the_model_and_its_tokenizer(tuned: Any) -> None:
    gguf = pytest.importorskip("gguf")
    result = tuned.ok("export", "one", "--to", "ollama", "--out", "out/ollama", "--system", "Answer in one line.")
    out = tuned.folder / "out" / "ollama"
    (file,) = out.glob("*.gguf")
    found = {name: field.contents() for name, field in gguf.GGUFReader(str(file)).fields.items()}
    assert (found["general.architecture"], found["tokenizer.ggml.pre"]) == ("llama", "dbrx")
    lines = (out / "Modelfile").read_text()
    assert lines.startswith(f"FROM ./{file.name}\n")
    assert 'PARAMETER stop "<|im_end|>"' in lines
    assert 'SYSTEM """Answer in one line."""' in lines
    assert result["metrics"]["tensors"] > 10


def test_an_onnx_graph_and_its_int8_form_run(tuned: Any) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    result = tuned.ok("export", "one", "--to", "onnx", "--int8", "--out", "out/onnx")
    out = tuned.folder / "out" / "onnx"
    whole = AutoModelForCausalLM.from_pretrained(folder(tuned.ok("merge", "one", "--name", "whole"))).eval()
    ids = AutoTokenizer.from_pretrained(out)("def read(path):\n    return path.read_text()", return_tensors="pt")
    feeds = {"input_ids": ids["input_ids"].numpy(), "attention_mask": ids["attention_mask"].numpy()}
    with torch.no_grad():
        wanted = whole(ids["input_ids"]).logits.numpy()
    exact, small = (runtime.InferenceSession(str(out / name)).run(None, feeds)[0] for name in
                    ("model.onnx", "model-int8.onnx"))  # fmt: skip
    assert np.abs(exact - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert (small.argmax(-1) == wanted.argmax(-1)).mean() > 0.8
    assert result["metrics"]["int8_ratio"] < 0.5


def test_a_place_that_is_taken_is_refused_before_any_work(tuned: Any) -> None:
    (tuned.folder / "mine").mkdir(exist_ok=True)
    (tuned.folder / "mine" / "notes.txt").write_text("mine")
    for more in ((), ("--overwrite",)):
        ran = tuned("export", "one", "--to", "merged", "--out", "mine", *more, "--json")
        assert ran.code == 2
        assert "no export made" in said(ran.out)["message"]
    assert [path.name for path in (tuned.folder / "mine").iterdir()] == ["notes.txt"]


def test_an_architecture_without_gguf_is_refused_with_what_to_do_and_leaves_nothing(tuned: Any) -> None:
    ran = tuned("export", "bot", "--to", "gguf", "--out", "out/none", "--json")
    assert ran.code == 2
    assert "gpt2" in said(ran.out)["message"]
    assert "--to onnx" in said(ran.out)["mend"]
    assert not list((tuned.folder / "out").glob("*none*")) + list((tuned.folder / "out").glob(".*none*"))

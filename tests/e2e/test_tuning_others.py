"""Preference pairs, encoders and seq2seq models through the real command, and what others make of the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WORDS = ("red", "green", "blue", "black", "white", "brown")
FRUIT = ("cherry", "lime", "plum", "currant", "melon", "date")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of models with random weights, by the names of their families."""
    from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
    from llmkit.models.build import SpecialIds, new_model

    folder = tmp_path_factory.mktemp("models")
    texts = [f"say {word} {n} and then {word} please, no thank you" for n in range(9) for word in WORDS]
    tokenizer = train_tokenizer(texts, 400).tokenizer
    small: dict[str, dict[str, object]] = {
        "llama": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128},
        "bert": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128},
        "t5": {"d_model": 64, "num_layers": 1, "num_decoder_layers": 1, "d_kv": 16, "d_ff": 128},
    }
    for name, overrides in small.items():
        ids = SpecialIds.of(tokenizer)
        model = new_model(
            name, "tiny", vocab_size=len(tokenizer), ids=ids, sequence_length=96, seed=0, overrides=overrides
        )
        model.save_pretrained(folder / name)
        save_tokenizer(tokenizer, folder / name)
    return folder


def rows(file: Path, made: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return file


def scores(result: dict[str, Any]) -> dict[str, Any]:
    stored = json.loads((Path(result["artifact"]["path"]) / "result.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = stored["payload"]["scores"] if "payload" in stored else stored["scores"]
    return found


def test_pairs_that_were_held_out_are_told_apart_and_the_base_stays_the_measure(cli: Any, tiny: Path) -> None:
    file = rows(
        cli.folder / "prefs.jsonl",
        [
            {"prompt": f"say {word} {n}", "chosen": f"{word} please", "rejected": f"no {word}"}
            for n in range(20)
            for word in WORDS
        ],
    )
    made = cli.ok(
        *("finetune-lora", "--model", tiny / "llama", "--data", file, "--name", "pref", "--lr", 3e-3),
        *("--epochs", 2, "--beta", 0.2),
    )
    assert made["metrics"]["initial_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert made["metrics"]["preference_accuracy"] > 0.9
    found = scores(made)["preference_accuracy"]
    assert found["before"] == 0.5 and found["difference_ci"][0] > 0.2
    facts = json.loads((Path(made["artifact"]["path"]) / "task.json").read_text(encoding="utf-8"))
    assert (facts["task"], facts["tuned"], facts["beta"]) == ("chat", "dpo", 0.2)


def test_all_weights_are_trained_against_the_model_as_it_was(cli: Any, tiny: Path) -> None:
    file = rows(
        cli.folder / "prefs.jsonl",
        [{"prompt": f"say {word} {n}", "chosen": word, "rejected": f"no {n}"} for n in range(8) for word in WORDS],
    )
    made = cli.ok(
        *("finetune-lora", "--model", tiny / "llama", "--data", file, "--name", "all", "--method", "full"),
        *("--task", "dpo", "--lr", 1e-3, "--epochs", 2),
    )
    assert made["artifact"]["kind"] == "model"
    assert made["metrics"]["initial_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert made["metrics"]["loss"] < 0.6


def test_a_tuned_encoder_finds_more_and_sentence_transformers_and_an_index_read_it(cli: Any, tiny: Path) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    file = rows(
        cli.folder / "pairs.jsonl",
        [{"prompt": f"{n} {a}", "completion": b} for n in range(20) for a, b in zip(WORDS, FRUIT, strict=True)],
    )
    options = ("--task", "embed", "--batch-size", 24, "--lr", 3e-3, "--epochs", 6, "--data", file)
    adapter = cli.ok("finetune-lora", "--model", tiny / "bert", "--name", "near", *options)
    found = scores(adapter)["mrr"]
    assert found["after"] > found["before"] and found["difference_ci"][0] > 0
    whole = cli.ok("finetune-lora", "--model", tiny / "bert", "--name", "whole", "--method", "full", *options)
    texts = ["3 red", "cherry", "plum"]
    for made in (adapter, whole):
        first, second, third = SentenceTransformer(made["artifact"]["path"]).encode(texts)
        assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
        assert first @ second > first @ third
    docs = cli.folder / "docs"
    docs.mkdir()
    (docs / "colours.md").write_text("# Red\n\nA cherry is red.\n\n# Blue\n\nA plum is blue.\n", encoding="utf-8")
    index = cli.ok("index", docs, "--name", "kb", "--embedder", whole["artifact"]["path"], "--chunk-size", 32,
                   "--overlap", 4)  # fmt: skip
    assert index["metrics"]["chunks"] >= 1


def test_a_seq2seq_adapter_is_learned_and_plain_peft_reads_it(cli: Any, tiny: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    from llmkit.models.load import load_model

    file = rows(
        cli.folder / "pairs.jsonl",
        [{"prompt": f"say {word} {n}", "completion": f"{word} please"} for n in range(20) for word in WORDS],
    )
    made = cli.ok(
        *("finetune-lora", "--model", tiny / "t5", "--data", file, "--name", "writes", "--lr", 1e-2, "--epochs", 4)
    )
    assert made["metrics"]["loss"] < 0.5 * made["metrics"]["initial_loss"]
    folder = Path(made["artifact"]["path"])
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"
    theirs = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(tiny / "t5"), folder).eval()
    ours = load_model(tiny / "t5", adapter=folder)
    given = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "decoder_input_ids": torch.tensor([[0, 9, 10]])}
    with torch.no_grad():
        assert torch.equal(theirs(**given).logits, ours.model(**given).logits)


PAIR = {"prompt": "say red", "completion": "red"}
PREFERENCE = {"prompt": "say red", "chosen": "red", "rejected": "blue"}
TURNS = [{"role": role, "content": "say red"} for role in ("user", "assistant", "user", "assistant")]


@pytest.mark.parametrize(
    ("model", "row", "options", "code", "said"),
    [
        ("llama", PREFERENCE | {"rejected": "red"}, (), 4, "'chosen' and 'rejected' are the same"),
        ("llama", PREFERENCE | {"chosen": "red " * 200}, (), 4, "longer answer of"),
        (
            "llama",
            PREFERENCE | {"chosen": "red "},
            ("--over-length", "split", "--sequence-length", 4),
            2,
            "--over-length split",
        ),
        ("llama", PAIR, ("--beta", 0.3), 2, "--beta is for preference pairs"),
        ("bert", PAIR, ("--task", "embed", "--micro-batch-size", 2), 2, "that is another loss"),
        ("bert", {"messages": TURNS}, ("--task", "embed"), 4, "a conversation of 4 turns"),
        ("bert", PAIR, ("--task", "embed"), 4, "nothing to tell apart"),
        ("t5", PREFERENCE, ("--task", "dpo"), 2, "seq2seq model cannot be tuned"),
        ("t5", {"text": "say red"}, (), 4, "a model that reads and writes needs a prompt"),
        ("t5", PAIR | {"completion": "red " * 200}, ("--sequence-length", 32), 4, "is longer than the limit of 32"),
        ("llama", PAIR, ("--task", "seq2seq"), 2, "no encoder and decoder"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_trained(
    cli: Any, tiny: Path, model: str, row: Any, options: Any, code: int, said: str
) -> None:
    file = rows(cli.folder / "data.jsonl", [row, row])
    ran = cli("finetune-lora", "--model", tiny / model, "--data", file, "--steps", 1, *options)
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert "hint:" in ran.err
    if code == 4 and "apart" not in said:
        assert "data.jsonl:1" in ran.err


def test_the_name_of_the_only_file_does_not_hold_it_out_but_its_rows_may(cli: Any, tiny: Path) -> None:
    made = [PREFERENCE | {"prompt": f"say {n}"} for n in range(12)]
    asked = ("finetune-lora", "--model", tiny / "llama", "--steps", 1, "--compile", "off")
    told = cli.ok(*asked, "--data", rows(cli.folder / "prefs_dev.jsonl", made))
    assert told["examples"]["train"] > 0 < told["examples"]["validation"]
    ran = cli(*asked, "--data", rows(cli.folder / "prefs.jsonl", [row | {"split": "test"} for row in made]))
    assert (ran.code, "prefs.jsonl: its rows say that all of them are held out" in ran.err) == (4, True), ran.err

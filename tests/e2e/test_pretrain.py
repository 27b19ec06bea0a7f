"""`llmkit pretrain` as its users call it: several datasets, early stopping, what is published, damaged data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.texts import prose
from transformers import AutoModelForCausalLM, AutoTokenizer

SHORT = ("--sequence-length", 64, "--batch-size", 4)


@pytest.fixture(scope="module")
def prose_too(chain: Any) -> Any:
    """The chain, with a dataset of one document beside its corpus."""
    (chain.folder / "tale.txt").write_text("\n\n".join(prose(seed) for seed in range(40)))
    chain.ok("preprocess", "tale.txt", "--name", "tale", "--tokenizer", "corpus-tokenizer")
    return chain


def folder(result: dict[str, Any]) -> Path:
    return Path(result["artifact"]["path"])


def test_several_datasets_are_read_by_weight_and_measured_apart(prose_too: Any) -> None:
    result = prose_too.ok(
        "pretrain", "--data", "corpus,tale", "--weights", "1,3", "--steps", 6, "--name", "mixed", *SHORT
    )
    told = {part["ref"]: part for part in result["datasets"]}
    assert told["corpus"]["share"] == 0.25
    assert told["tale"]["share"] == 0.75
    assert told["tale"]["epochs"] * told["tale"]["tokens"] > told["corpus"]["epochs"] * told["corpus"]["tokens"]
    assert set(result["evaluations"][-1]["parts"]) == {"corpus", "tale"}
    lineage = {used["role"] for used in prose_too.ok("registry", "show", "mixed")["inputs"]}
    assert {"data", "data-2", "tokenizer"} <= lineage


def test_one_document_gives_its_tail_for_validation(prose_too: Any) -> None:
    result = prose_too.ok("pretrain", "--data", "tale", "--steps", 3, "--hold-out", 0.2, "--name", "tailed", *SHORT)
    part = result["datasets"][0]
    assert part["held_out"] == pytest.approx(0.2 * (part["tokens"] + part["held_out"]), abs=1)
    assert result["evaluations"][0]["tokens"] == part["held_out"] - 1
    assert "bits_per_byte" in result["metrics"]
    none = prose_too.ok("pretrain", "--data", "tale", "--steps", 2, "--hold-out", 0, "--name", "whole-tale", *SHORT)
    assert none["evaluations"] == []


def test_the_best_weights_are_published_and_the_last_come_along(prose_too: Any) -> None:
    """A small model on a little text, with a high learning rate: the held-out loss rises again."""
    words = ("--steps", 200, "--eval-every", 5, "--lr", 0.02, "--schedule", "constant", "--patience", 2, "--spike", 0)
    result = prose_too.ok("pretrain", "--data", "tale", *words, "--name", "early", *SHORT)
    losses = {e["step"]: e["loss"] for e in result["evaluations"]}
    last = max(losses)
    assert last < 200
    assert "stopped early" in result["stopped"]
    best = result["best_step"]
    assert best == result["published_step"] == min(losses, key=losses.__getitem__) == last - 10
    assert result["metrics"]["loss"] == losses[best]
    assert result["metrics"]["last_loss"] == losses[last]
    published, kept = folder(result), folder(result) / "last"
    one, other = (load_file(path / "model.safetensors") for path in (published, kept))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    ids = AutoTokenizer.from_pretrained(kept)("def main(", return_tensors="pt").input_ids
    assert AutoModelForCausalLM.from_pretrained(kept)(ids).logits.isfinite().all()


def test_isolation_is_part_of_what_was_made_and_refused_where_it_cannot_be(prose_too: Any) -> None:
    result = prose_too.ok("pretrain", "--data", "corpus", "--steps", 2, "--isolate", "--name", "apart", *SHORT)
    assert not result["reused"]
    refused = prose_too(
        "pretrain", "--data", "corpus", "--steps", 2, "--isolate", "--family", "bloom", "--name", "x", *SHORT
    )
    assert refused.code == 2
    assert "cannot keep the documents of a row apart" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--data", "corpus,tale", "--weights", "1"), 2, "1 values for 2 datasets"),
        (("--data", "corpus,tale", "--weights", "1,0"), 2, "must be positive"),
        (("--data", "corpus,tale", "--weights", "1,x"), 2, "must be a number"),
        (("--data", "corpus,corpus"), 2, "twice"),
        (("--data", "corpus,nowhere"), 3, "nowhere"),
        (("--data", "corpus,pairs"), 4, "texts are needed"),
        (("--data", "tale", "--batch-size", 500), 4, "too little text for one batch"),
        (("--data", "tale", "--hold-out", 0, "--patience", 2), 2, "nothing is held out"),
    ],
)
def test_what_cannot_be_mixed_or_held_out_is_refused(
    prose_too: Any, words: tuple[object, ...], code: int, said: str
) -> None:
    ran = prose_too("pretrain", "--steps", 2, "--name", "x", "--sequence-length", 64, *words)
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err


def test_a_damaged_shard_is_named_whichever_it_is(prose_too: Any) -> None:
    home = prose_too.home
    words = ("pretrain", "--data", "tale", "--steps", 1, "--name", "x", *SHORT)
    store = next(
        path.parent
        for path in (home / "cache" / "tokens").rglob("meta.json")
        if json.loads(path.read_text())["splits"]["validation"]["tokens"] == 0
    )
    documents = Path(prose_too.ok("registry", "show", "tale")["path"]) / "documents.parquet"
    for file in (store / "train.bin", documents):
        saved = file.read_bytes()
        flipped = bytearray(saved)
        flipped[len(saved) // 2] ^= 1
        file.chmod(0o644)
        file.write_bytes(flipped)
        ran = prose_too(*words)
        file.write_bytes(saved)
        assert ran.code == 4, ran.err
        assert file.name in ran.err
        assert "hint" in ran.err

"""`finetune-lora` on labels, values and tags by the real command line, on a tiny encoder and a tiny decoder."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.tiny import tiny_model

GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "awful", "poor", "sad"]
QUICK = ("--compile", "off", "--precision", "fp32", "--lr", "0.003", "--eval-every", "0")


def sentences(path: Path, count: int = 160, *, values: bool = False) -> Path:
    draw = random.Random(3)
    rows = []
    for number in range(count):
        kind = number % 2
        words = [draw.choice((BAD, GOOD)[kind]) for _ in range(draw.randint(1, 5))]
        label = kind * 4 - 1.5 if values else ("negative", "positive")[kind]
        rows.append({"text": f"{' '.join(words)} {number}", "label": label})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_classes_are_learned_and_plain_peft_says_the_same(cli, family):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = tiny_model(cli.folder / family, family, [*GOOD, *BAD])
    data = sentences(cli.folder / "rows.jsonl")
    words = ("finetune-lora", "--model", base, "--data", data, "--name", "mood", *QUICK)
    result = cli.ok(*words, "--epochs", 8, "--batch-size", 8)
    score = result["scores"]["accuracy"]
    assert score["after"] == 1.0
    assert score["before"] < 0.8
    assert score["difference_ci"][0] > 0
    assert result["answers"][0]["tuned"] == result["answers"][0]["gold"]
    artifact = Path(result["artifact"]["path"])
    facts = json.loads((artifact / "task.json").read_text())
    assert (facts["task"], facts["labels"]) == ("classify", ["negative", "positive"])

    tokenizer = AutoTokenizer.from_pretrained(artifact)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    plain.config.pad_token_id = tokenizer.pad_token_id
    plain = PeftModel.from_pretrained(plain, artifact).eval()
    batch = tokenizer(["good lovely", "sad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert plain(**batch).logits.argmax(-1).tolist() == [1, 0]
    assert cli.ok(*words, "--epochs", 8, "--batch-size", 8)["reused"]


def test_values_are_learned_by_a_model_that_is_tuned_whole(cli):
    base = tiny_model(cli.folder / "llama", "llama", [*GOOD, *BAD])
    data = sentences(cli.folder / "stars.jsonl", values=True)
    asked = ("finetune-lora", "--model", base, "--data", data, "--name", "stars", *QUICK)
    ran = cli(*asked)
    assert ran.code == 2
    assert "--task regress" in ran.err
    result = cli.ok(*asked, "--task", "regress", "--method", "full", "--epochs", 8)
    assert result["scores"]["rmse"]["after"] < 0.5 < 1.5 < result["scores"]["rmse"]["before"]
    assert result["scores"]["r2"]["after"] > 0.9


def test_tags_are_learned_from_spans(cli):
    base = tiny_model(cli.folder / "bert", "bert", ["Ann Bob Carl met in Oslo Rome today", *GOOD])
    draw, rows = random.Random(0), []
    for number in range(160):
        who, where = draw.choice(["Ann", "Bob", "Carl"]), draw.choice(["Oslo", "Rome"])
        text = f"{who} met {draw.choice(GOOD)} in {where} {number}"
        start = text.index(where)
        rows.append({"text": text, "spans": [[0, len(who), "PER"], [start, start + len(where), "LOC"]]})
    data = cli.folder / "names.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    cli.ok("preprocess", data, "--for", "tag", "--name", "names")
    ran = cli("finetune-lora", "--model", base, "--data", "names", "--name", "tagger", *QUICK, "--epochs", 8)
    assert ran.code == 0, ran.err
    assert "span f1 1.000" in ran.out + ran.err
    assert "PER:" in ran.out + ran.err


@pytest.mark.parametrize(
    ("rows", "options", "code", "said"),
    [
        ([{"text": "a", "label": "x"}, {"text": "", "label": "y"}], (), 4, "rows.jsonl:2: 'text' is empty"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], (), 4, "rows.jsonl:2: it has no field 'label'"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], (), 4, "nothing to tell apart"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "1"}], ("--task", "regress"), 4, "'x' is no number"),
        ([{"tokens": ["a", "b"], "tags": ["O"]}], (), 4, "rows.jsonl:1: it has 2 tokens and 1 tags"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], ("--over-length", "split"), 2, "drop or truncate"),
    ],
)
def test_bad_input_is_refused_with_its_line_and_exit_code(cli, rows, options, code, said):
    base = tiny_model(cli.folder / "bert", "bert", GOOD)
    data = cli.folder / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ran = cli("finetune-lora", "--model", base, "--data", data, "--name", "x", *options)
    assert ran.code == code, ran.err
    assert said in " ".join(ran.err.split())
    assert "hint:" in ran.err

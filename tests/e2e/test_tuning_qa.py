"""`finetune-lora` on questions with contexts by the real command line, on a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.reading import as_squad, save_encoder, toy_questions, toy_tokenizer
from support.tiny import tiny_model

QUICK = ("--compile", "off", "--precision", "fp32", "--lr", "0.003", "--eval-every", "0", "--batch-size", "16")


@pytest.fixture
def base(cli):
    return save_encoder(cli.folder / "encoder", toy_tokenizer())


def squad(path: Path, count: int, **given) -> Path:
    path.write_text(json.dumps(as_squad(toy_questions(count, **given))))
    return path


def test_a_reader_points_at_answers_of_articles_it_has_not_seen(cli, base):
    data = squad(cli.folder / "toy.json", 600, titles=12)
    asked = ("finetune-lora", "--model", base, "--data", data, "--name", "reader", *QUICK)
    result = cli.ok(*asked, "--method", "full", "--epochs", 12)
    scores = result["scores"]
    assert scores["f1"]["after"] > 0.9 and scores["f1"]["difference_ci"][0] > 0
    assert scores["answerable_exact_match"]["after"] > 0.9 and scores["answerable_exact_match"]["before"] == 0
    assert scores["located_f1"]["after"] >= scores["answerable_f1"]["after"]
    assert scores["no_answer_accuracy"]["before"] == 1
    assert result["details"]["compared_with"] == "never answering"
    # Whole articles are held out: 50 questions on each.
    assert result["examples"]["validation"] % 50 == 0 < result["examples"]["validation"]

    from llmkit.models.reading import Reader

    reader = Reader.open(Path(result["artifact"]["path"]))
    assert reader.limit == 64 and reader.threshold == result["details"]["threshold"]
    context = "one day we saw sea lion and went on."
    found = reader.answer("Which animal?", context)
    assert found and context[found.start : found.end] == found.text == "sea lion"
    assert reader.answer("Which city?", context) is None


def test_plain_peft_reads_the_adapter_and_computes_the_same(cli, base):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    data = squad(cli.folder / "toy.json", 60)
    asked = ("finetune-lora", "--model", base, "--data", data, "--name", "reader", *QUICK, "--epochs", 2)
    ran = cli.ok(*asked)
    artifact = Path(ran["artifact"]["path"])
    plain = PeftModel.from_pretrained(AutoModelForQuestionAnswering.from_pretrained(base), artifact).eval()
    tokenizer = AutoTokenizer.from_pretrained(artifact)

    from llmkit.models.task_models import load_for_task

    ours = load_for_task(base, adapter=artifact)[0].model.eval()
    encoded = tokenizer("Which colour?", "one dark green day.", return_tensors="pt")
    with torch.no_grad():
        left, right = plain(**encoded), ours(**encoded)
    assert torch.equal(left.start_logits, right.start_logits)
    assert torch.equal(left.end_logits, right.end_logits)
    assert cli.ok(*asked)["reused"]
    further = cli("finetune-lora", "--model", "reader", "--data", data, "--name", "more", *QUICK, "--epochs", 1)
    assert further.code == 0, further.err
    labels = cli.folder / "labels.jsonl"
    labels.write_text("".join(json.dumps({"text": f"red {n}", "label": "ab"[n % 2]}) + "\n" for n in range(20)))
    other = cli("finetune-lora", "--model", "reader", "--data", labels, "--name", "other")
    assert other.code == 4 and "tuned for the task 'qa'" in other.err


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_reads_too_and_its_adapter_is_plain_pefts(cli, family):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForQuestionAnswering

    rows = toy_questions(60)
    folder = tiny_model(cli.folder / family, family, [f"{question} {context}" for question, context, _, _ in rows])
    data = squad(cli.folder / "toy.json", 60)
    ran = cli("finetune-lora", "--model", folder, "--data", data, "--name", "reader", *QUICK, "--epochs", 1, "--json")
    assert ran.code == 0, ran.err
    named = {r"^model\.": "transformer."} if family == "llama" else None
    assert ("key_mapping" in str(ran.json["warnings"])) == bool(named)
    artifact = Path(ran.json["artifact"]["path"])

    from llmkit.models.task_models import load_for_task

    ours = load_for_task(folder, adapter=artifact)[0].model.eval()
    base = AutoModelForQuestionAnswering.from_pretrained(folder, **({"key_mapping": named} if named else {}))
    plain = PeftModel.from_pretrained(base, artifact).eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids).end_logits, ours(input_ids=ids).end_logits)


def row(**changed):
    fine = {"question": "Which?", "context": "the red fox", "answers": {"text": ["red"], "answer_start": [4]}}
    return {**fine, **changed}


@pytest.mark.parametrize(
    ("rows", "options", "code", "said"),
    [
        (
            [row(), row(answers={"text": ["blue"], "answer_start": [4]})],
            (),
            4,
            "rows.jsonl:2: the answer 'blue' is not in its context",
        ),
        ([row(), row(question="far " * 40)], (), 4, "a question of 40 tokens"),
        ([row(), row()], ("--over-length", "split"), 2, "windows anyway"),
        ([row(), row()], ("--task", "classify"), 4, "questions"),
        ([row(), row()], ("--sequence-length", "9000"), 2, "context of 64 tokens"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(cli, base, rows, options, code, said):
    (cli.folder / "rows.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    ran = cli("finetune-lora", "--model", base, "--data", "rows.jsonl", "--name", "reader", *options)
    assert ran.code == code, ran.err
    assert said in " ".join(ran.err.split())
    assert "Traceback" not in ran.err

"""The six commands on real text, by their documented flags, as a user's script would call them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest


def test_every_stage_left_its_artifact_and_all_files_verify(chain: Any) -> None:
    listed = chain.ok("registry", "list")["artifacts"]
    kinds = {artifact["ref"].partition("@")[0]: artifact["kind"] for artifact in listed}
    wanted = {"corpus": "dataset", "corpus-tokenizer": "tokenizer", "base": "model", "bot": "adapter", "kb": "index"}
    assert wanted.items() <= kinds.items()
    assert chain.ok("registry", "verify", "corpus", "base", "bot", "kb")["problems"] == []


def test_a_dry_run_of_training_says_what_it_would_take(chain: Any) -> None:
    planned = chain.ok("pretrain", "--data", "corpus", "--steps", 7, "--name", "other", "--dry-run")
    assert planned["action"] == "run"
    assert planned["takes"]["memory"]["weights"] > 0
    assert "other@1" not in {artifact["ref"] for artifact in chain.ok("registry", "list")["artifacts"]}


def test_what_was_trained_has_a_report_and_its_metrics(chain: Any) -> None:
    for name in ("base", "bot"):
        folder = Path(chain.ok("registry", "show", name)["path"])
        assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, len(steps) + 1))


def test_what_lies_in_an_archive_is_found_and_quoted_from_it(chain: Any) -> None:
    folder = chain.folder / "packed"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "care.zip", "w") as archive:
        archive.writestr("okapi.md", "# Okapi care\n\nOkapis eat leaves of over a hundred kinds of plants.\n")
        archive.writestr("tapir.md", "# Tapir care\n\nTapirs like to swim in the heat of the day.\n")
    chain.ok("index", "packed", "--name", "packed")
    answer = chain.ok("ask", "What do okapis eat?", "--index", "packed")
    assert [citation["source"] for citation in answer["citations"]] == ["packed/care.zip!/okapi.md"]
    assert not answer["citations"][0]["stale"]


def test_lineage_leads_from_the_adapter_to_the_files(chain: Any) -> None:
    node = chain.ok("registry", "lineage", "bot")
    roles = {child["role"]: child for child in node["inputs"]}
    assert roles["model"]["ref"] == "base@1"
    assert roles["data"]["ref"] == "pairs@1"
    corpus = next(child for child in roles["model"]["inputs"] if child["role"] == "data")
    assert corpus["ref"] == "corpus@1"
    assert corpus["inputs"][0]["state"] == "files"


def test_a_second_call_reuses_and_says_so(chain: Any) -> None:
    again = chain("preprocess", "docs", "--name", "corpus", "--vocab-size", 2000)
    assert "reused" in again.out
    assert chain.ok("pretrain", "--data", "corpus", "--name", "base", "--steps", 12, "--sequence-length", 128)["reused"]


def test_every_quote_stands_at_its_place_in_the_source(chain: Any) -> None:
    answer = chain.ok("ask", "How do I compute the SHA-256 digest of a file?", "--index", "kb")
    assert answer["citations"]
    for citation in answer["citations"]:
        text = (chain.folder / citation["source"]).read_text(encoding="utf-8")
        assert text[citation["start"] : citation["end"]] == citation["quote"]
        assert text[: citation["start"]].count("\n") + 1 == citation["line"]
    assert any("hashlib" in citation["source"] for citation in answer["citations"])
    assert len({place["source"] for place in answer["retrieved"]}) >= 10


def test_what_the_documents_do_not_hold_is_not_answered(chain: Any) -> None:
    answer = chain.ok("ask", "Which vaccine protects children against measles?", "--index", "kb")
    assert answer["abstained"]
    assert answer["citations"] == []


def test_a_batch_prints_one_object_a_question(chain: Any) -> None:
    (chain.folder / "q.txt").write_text("How do I copy a directory tree?\nHow do I wrap a paragraph of text?\n")
    ran = chain("ask", "--batch", "q.txt", "--index", "kb", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["question"][:12] for line in lines] == ["How do I cop", "How do I wra"]
    assert all(line["command"] == "ask" and "citations" in line for line in lines)


def test_a_changed_file_is_marked_stale_or_not_quoted_and_the_next_index_is_current(chain: Any) -> None:
    file = chain.folder / "notes" / "a.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text("# Zebra care\n\nZebras eat four kilograms of hay each morning.\n")
    first = chain.ok("index", "notes", "--name", "notes")
    assert first["change"]["added"] == 1
    file.write_text("# Zebra care\n\nNew first line.\n\nZebras eat four kilograms of hay each morning.\n")
    stale = chain.ok("ask", "How much hay do zebras eat each morning?", "--index", "notes")
    assert all(citation["stale"] for citation in stale["citations"])
    second = chain.ok("index", "notes", "--name", "notes")
    assert (second["change"]["added"], second["change"]["changed"]) == (0, 1)
    fresh = chain.ok("ask", "How much hay do zebras eat each morning?", "--index", "notes")
    assert fresh["citations"]
    assert not any(citation["stale"] for citation in fresh["citations"])
    old = chain.ok("ask", "How much hay do zebras eat each morning?", "--index", "notes@1")
    assert old["retrieved"]
    file.unlink()
    (file.parent / "b.md").write_text("# Llamas\n\nLlamas hum when they are content.\n")
    assert chain.ok("index", "notes", "--name", "notes")["change"] == {
        "added": 1,
        "changed": 0,
        "removed": 1,
        "same": 0,
    }


def test_a_refusal_says_what_has_changed_since_it_was_indexed(chain: Any) -> None:
    file = chain.folder / "rules" / "leave.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text("# Leave\n\nEverybody has twenty days of paid leave.\n")
    chain.ok("index", "rules", "--name", "rules")
    question = "How many days of paid leave does everybody have?"
    assert not chain.ok("ask", question, "--index", "rules")["abstained"]
    file.write_text("# Leave\n\nThis page is being rewritten.\n")
    refusal = chain.ok("ask", question, "--index", "rules")
    assert refusal["abstained"]
    assert "has changed since it was indexed" in refusal["notes"][0]


def test_a_quote_of_a_web_page_claims_no_line_of_its_file(chain: Any) -> None:
    page = chain.folder / "web" / "a.html"
    page.parent.mkdir(exist_ok=True)
    body = "<p>Otters hold hands while they sleep, so that they do not drift apart.</p>" * 3
    page.write_text(f"<html><body><article><h1>Otters</h1>{body}</article></body></html>")
    chain.ok("index", "web", "--name", "web")
    answer = chain.ok("ask", "What do otters do while they sleep?", "--index", "web")
    assert [citation["line"] for citation in answer["citations"]] == [None] * len(answer["citations"])


def test_rows_of_a_file_are_items_of_their_own(chain: Any) -> None:
    rows = [{"prompt": f"Add {n} and {n}.", "completion": str(2 * n)} for n in range(12)]
    (chain.folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (chain.folder / "sums.yaml").write_text("- {id: sums, kind: loss, data: sums.jsonl}\n")
    measured = chain.ok("eval", "sums.yaml", "--model", "base")["results"]
    assert all(result["ci"] for result in measured)


def test_the_adapter_loads_with_plain_peft_and_changes_the_base(chain: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    paths = {name: chain.ok("registry", "show", name)["path"] for name in ("base", "bot")}
    base = AutoModelForCausalLM.from_pretrained(paths["base"])
    ids = AutoTokenizer.from_pretrained(paths["bot"])("def main(", return_tensors="pt").input_ids
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, paths["bot"])(ids).logits
    assert not torch.equal(before, after)


def test_eval_compares_gates_and_writes_junit(chain: Any) -> None:
    suite = [
        {"id": "pairs", "kind": "loss", "data": "pairs", "split": "train", "limit": 12},
        {"id": "search", "kind": "retrieval", "limit": 12},
        {"id": "text", "kind": "perplexity", "data": "corpus", "split": "validation", "limit": 1},
    ]
    (chain.folder / "suite.yaml").write_text(json.dumps(suite))
    words = ("eval", "suite.yaml", "--model", "bot", "--baseline", "base", "--index", "kb", "--junit", "eval.xml")
    passed = chain.ok(*words, "--gate", "pairs.loss<=baseline+1", "--gate", "search.recall@10>=0.5")
    assert [gate["outcome"] for gate in passed["gates"]] == ["passed", "passed"]
    assert {"task", "metric", "value", "stderr", "ci", "n"} <= passed["results"][0].keys()
    assert 'failures="0"' in (chain.folder / "eval.xml").read_text()
    failed = chain(*words, "--gate", "pairs.loss<=0.01", "--json")
    assert failed.code == 7
    assert json.loads(failed.out)["gates"][0]["outcome"] == "failed"
    assert 'failures="1"' in (chain.folder / "eval.xml").read_text()
    assert "did not pass" in failed.err
    unknown = chain(*words, "--gate", "pairs.f1>=0.5")
    assert unknown.code == 2
    assert "not measured" in unknown.err


def test_a_model_alone_answers_without_an_index(chain: Any) -> None:
    said = chain.ok("ask", "def add(a, b):", "--model", "bot", "--max-tokens", 8)
    assert said["citations"] == []
    assert isinstance(said["answer"], str)


def test_a_model_words_the_answer_and_its_unsupported_claims_are_marked(chain: Any) -> None:
    chain.ok("pretrain", "--data", "corpus", "--name", "wide", "--steps", 2, "--sequence-length", 512)
    question = ("ask", "How do I copy a file?", "--index", "kb", "--k", 1, "--max-tokens")
    said = chain.ok(*question, 24, "--model", "wide")
    assert said["abstained"] or said["unsupported"] or said["citations"]
    narrow = chain(*question, 60, "--model", "bot")
    assert narrow.code == 4 and "the model reads 128 tokens" in narrow.err and "smaller --max-tokens" in narrow.err


def test_a_recipe_runs_what_is_stale_and_only_that(cli: Any) -> None:
    text = "Cats sleep most of the day. Dogs bark at the postman. Birds sing in the morning.\n"
    (cli.folder / "a.txt").write_text(text * 60)
    recipe = """
stages:
  - id: corpus
    preprocess: {inputs: [a.txt], name: c, vocab_size: 400}
  - id: base
    pretrain: {data: c, name: m, steps: 3, sequence_length: 32, batch_size: 4}
"""
    (cli.folder / "r.yaml").write_text(recipe)
    first = [json.loads(line) for line in cli("run", "r.yaml", "--json").out.splitlines()]
    assert [result["reused"] for result in first] == [False, False]
    second = [json.loads(line) for line in cli("run", "r.yaml", "--json").out.splitlines()]
    assert [result["reused"] for result in second] == [True, True]
    planned = cli("run", "r.yaml", "--dry-run", "--set", "base.steps=4", "--json").out.splitlines()
    assert [json.loads(line)["action"] for line in planned] == ["reuse", "run"]
    assert "steps changed: 3 -> 4" in planned[1]
    third = [json.loads(line) for line in cli("run", "r.yaml", "--json", "--set", "base.steps=4").out.splitlines()]
    assert [(result["reused"], result["artifact"]["ref"]) for result in third] == [(True, "c@1"), (False, "m@2")]
    (cli.folder / "a.txt").write_text(text * 61)
    fourth = [json.loads(line) for line in cli("run", "r.yaml", "--json", "--only", "corpus").out.splitlines()]
    assert [result["artifact"]["ref"] for result in fourth] == ["c@2"]
    overview = cli("run", "r.yaml")
    assert "Overview" in overview.out
    assert "Lineage" in overview.out


@pytest.mark.parametrize(
    "words", [("show", "base"), ("diff", "base", "bot"), ("lineage", "kb"), ("list",), ("gc", "--dry-run")]
)
def test_registry_commands_speak_to_people_and_to_scripts(chain: Any, words: tuple[str, ...]) -> None:
    plain = chain("registry", *words)
    assert plain.code == 0, plain.err
    assert plain.out.strip()
    assert chain.ok("registry", *words) is not None


def test_tags_point_and_protect(chain: Any) -> None:
    assert chain("registry", "tag", "base@1", "prod").code == 0
    assert chain.ok("registry", "show", "base@prod")["version"] == 1
    refused = chain("registry", "rm", "base")
    assert refused.code == 2
    assert "bot@1" in refused.err or "prod" in refused.err
    assert chain("registry", "tag", "--remove", "base@prod").code == 0


def test_an_artifact_too_damaged_to_be_read_is_named_and_can_be_removed(cli: Any) -> None:
    (cli.folder / "a.txt").write_text("Cats sleep most of the day, and dogs bark at the postman.\n" * 20)
    made = cli.ok("preprocess", "a.txt", "--name", "hurt", "--tokenizer", "none")
    (Path(made["artifact"]["path"]) / "manifest.json").write_text("{}")
    assert "hurt@1" in cli("registry", "list").out
    assert cli("registry", "verify").code == 4
    assert cli("registry", "rm", "hurt@1").code == 2
    assert cli("registry", "rm", "hurt@1", "--force").code == 0
    assert cli.ok("registry", "list") == {"artifacts": [], "damaged": []}


def test_show_config_names_every_origin(chain: Any) -> None:
    shown = chain("pretrain", "--data", "corpus", "--set", "lr=0.01", "--show-config", LLMKIT_PRETRAIN_STEPS="9").out
    for words in (("steps", "9", "$LLMKIT_PRETRAIN_STEPS"), ("lr", "0.01", "--set"), ("data", "corpus", "--data")):
        assert any(all(word in line for word in words) for line in shown.splitlines()), words


def test_two_processes_train_one_model(chain: Any) -> None:
    words = ("pretrain", "--data", "corpus", "--steps", 3, "--sequence-length", 64, "--seed", 5, "--precision", "fp32")
    alone = chain.ok(*words, "--name", "alone")
    both = chain.ok(*words, "--name", "both", "--processes", 2, "--force")
    from safetensors.torch import load_file

    left, right = (load_file(Path(run["artifact"]["path"]) / "model.safetensors") for run in (alone, both))
    assert max((left[key] - right[key]).abs().max().item() for key in left) < 1e-4


def test_doctor_says_what_is_here_and_what_is_missing(cli: Any) -> None:
    checks = {check["name"]: check for check in cli.ok("doctor")["checks"]}
    assert checks["python"]["state"] == "ok"
    assert "GFLOP/s" in checks["cpu matrices"]["finding"]
    assert checks["hub"]["state"] == "note"
    assert checks["extra offline"]["state"] == "ok"


def test_the_schema_of_recipes_is_valid_and_knows_every_option(cli: Any) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(cli("config", "schema").out)
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    assert check.is_valid({"stages": [{"id": "a", "pretrain": {"data": "x", "lr": 0.1}}]})
    assert not check.is_valid({"stages": [{"id": "a", "pretrain": {"data": "x", "lrr": 0.1}}]})

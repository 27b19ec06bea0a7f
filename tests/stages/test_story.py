"""`preprocess explain`: one document's story, for every way in which a document can end."""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.texts import BOTCHAN, FOOTER, prose

from llmkit.config.resolve import flag_layer, resolve
from llmkit.errors import NotFoundError
from llmkit.registry.artifact import Artifact
from llmkit.registry.store import Registry
from llmkit.reporting.blocks import Diff, Line, Table
from llmkit.reporting.reporter import Silent
from llmkit.stages.base import Mode, execute
from llmkit.stages.preprocess import STAGE, PreprocessConfig
from llmkit.stages.story import explain, show


def make(registry: Registry, *inputs: Path | str, **given: Any) -> Artifact:
    given = {"inputs": tuple(map(str, inputs)), "name": "c", "tokenizer": "none"} | given
    resolved = resolve(PreprocessConfig, [flag_layer(PreprocessConfig, given)])
    artifact = execute(STAGE, resolved, registry, Silent(), Mode()).artifact
    assert artifact is not None
    return artifact


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.txt").write_text(f"{prose(seed)}\n{FOOTER}\n")
    (folder / "caf.txt").write_text("\n\n\nThe cafÃ© by the sea.\r\n" + prose(20))
    (folder / "near.txt").write_text(prose(2) + "\nA tail.\n" + FOOTER)
    (folder / "few.txt").write_text("Only a handful of words in here, too few.")
    (folder / "blob.txt").write_bytes(random.Random(0).randbytes(9000))
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": prose(30 + n)}) + "\n" for n in range(3)))
    with zipfile.ZipFile(folder / "pack.zip", "w") as archive:
        archive.writestr("inside/neko.txt", BOTCHAN)
    return folder


@pytest.fixture
def made(folder: Path, registry: Registry) -> Artifact:
    return make(
        registry, folder, rules=("gopher_quality",), threshold=("gopher_quality.min_words=20",), repeated_lines=3
    )


def said(story: dict[str, Any]) -> str:
    return "\n".join(block.text for block in show(story) if isinstance(block, Line))


def test_a_kept_document_has_its_steps_its_split_and_its_cluster(made: Artifact, registry: Registry) -> None:
    story = explain(made, "neko.txt", registry)
    assert story["kept"]
    assert story["source"].endswith("pack.zip!/inside/neko.txt")
    assert [step["step"] for step in story["steps"]] == ["normalise", "language", "quality", "privacy"]
    assert story["steps"][1]["facts"]["language"] == "ja"
    assert story["excerpt"].startswith("親譲り")
    assert "note" not in story
    assert "normalise: nothing to change" in said(story)
    assert f"kept: in the {story['split']} split, cluster {story['cluster']}" in said(story)
    assert explain(made, story["id"], registry) == story, "by its id as well"
    json.dumps(story)


def test_what_normalising_changed_is_shown_as_a_diff(made: Artifact, registry: Registry) -> None:
    story = explain(made, "caf.txt", registry)
    (step,) = [step for step in story["steps"] if step["step"] == "normalise"]
    assert step["changes"] == {"line_ends": 1, "mojibake": 1}
    (diff,) = [block for block in show(story) if isinstance(block, Diff)]
    assert "cafÃ©" in diff.before
    assert "café" in diff.after


def test_lines_that_went_because_other_documents_have_them_are_shown(made: Artifact, registry: Registry) -> None:
    story = explain(made, "1.txt", registry)
    step = story["steps"][-1]
    assert (step["step"], step["changes"]) == ("lines", {"repeated_lines": 1})
    assert FOOTER in step["before"]
    assert FOOTER not in step["after"]


def test_a_near_duplicate_names_its_original_and_how_similar_it_is(made: Artifact, registry: Registry) -> None:
    story = explain(made, "near.txt", registry)
    assert (story["kept"], story["step"], story["reason"]) == (False, "dedup", "near_duplicate")
    assert story["original"]["source"].endswith("/2.txt")
    assert 0.8 <= story["original"]["similarity"] < 1
    blocks = show(story)
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert ("similarity", f"{story['original']['similarity']:.3f}") in list(table.rows)
    assert any(isinstance(block, Diff) and "A tail." in block.after for block in blocks)


def test_a_document_that_a_rule_dropped_has_the_rules_figures(made: Artifact, registry: Registry) -> None:
    story = explain(made, "few.txt", registry)
    assert (story["step"], story["reason"]) == ("quality", "gopher_quality.min_words")
    assert story["steps"][-1]["dropped"] == story["detail"]
    assert "at least 20 are asked for" in said(story)


def test_a_file_that_cannot_be_read_says_so(made: Artifact, registry: Registry) -> None:
    story = explain(made, "blob.txt", registry)
    assert (story["step"], story["reason"], story["steps"]) == ("read", "binary", [])
    assert story["note"] == "it could not be read"


def test_a_source_that_is_gone_or_changed_is_told(made: Artifact, registry: Registry, folder: Path) -> None:
    (folder / "0.txt").unlink()
    story = explain(made, "0.txt", registry)
    assert story["kept"]
    assert "cannot be read again" in story["note"]
    (folder / "1.txt").write_text(prose(77))
    story = explain(made, "1.txt", registry)
    assert "has changed since" in story["note"]
    assert [step["step"] for step in story["steps"]] == ["normalise", "language", "quality", "privacy"]
    with zipfile.ZipFile(folder / "pack.zip", "w") as archive:
        archive.writestr("inside/other.txt", BOTCHAN)
    assert "does not hold it any more" in explain(made, "neko.txt", registry)["note"]


def test_it_is_told_from_any_folder(
    folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = make(registry, "in/0.txt", "in/1.txt")
    monkeypatch.chdir("/")
    assert "note" not in explain(made, "0.txt", registry)


def test_a_file_of_several_documents_asks_for_an_id(made: Artifact, registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="the source of 3 documents") as caught:
        explain(made, "rows.jsonl", registry)
    assert caught.value.mend == "give one's id"
    first = caught.value.message.split("documents: ")[1].split()[0]
    story = explain(made, first, registry)
    assert story["record"] == "1"
    assert "record 1" in said(story)


def test_an_unknown_document_is_not_found(made: Artifact, registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="no document 'ffff'") as caught:
        explain(made, "ffff", registry)
    assert caught.value.exit_code == 3
    dropped = explain(made, "blob.txt", registry)["id"]
    with pytest.raises(NotFoundError, match=f"did you mean '{dropped}'"):
        explain(made, dropped[:-1] + "z", registry)


def test_a_copy_of_an_evaluation_question_names_the_set(folder: Path, registry: Registry, tmp_path: Path) -> None:
    question = "which of the old towers along the northern coast was the first to have a lamp of glass"
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"question": question}))
    (folder / "quiz.txt").write_text(f"{prose(50)}\nHe asked {question} that year.")
    made = make(registry, folder, against=(str(tmp_path / "quiz.jsonl"),))
    story = explain(made, "quiz.txt", registry)
    assert (story["step"], story["reason"]) == ("decontaminate", "contaminated")
    assert "quiz (1 items)" in story["detail"]


def test_standard_input_is_not_asked_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(f"\n\n{BOTCHAN}\r\n".encode())))
    made = make(registry, "-")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"another text, which is long enough")))
    make(registry, "-", name="other")
    monkeypatch.setattr("sys.stdin", None)
    story = explain(made, "stdin:", registry)
    assert "note" not in story
    assert story["steps"][0]["after"].startswith("親譲り")


def test_a_dataset_made_of_a_dataset_is_told_from_that_version(folder: Path, registry: Registry) -> None:
    make(registry, folder)
    again = make(registry, "c", name="again", lowercase=True)
    (folder / "0.txt").write_text(prose(99))
    make(registry, folder)
    story = explain(again, "0.txt", registry)
    assert "note" not in story
    assert story["steps"][0]["before"].startswith(prose(0)[:40])

"""Published models by alias: what a reference becomes, and that a pin is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmkit.errors import DataError
from llmkit.registry.catalog import CATALOG, PinnedRef, pinned, prompts_for
from llmkit.registry.refs import HubRef, RegistryRef, parse
from llmkit.registry.trust import agreed, record_path


@pytest.mark.parametrize("alias", CATALOG)
def test_every_entry_is_a_name_a_commit_and_whole_digests(alias: str) -> None:
    entry = CATALOG[alias]
    assert parse(alias) == RegistryRef(alias)  # what is typed is a legal name
    assert parse(str(entry.ref)) == entry.ref
    assert re.fullmatch("[0-9a-f]{40}", entry.revision)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in entry.sha256.values())
    assert entry.licence and entry.about and set(entry.prompts) <= {"query", "document"}


def test_the_page_says_what_is_claimed_of_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text("utf-8")
    for alias, entry in CATALOG.items():
        files = {"model.safetensors": "weights", "tokenizer.json": "tokenizer"}
        claimed = ", ".join(files[name] for name in entry.sha256) or "nothing"
        row = f"| `{alias}` | {entry.repository} | {claimed} | {entry.licence} | "
        assert row in page and entry.about in page.split(row)[1].split("\n")[0]


def test_no_model_is_there_twice() -> None:
    assert len({entry.ref for entry in CATALOG.values()}) == len(CATALOG)


def test_an_alias_becomes_its_revision_and_an_artifact_of_that_name_goes_first(tmp_path: Path) -> None:
    found = pinned(parse("multilingual-e5-small"), tmp_path)
    assert isinstance(found, PinnedRef) and found.entry is CATALOG["multilingual-e5-small"]
    assert str(found) == f"hf:intfloat/multilingual-e5-small@{found.revision}" and parse(str(found)) == found.entry.ref
    assert pinned(parse("multilingual-e5-small"), tmp_path, known=True) == RegistryRef("multilingual-e5-small")


@pytest.mark.parametrize("text", ["multilingual-e5-small@2", "mine", "intfloat/multilingual-e5-small", "./x"])
def test_other_references_stay_what_they_are(text: str, tmp_path: Path) -> None:
    assert pinned(parse(text), tmp_path) == parse(text)


def test_the_same_revision_by_its_own_name_is_compared_too(tmp_path: Path) -> None:
    entry = CATALOG["qwen2.5-0.5b-instruct"]
    assert isinstance(pinned(HubRef(entry.repository, entry.revision), tmp_path), PinnedRef)


def test_prompts_belong_to_a_repository_at_any_revision() -> None:
    assert prompts_for("intfloat/multilingual-e5-small")["query"] == "query: "
    assert prompts_for("someone/else") == {}


def test_what_was_seen_first_is_kept_and_handed_back(tmp_path: Path) -> None:
    assert agreed(tmp_path / "trust", "hf:a/b@1", lambda known: {"x": 1, **known}) == {"x": 1}
    assert agreed(tmp_path / "trust", "hf:a/b@1", lambda known: {**known, "y": 2}) == {"x": 1, "y": 2}
    assert agreed(tmp_path / "trust", "hf:a/b@2", lambda known: known) == {}


def test_a_refusal_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    agreed(tmp_path, "s", lambda known: {"x": 1})
    before = record_path(tmp_path, "s").read_bytes()

    def refuse(known: object) -> dict[str, object]:
        raise DataError("another")

    with pytest.raises(DataError, match="another"):
        agreed(tmp_path, "s", refuse)
    assert record_path(tmp_path, "s").read_bytes() == before


def test_a_damaged_record_is_named_and_not_passed_over(tmp_path: Path) -> None:
    record_path(tmp_path, "s").write_text("{")
    with pytest.raises(DataError, match="seen first") as caught:
        agreed(tmp_path, "s", lambda known: known)
    assert caught.value.where == str(record_path(tmp_path, "s"))


def test_subjects_that_look_alike_have_records_of_their_own(tmp_path: Path) -> None:
    assert record_path(tmp_path, "openai:http://a/v1#m") != record_path(tmp_path, "openai:http://a/v1-m")

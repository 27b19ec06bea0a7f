from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry.layout import MANIFEST
from llmkit.registry.refs import RegistryRef
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove


def test_a_name_means_its_latest_version_and_a_number_or_tag_another(registry: Registry, make) -> None:
    first, second = make("corpus"), make("corpus")
    registry.tag(first, "prod")
    assert (first.ref, second.ref) == ("corpus@1", "corpus@2")
    assert registry.resolve("corpus") == second
    assert registry.resolve("corpus@1") == first
    assert registry.resolve(RegistryRef("corpus", tag="prod")) == first


def test_the_tenth_version_comes_after_the_ninth(registry: Registry, make) -> None:
    for _ in range(10):
        make("corpus")
    assert registry.versions("corpus") == list(range(1, 11))
    assert registry.resolve("corpus").version == 10


def test_a_pin_fixes_what_a_bare_name_means_in_that_view_only(registry: Registry, make) -> None:
    first, second = make("corpus"), make("corpus")
    registry.tag(second, "prod")
    pinned = registry.with_pins({"corpus": 1}).with_pins({"other": 5})
    assert pinned.resolve("corpus") == first
    assert pinned.resolve("corpus@2") == second
    assert pinned.resolve("corpus@prod") == second
    assert registry.resolve("corpus") == second


def test_a_miss_names_the_closest_matches_of_the_right_kind_first(registry: Registry, make) -> None:
    make("corpus")
    make("corpse", "model")
    with pytest.raises(NotFoundError, match="did you mean 'corpus'") as caught:
        registry.resolve("corpsu", "dataset")
    assert "corpse" not in f"{caught.value}{caught.value.mend}"


def test_a_miss_in_an_empty_registry_says_how_to_make_one(registry: Registry) -> None:
    with pytest.raises(NotFoundError) as caught:
        registry.resolve("base", "model", "adapter")
    assert caught.value.mend == "make one with `llmkit pretrain` or `llmkit finetune-lora`"


def test_a_miss_beside_a_file_of_that_name_says_how_files_are_written(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(NotFoundError) as caught:
        registry.resolve("pairs.jsonl", "dataset")
    assert "`./pairs.jsonl`" in (caught.value.mend or "")


def test_a_version_or_tag_that_is_not_there_names_those_that_are(registry: Registry, make) -> None:
    make("bot", "model")
    registry.tag(make("bot", "model"), "prod")
    with pytest.raises(NotFoundError, match="no bot@7") as caught:
        registry.resolve("bot@7")
    assert caught.value.mend == "there is bot@1, bot@2"
    with pytest.raises(NotFoundError, match="did you mean 'prod'"):
        registry.resolve("bot@prd")
    remove(registry.layout, "bot", 1)
    with pytest.raises(NotFoundError, match="was removed"):
        registry.resolve("bot@1")


def test_a_wrong_kind_is_named_with_the_kind_that_is_needed(registry: Registry, make) -> None:
    make("corpus")
    make("base", "model")
    with pytest.raises(UsageError, match="'corpus' is a dataset; needed is a model or an adapter") as caught:
        registry.resolve("corpus", "model", "adapter")
    assert caught.value.mend == "there is base"


def test_a_path_is_not_looked_up_in_the_registry(registry: Registry) -> None:
    with pytest.raises(UsageError, match="not the name of an artifact"):
        registry.resolve("./corpus")


def test_the_only_name_of_a_kind_is_its_default(registry: Registry, make) -> None:
    with pytest.raises(NotFoundError, match="no index yet") as caught:
        registry.only("index")
    assert "llmkit index" in (caught.value.mend or "")
    make("kb", "index")
    latest = make("kb", "index")
    make("corpus")
    assert registry.only("index") == latest
    make("other", "index")
    with pytest.raises(UsageError, match="kb, other"):
        registry.only("index")


def test_artifacts_are_listed_by_kind_name_and_version(registry: Registry, make) -> None:
    for name, kind in [("b", "model"), ("a", "dataset"), ("b", "model")]:
        make(name, kind)
    assert [artifact.ref for artifact in registry.artifacts()] == ["a@1", "b@1", "b@2"]
    assert [artifact.ref for artifact in registry.artifacts("model", "adapter")] == ["b@1", "b@2"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"preprocess"', '"pretrain"'), "not what was written"),
        (lambda text: text.replace('"seed": null', '"seed": NaN'), "NaN is not a JSON number"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "newer llmkit"),
        (lambda text: "[]", "not a JSON object"),
        (lambda text: None, "missing"),
    ],
)
def test_a_damaged_manifest_is_told_apart_and_hides_no_other_artifact(
    registry: Registry, make, damage, problem: str
) -> None:
    broken, sound = make("broken"), make("sound")
    path = broken.path / MANIFEST
    text = damage(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    assert registry.artifacts() == (sound,)
    assert [(found.ref, problem in found.problem) for found in registry.unreadable()] == [("broken@1", True)]
    with pytest.raises(DataError, match=problem) as caught:
        registry.resolve("broken")
    assert caught.value.where == str(path)
    assert make("broken").ref == "broken@2"


def test_a_manifest_in_anothers_place_is_not_believed(registry: Registry, make) -> None:
    artifact = make("corpus")
    artifact.path.rename(artifact.path.with_name("7"))
    with pytest.raises(DataError, match="in another's place"):
        registry.resolve("corpus@7")


def test_a_field_of_a_later_llmkit_is_passed_over(registry: Registry, make) -> None:
    from llmkit.registry.values import digest_of

    artifact = make("corpus")
    path = artifact.path / MANIFEST
    content = json.loads(path.read_text()) | {"mood": "sunny"}
    del content["seal"]
    path.write_text(json.dumps({**content, "seal": digest_of(content)}))
    assert registry.resolve("corpus") == artifact


def test_tags_move_and_go(registry: Registry, make) -> None:
    first, second = make("bot", "model"), make("bot", "model")
    registry.tag(first, "prod")
    registry.tag(first, "old")
    registry.tag(second, "prod")
    assert registry.tags("bot") == {"old": 1, "prod": 2}
    registry.untag("bot", "old")
    registry.untag("bot", "prod")
    assert registry.tags("bot") == {}
    with pytest.raises(NotFoundError):
        registry.untag("bot", "prod")


def test_a_tag_is_no_number_and_points_to_nothing_that_is_gone(registry: Registry, make) -> None:
    artifact = make("bot", "model")
    with pytest.raises(UsageError):
        registry.tag(artifact, "3")
    remove(registry.layout, "bot", 1)
    with pytest.raises(NotFoundError):
        registry.tag(artifact, "prod")


def test_a_damaged_tag_file_says_which_file(registry: Registry, make) -> None:
    registry.tag(make("bot", "model"), "prod")
    file = registry.home / "tags" / "bot.json"
    file.write_text("{")
    with pytest.raises(DataError) as caught:
        registry.resolve("bot@prod")
    assert caught.value.where == str(file)
    assert registry.resolve("bot").version == 1


def test_an_artifact_used_as_input_keeps_its_ref_and_digest(make) -> None:
    artifact = make("corpus", schema="text")
    assert artifact.manifest.data_schema == "text"
    used = artifact.as_input("data")
    assert (used.role, used.ref, used.kind, used.digest) == ("data", "corpus@1", "dataset", artifact.digest)
    assert artifact.to_json() == {
        "ref": "corpus@1",
        "kind": "dataset",
        "path": str(artifact.path),
        "digest": artifact.digest,
    }

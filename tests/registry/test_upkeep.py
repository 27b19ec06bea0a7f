from __future__ import annotations

import pytest

from llmkit.errors import NotFoundError, UsageError
from llmkit.registry.layout import MANIFEST
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import Damage, remove, verify


def test_an_artifact_as_published_verifies(make) -> None:
    assert verify(make("corpus", files={"a": "x", "deep/b": "文書", "empty": ""})) == ()


def test_verify_names_each_file_that_changed_is_missing_or_is_extra(make) -> None:
    artifact = make("corpus", files={"a": "x", "deep/b": "y", "c": "z"})
    (artifact.path / "a").write_text("X")
    (artifact.path / "deep" / "b").unlink()
    (artifact.path / "deep" / "new").touch()
    assert set(verify(artifact)) == {
        Damage(artifact.path / "a", "changed"),
        Damage(artifact.path / "deep" / "b", "missing"),
        Damage(artifact.path / "deep" / "new", "extra"),
    }


def test_one_flipped_bit_anywhere_is_found(make) -> None:
    artifact = make("corpus", files={"a": "some text"})
    for name in ("a", MANIFEST):
        path = artifact.path / name
        good = path.read_bytes()
        for position in range(0, len(good), 7):
            flipped = bytearray(good)
            flipped[position] ^= 1
            if bytes(flipped).split() == good.split():
                continue  # white space between the manifest's words says nothing
            path.write_bytes(flipped)
            assert [damage.path for damage in verify(artifact)] == [path]
        path.write_bytes(good)
    assert verify(artifact) == ()


def test_a_manifest_that_is_gone_or_of_another_state_is_named(registry: Registry, make) -> None:
    artifact, other = make("corpus"), make("corpus", metrics={"n": 1})
    (artifact.path / MANIFEST).unlink()
    assert verify(artifact) == (Damage(artifact.path / MANIFEST, "unreadable"),)
    assert verify(other) == ()


def test_removing_frees_the_bytes_and_the_number_is_never_given_again(registry: Registry, make) -> None:
    make("corpus")
    artifact = make("corpus", files={"a": "x" * 5000, "deep/b": "y"})
    assert remove(registry.layout, "corpus", 2) == 5001
    assert registry.versions("corpus") == [1]
    assert [entry.name for entry in artifact.path.iterdir()] == ["removed.json"]
    assert make("corpus").ref == "corpus@3"


def test_what_others_were_made_from_is_not_removed_without_force(registry: Registry, make) -> None:
    corpus = make("corpus")
    make("base", "model", inputs=[corpus.as_input("data")])
    with pytest.raises(UsageError, match="base@1"):
        remove(registry.layout, "corpus", 1)
    assert registry.versions("corpus") == [1]
    remove(registry.layout, "corpus", 1, force=True)
    assert registry.versions("corpus") == []


def test_what_a_tag_points_to_is_not_removed_without_force_and_with_it_the_tag_goes(registry: Registry, make) -> None:
    registry.tag(make("bot", "model"), "prod")
    registry.tag(make("bot", "model"), "next")
    with pytest.raises(UsageError, match="prod") as caught:
        remove(registry.layout, "bot", 1)
    assert "--force" in (caught.value.mend or "")
    remove(registry.layout, "bot", 1, force=True)
    assert registry.tags("bot") == {"next": 2}


def test_a_damaged_artifact_is_removed_by_force(registry: Registry, make) -> None:
    for damage in ("broken", "missing"):
        artifact = make("corpus")
        if damage == "broken":
            (artifact.path / MANIFEST).write_text("{")
        else:
            (artifact.path / MANIFEST).unlink()
        with pytest.raises(UsageError, match="damaged"):
            remove(registry.layout, "corpus", artifact.version)
        remove(registry.layout, "corpus", artifact.version, force=True)
    assert registry.unreadable() == ()
    assert make("corpus").ref == "corpus@3"


def test_removing_what_is_not_there_is_a_miss(registry: Registry, make) -> None:
    make("corpus")
    remove(registry.layout, "corpus", 1)
    for version in (1, 2):
        with pytest.raises(NotFoundError):
            remove(registry.layout, "corpus", version)

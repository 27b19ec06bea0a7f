from __future__ import annotations

import hashlib
import shutil

import pytest

from llmkit.errors import UsageError
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove, verify


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_of_two(make, name: str, key: str):
    dataset = make(name, key=key, completes=None)
    tokenizer = make(
        f"{name}-tokenizer", "tokenizer", key=key, inputs=[dataset.as_input("data")], completes=[dataset.ref]
    )
    return dataset, tokenizer


def test_a_finished_run_is_found_by_its_key_as_a_whole(registry: Registry, make) -> None:
    run = run_of_two(make, "corpus", "k1")
    make("other", key="k2")
    assert registry.find_by_key(key_of("k1")) == run
    assert registry.find_by_key(key_of("k3")) is None


def test_half_of_a_run_is_never_reused(registry: Registry, make) -> None:
    make("corpus", key="k", completes=None)
    assert registry.find_by_key(key_of("k")) is None


def test_a_run_that_lost_one_of_its_artifacts_is_not_reused(registry: Registry, make) -> None:
    run_of_two(make, "corpus", "k")
    remove(registry.layout, "corpus", 1, force=True)
    assert registry.find_by_key(key_of("k")) is None


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_run_with_a_file_missing_or_cut_is_not_reused(registry: Registry, make, damage: str) -> None:
    file = make("corpus", key="k").path / "data.txt"
    file.unlink() if damage == "missing" else file.write_text("")
    assert registry.find_by_key(key_of("k")) is None


def test_of_several_runs_the_newest_is_taken_and_before_it_one_of_the_name_asked_for(registry: Registry, make) -> None:
    make("b", key="k")
    older, newer = make("a", key="k"), make("a", key="k")
    assert registry.find_by_key(key_of("k")) == (newer,)
    assert registry.find_by_key(key_of("k"), {"dataset": "b"}) == (registry.resolve("b"),)
    assert older != newer


def test_reuse_under_the_same_name_publishes_nothing(registry: Registry, make) -> None:
    run = run_of_two(make, "corpus", "k")
    names = {"dataset": "corpus", "tokenizer": "corpus-tokenizer"}
    assert registry.reuse(key_of("k"), names) == run
    assert len(registry.artifacts()) == 2


def test_reuse_under_a_new_name_publishes_an_alias_once(registry: Registry, make) -> None:
    dataset, tokenizer = run_of_two(make, "corpus", "k")
    names = {"dataset": "texts", "tokenizer": "texts-tokenizer"}
    aliases = registry.reuse(key_of("k"), names)
    assert aliases is not None
    assert [alias.ref for alias in aliases] == ["texts@1", "texts-tokenizer@1"]
    assert [alias.manifest.alias_of for alias in aliases] == [dataset.ref, tokenizer.ref]
    assert [alias.digest for alias in aliases] == [dataset.digest, tokenizer.digest]
    assert registry.reuse(key_of("k"), names) == aliases
    assert len(registry.artifacts()) == 4


def test_an_alias_stays_whole_when_its_original_is_removed(registry: Registry, make) -> None:
    make("corpus", key="k", files={"a.txt": "one", "deep/b.txt": "two"})
    aliases = registry.reuse(key_of("k"), {"dataset": "texts"})
    assert aliases is not None
    remove(registry.layout, "corpus", 1)
    assert verify(aliases[0]) == ()
    assert (aliases[0].path / "deep" / "b.txt").read_text() == "two"
    assert registry.find_by_key(key_of("k")) == aliases


def test_an_alias_is_copied_where_the_disk_has_no_links(
    registry: Registry, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    make("corpus", key="k")
    monkeypatch.setattr(os, "link", no_links)
    aliases = registry.reuse(key_of("k"), {"dataset": "texts"})
    assert aliases is not None
    assert verify(aliases[0]) == ()


def test_reuse_makes_the_latest_version_what_was_last_asked_for(registry: Registry, make) -> None:
    first = make("base", "model", key="k1")
    make("base", "model", key="k2")
    again = registry.reuse(key_of("k1"), {"model": "base"})
    assert again is not None
    assert again[0].ref == "base@3"
    assert again[0].digest == first.digest
    assert registry.resolve("base") == again[0]
    assert registry.reuse(key_of("k1"), {"model": "base"}) == again


def test_reuse_does_not_take_a_name_of_another_kind(registry: Registry, make) -> None:
    make("corpus", key="k")
    make("base", "model")
    with pytest.raises(UsageError, match="of kind model"):
        registry.reuse(key_of("k"), {"dataset": "base"})


def test_an_alias_of_an_alias_names_the_first(registry: Registry, make) -> None:
    make("a", key="k")
    registry.reuse(key_of("k"), {"dataset": "b"})
    remove(registry.layout, "a", 1)
    aliases = registry.reuse(key_of("k"), {"dataset": "c"})
    assert aliases is not None
    assert aliases[0].manifest.alias_of == "a@1"


def test_a_run_whose_earlier_part_is_damaged_is_done_again(registry: Registry, make) -> None:
    dataset, _ = run_of_two(make, "corpus", "k")
    (dataset.path / "manifest.json").write_text("{}")
    assert registry.find_by_key(key_of("k")) is None
    shutil.rmtree(dataset.path)
    assert registry.find_by_key(key_of("k")) is None

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmkit.registry.cleanup import gc
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove

KEY = "k" * 64


def age(path: Path, days: float) -> None:
    for entry in [path, *path.rglob("*")]:
        os.utime(entry, (time.time() - days * 86_400,) * 2)


def interrupted(registry: Registry) -> Path:
    with pytest.raises(RuntimeError), registry.workspace(KEY) as folder:
        (folder / "step-10").write_text("weights")
        raise RuntimeError
    return folder


def test_a_registry_that_is_not_there_has_nothing_to_clear(registry: Registry) -> None:
    assert gc(registry.layout) == ()
    assert not registry.home.exists()


def test_a_sound_registry_keeps_everything(registry: Registry, make) -> None:
    corpus = make("corpus")
    registry.cached("tokens", KEY, sources=[corpus.digest], build=lambda folder: None)
    interrupted(registry)
    make("kb", "index")
    with registry.store("kb"):
        assert gc(registry.layout) == ()
    with registry.store("new"), registry.building():
        assert gc(registry.layout) == ()
    assert gc(registry.layout) == ()


DYING = """
import os, sys
from pathlib import Path
from llmkit.registry.store import Registry

with Registry(Path(sys.argv[1])).building() as folder:
    (folder / "model.bin").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), 9)
"""


def test_the_build_of_a_killed_process_goes_and_that_of_a_living_one_stays(registry: Registry) -> None:
    subprocess.run([sys.executable, "-c", DYING, registry.home], check=False)
    with registry.building() as living:
        (would_go,) = gc(registry.layout, dry_run=True)
        assert would_go.path.exists()
        assert would_go.size == 1000
        assert gc(registry.layout) == (would_go,)
        assert not would_go.path.exists()
        assert living.exists()
    assert gc(registry.layout) == ()


def test_work_that_nobody_took_up_again_goes_after_its_days(registry: Registry) -> None:
    folder = interrupted(registry)
    age(folder, 13)
    assert gc(registry.layout) == ()
    assert [leftover.path for leftover in gc(registry.layout, days=12)] == [folder]
    assert not folder.exists()


def test_old_work_that_a_process_holds_stays(registry: Registry) -> None:
    interrupted(registry)
    with pytest.raises(RuntimeError), registry.workspace(KEY) as folder:
        age(folder, 100)
        assert gc(registry.layout) == ()
        raise RuntimeError
    assert [leftover.path for leftover in gc(registry.layout)] == [folder]


def test_a_cache_goes_with_the_first_of_its_sources(registry: Registry, make) -> None:
    corpus, tokenizer = make("corpus"), make("tok", "tokenizer")
    folder = registry.cached("tokens", KEY, sources=[corpus.digest, tokenizer.digest], build=lambda folder: None)
    remove(registry.layout, "tok", 1)
    assert [leftover.path for leftover in gc(registry.layout)] == [folder]
    assert not folder.exists()


def test_remembered_digests_go_when_nobody_asks_for_long(
    registry: Registry, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make("corpus")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 60 * 10**9)
    registry.input_digest([artifact.path / "data.txt"])
    assert gc(registry.layout) == ()
    age(registry.home / "cache", 20)
    assert len(gc(registry.layout)) == 1


def test_a_store_goes_with_the_last_version_of_its_index(registry: Registry, make) -> None:
    with registry.store("kb") as folder:
        (folder / "rows.sqlite").write_text("rows")
        for _ in range(2):
            make("kb", "index")
    remove(registry.layout, "kb", 1)
    assert gc(registry.layout) == ()
    remove(registry.layout, "kb", 2)
    with registry.store("kb"):
        assert gc(registry.layout) == ()
    assert [leftover.path for leftover in gc(registry.layout)] == [folder]


def test_the_store_of_an_unfinished_index_goes_after_its_days(registry: Registry) -> None:
    with registry.store("kb") as folder:
        (folder / "rows.sqlite").touch()
    age(folder, 13)
    assert gc(registry.layout) == ()
    age(folder, 15)
    assert [leftover.path for leftover in gc(registry.layout)] == [folder]


def test_removals_that_were_cut_short_are_ended(registry: Registry, make) -> None:
    artifact = make("corpus", files={"a": "x" * 100, "deep/b": "y"})
    (artifact.path / "manifest.json").rename(artifact.path / "removed.json")
    trash = registry.home / "work" / ".trash-1"
    trash.mkdir()
    assert {(leftover.path, leftover.size) for leftover in gc(registry.layout)} == {(artifact.path, 101), (trash, 0)}
    assert [entry.name for entry in artifact.path.iterdir()] == ["removed.json"]


def test_lock_files_of_the_dead_go(registry: Registry, make) -> None:
    make("corpus")
    lock = registry.home / "locks" / "name-corpus.lock"
    lock.touch()
    gc(registry.layout)
    assert not lock.exists()

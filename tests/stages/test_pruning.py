"""Versions of an index that are removed take their rows, vectors and points with them, and the files get smaller."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from llmkit.cli.app import main
from llmkit.registry.disk import tree_size
from llmkit.registry.locks import held
from llmkit.registry.store import Registry
from llmkit.retrieval.schema import FILE, LOCK, connect
from llmkit.retrieval.store import View
from llmkit.stages.pruning import prune_store, store_shares

WORDS = [f"word{n}" for n in range(3000)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def write(folder: Path, seed: int, count: int = 60, words: int = 120) -> None:
    folder.mkdir(exist_ok=True)
    pick = random.Random(seed)
    for n in range(count):
        (folder / f"{n}.txt").write_text(f"stays{n} run{seed} " + " ".join(pick.choices(WORDS, k=words)))


def index(*more: str) -> None:
    assert main(["index", "docs", "--name", "kb", "--quiet", *more]) == 0


def three_versions(tmp_path: Path, *more: str, **size: int) -> None:
    for seed in (1, 2, 3):
        write(tmp_path / "docs", seed, **size)
        index(*more)


def rows(home: Path) -> dict[str, int]:
    db = connect(home / "stores/kb", write=False)
    tables = ("versions", "documents", "chunks", "vectors", "words_docsize")
    counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    db.close()
    return counts


def found(home: Path, version: int, *words: str) -> int:
    view = View(home / "stores/kb", version)
    count = len(view.lexical(words, 1000))
    view.close()
    return count


def test_rm_of_a_version_forgets_its_rows_and_shrinks_the_file(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_versions(tmp_path, "--embedder", "none")
    store = home / "stores/kb"
    size, before = tree_size(store), rows(home)
    assert before["documents"] == 180 and found(home, 1, "run1") == 60
    capsys.readouterr()
    assert main(["registry", "rm", "kb@1"]) == 0
    assert rows(home) == {"versions": 2, "documents": 120, "chunks": 120, "vectors": 0, "words_docsize": 120}
    assert tree_size(store) < 0.8 * size
    said = capsys.readouterr().out
    freed = float(said.split(";")[1].split()[0])
    assert "kb@1 is removed" in said and freed * 2**20 > 0.1 * size
    assert (found(home, 2, "run2"), found(home, 3, "run3"), found(home, 3, "run1")) == (60, 60, 0)
    assert main(["index", "repair", "kb"]) == 0 and main(["registry", "verify"]) == 0
    index("--embedder", "none")
    assert rows(home)["documents"] == 120


def test_gc_prunes_what_an_interrupted_removal_left_and_a_dry_run_only_says_so(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmkit.registry.upkeep import remove

    three_versions(tmp_path, "--embedder", "none")
    registry = Registry(home)
    remove(registry.layout, "kb", 1)
    remove(registry.layout, "kb", 2)
    size = tree_size(home / "stores/kb")
    capsys.readouterr()
    assert main(["registry", "gc", "--dry-run", "--json"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert any("2 versions of kb" in item["why"] for item in would["removed"]) and 0 < would["bytes"] < size
    assert rows(home)["documents"] == 180
    size = tree_size(home / "stores/kb")  # without what SQLite had still to put in its place
    assert main(["registry", "gc", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert rows(home)["documents"] == 60 and done["bytes"] == size - tree_size(home / "stores/kb") > size / 2
    assert found(home, 3, "run3") == 60
    assert main(["registry", "gc", "--json"]) == 0 and not json.loads(capsys.readouterr().out)["removed"]


def test_the_newest_rows_stay_when_their_version_is_removed_and_all_go_with_the_last_version(
    tmp_path: Path, home: Path
) -> None:
    three_versions(tmp_path, "--embedder", "none")
    assert main(["registry", "rm", "kb@3"]) == 0
    assert rows(home)["versions"] == 3
    index("--embedder", "none")
    assert found(home, 4, "run3") == 60
    for version in (1, 2, 4):
        assert main(["registry", "rm", f"kb@{version}"]) == 0
    assert not (home / "stores/kb").exists()


def test_while_it_is_written_pruning_waits_for_gc(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_versions(tmp_path, "--embedder", "none")
    with held(home / "stores/kb" / LOCK, what="the index kb", wait=False):
        assert main(["registry", "rm", "kb@1"]) == 0
        assert "the index kb is in use by process" in capsys.readouterr().out
        assert rows(home)["documents"] == 180
    assert main(["registry", "gc"]) == 0 and rows(home)["documents"] == 120


def test_an_open_reader_goes_on_while_the_store_is_pruned_and_vacuumed(tmp_path: Path, home: Path) -> None:
    three_versions(tmp_path, "--embedder", "none")
    view = View(home / "stores/kb", 3)
    before = view.lexical(["run3"], 100)
    chunks = view.chunks(list(before))
    assert main(["registry", "rm", "kb@1"]) == 0 and main(["registry", "rm", "kb@2"]) == 0
    assert view.lexical(["run3"], 100).keys() == before.keys() and view.chunks(list(before)) == chunks
    view.close()


def test_vectors_and_their_points_in_chroma_go_too(tmp_path: Path, home: Path) -> None:
    from llmkit.retrieval.embed import find_encoder
    from llmkit.retrieval.vectors import ChromaVectors

    three_versions(tmp_path, count=4, words=5)
    assert rows(home)["vectors"] == 12
    assert main(["registry", "rm", "kb@1"]) == 0
    assert rows(home)["vectors"] == 8
    chroma = ChromaVectors(home / "stores/kb", find_encoder(None).digest)
    assert chroma.in_step() and chroma.differing() == 0
    assert chroma._collection.count() == 8
    chroma.close()


def test_sizes_in_the_list_hold_the_stores_share(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_versions(tmp_path, "--embedder", "none")
    registry = Registry(home)
    shares = store_shares(registry, registry.artifacts())
    size = tree_size(home / "stores/kb")
    assert set(shares) == {"kb@1", "kb@2", "kb@3"} and size - 3 <= sum(shares.values()) <= size
    capsys.readouterr()
    assert main(["registry", "list", "--json"]) == 0
    listed = {item["ref"]: item for item in json.loads(capsys.readouterr().out)["artifacts"]}
    own = {artifact.ref: artifact.size for artifact in registry.artifacts()}
    assert all(listed[ref]["size"] == own[ref] + shares[ref] and listed[ref]["store"] == shares[ref] for ref in own)


def test_of_an_index_with_a_damaged_version_nothing_is_pruned(tmp_path: Path, home: Path) -> None:
    three_versions(tmp_path, "--embedder", "none")
    (home / "artifacts/kb/2/manifest.json").write_text("{")
    assert main(["registry", "rm", "kb@1"]) == 0
    assert rows(home)["documents"] == 180
    assert "damaged" in prune_store(Registry(home), "kb").later
    assert (home / "stores/kb" / FILE).is_file()


def test_a_version_whose_store_was_made_anew_is_refused_and_the_new_one_answers(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "docs", 1, count=3)
    index("--embedder", "none")
    (home / "stores/kb").rename(tmp_path / "away")
    assert main(["ask", "where does stays1 stand?", "--index", "kb"]) == 3
    write(tmp_path / "docs", 2, count=3)
    index("--embedder", "none")
    capsys.readouterr()
    assert main(["ask", "where does stays1 run2 stand?", "--index", "kb@1"]) == 4
    assert "store that is gone" in capsys.readouterr().err
    assert main(["ask", "where does stays1 run2 stand?", "--index", "kb"]) == 0
    assert main(["index", "repair", "kb"]) == 4
    assert "rows of" in capsys.readouterr().err

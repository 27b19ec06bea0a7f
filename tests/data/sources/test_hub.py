import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmkit.data.sources.hub import Hub, HubFacts, HubInput, describe_on_hub, fetch_hub, parse_hub_input
from llmkit.errors import DataError, NotFoundError, UnavailableError, UsageError
from llmkit.reporting.reporter import Silent

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"text": f"文書 {n}", "tags": ["a", None], "n": n or None} for n in range(2500)]
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "test.jsonl").write_text(json.dumps(rows[0] | {"n": 1}) + "\n")
    return folder


def hub(data: Path, commit: str = COMMIT, licence: str = "cc-by-4.0") -> Hub:
    return Hub(describe=lambda repo, revision: HubFacts(commit, licence), location=lambda repo: str(data))


def unreachable(repo: str, revision: str | None) -> HubFacts:
    raise UnavailableError("the Hub cannot be reached", mend="check the network")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/name", HubInput("org/name")),
        ("hf:name", HubInput("name")),
        ("hf:org/name:train", HubInput("org/name", split="train")),
        ("hf:org/name#train", HubInput("org/name", split="train")),
        ("hf:org/name@main:test", HubInput("org/name", "main", split="test")),
        ("hf:org/name@refs/convert/parquet#test", HubInput("org/name", "refs/convert/parquet", split="test")),
        ("hf:wikimedia/wikipedia:20231101.ja/train", HubInput("wikimedia/wikipedia", None, "20231101.ja", "train")),
        ("hf:wikimedia/wikipedia:20231101.ja/", HubInput("wikimedia/wikipedia", None, "20231101.ja")),
        ("hf:org/name:train[:100]", HubInput("org/name", split="train[:100]")),
    ],
)
def test_a_dataset_is_named_with_its_revision_subset_and_split(text: str, expected: HubInput) -> None:
    assert parse_hub_input(text) == expected
    assert parse_hub_input(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["hf:", "hf:a/b/c", "hf:org/name:", "hf:org/name:/train", "hf:org/name:a/b/c", "hf:o/n:a b"]
)
def test_other_spellings_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        parse_hub_input(text)


def test_each_split_becomes_a_parquet_file_that_knows_its_commit_and_licence(data: Path, tmp_path: Path) -> None:
    files = fetch_hub(HubInput("org/name"), tmp_path / "hub", Silent(), hub=hub(data))
    assert [file.source for file in files] == ["hf:org/name#train", "hf:org/name#test"]
    train = files[0]
    assert train.path.is_absolute()
    assert train.size == train.path.stat().st_size
    assert dict(train.meta, retrieved="") == {
        "dataset": "org/name", "revision": COMMIT, "license": "cc-by-4.0", "split": "train", "retrieved": "",
    }  # fmt: skip
    table = pq.read_table(train.path)
    assert table["text"].to_pylist() == [f"文書 {n}" for n in range(2500)]
    assert table["n"][0].as_py() is None
    assert table["tags"][7].as_py() == ["a", None]
    assert pq.ParquetFile(train.path).metadata.row_group(0).num_rows == 1000, "not all at once"
    assert not [path for path in (tmp_path / "hub").iterdir() if path.name.startswith(".")]


def test_one_split_or_a_piece_of_it(data: Path, tmp_path: Path) -> None:
    [test] = fetch_hub(HubInput("org/name", split="test"), tmp_path / "hub", Silent(), hub=hub(data))
    assert (test.source, pq.read_metadata(test.path).num_rows) == ("hf:org/name#test", 1)
    [piece] = fetch_hub(HubInput("org/name", split="train[:10]"), tmp_path / "hub", Silent(), hub=hub(data))
    assert pq.read_metadata(piece.path).num_rows == 10


def test_what_does_not_exist_is_named_beside_what_does(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no split 'trian'; there are train, test"):
        fetch_hub(HubInput("org/name", split="trian"), tmp_path / "hub", Silent(), hub=hub(data))
    with pytest.raises(NotFoundError, match="no subset 'ja'; there are default"):
        fetch_hub(HubInput("org/name", config="ja"), tmp_path / "hub", Silent(), hub=hub(data))


def test_a_dataset_of_several_subsets_asks_for_one(data: Path, tmp_path: Path) -> None:
    configs = "\n".join(f"- config_name: {name}\n  data_files: {name}.jsonl" for name in ("train", "test"))
    (data / "README.md").write_text(f"---\nconfigs:\n{configs}\n---\n")
    with pytest.raises(NotFoundError, match="several subsets.*there are train, test"):
        fetch_hub(HubInput("org/name"), tmp_path / "hub", Silent(), hub=hub(data))
    [file] = fetch_hub(HubInput("org/name", config="test"), tmp_path / "hub", Silent(), hub=hub(data))
    assert (file.source, file.meta["config"]) == ("hf:org/name#test/train", "test")


def test_the_same_commit_is_not_fetched_again_and_a_new_one_is(data: Path, tmp_path: Path) -> None:
    wanted, folder = HubInput("org/name", "main", split="test"), tmp_path / "hub"
    [first] = fetch_hub(wanted, folder, Silent(), hub=hub(data))
    assert fetch_hub(wanted, folder, Silent(), hub=hub(tmp_path / "gone")) == [first]
    (data / "test.jsonl").write_text('{"text": "new"}\n{"text": "rows"}\n')
    (data / "train.jsonl").unlink()
    [second] = fetch_hub(wanted, folder, Silent(), hub=hub(data, commit="f" * 40))
    assert second.meta["revision"] == "f" * 40
    assert second.source == first.source
    assert second.path != first.path
    assert pq.read_metadata(second.path).num_rows == 2


def test_without_the_hub_an_earlier_fetch_is_used_and_else_it_is_unavailable(data: Path, tmp_path: Path) -> None:
    wanted, report = HubInput("org/name", split="test"), Silent()
    [first] = fetch_hub(wanted, tmp_path / "hub", Silent(), hub=hub(data))
    assert fetch_hub(wanted, tmp_path / "hub", report, hub=Hub(describe=unreachable)) == [first]
    assert "the Hub cannot be reached; what was fetched at" in report.warnings[0]
    with pytest.raises(UnavailableError):
        fetch_hub(HubInput("org/other"), tmp_path / "hub", Silent(), hub=Hub(describe=unreachable))


def test_a_pinned_commit_that_is_here_asks_nobody(data: Path, tmp_path: Path) -> None:
    wanted, report = HubInput("org/name", COMMIT, split="test"), Silent()
    [first] = fetch_hub(wanted, tmp_path / "hub", Silent(), hub=hub(data))
    assert fetch_hub(wanted, tmp_path / "hub", report, hub=Hub(describe=unreachable)) == [first]
    assert report.warnings == ()


def test_an_interrupted_fetch_leaves_nothing_that_looks_whole(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    wanted, folder = HubInput("org/name", split="test"), tmp_path / "hub"
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_hub(wanted, folder, Silent(), hub=hub(data))
    assert list(folder.iterdir()) == []


def test_a_repository_without_data_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be loaded"):
        fetch_hub(HubInput("org/name"), tmp_path / "hub", Silent(), hub=hub(tmp_path / "empty"))


def test_the_hub_that_is_switched_off_is_unavailable_with_a_mend() -> None:
    with pytest.raises(UnavailableError, match="switched off") as caught:
        describe_on_hub("nobody/nothing", "main")
    assert caught.value.where == "hf:nobody/nothing@main"
    assert caught.value.mend is not None


def test_a_hub_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    class LostError(HfHubHTTPError.__bases__[0]):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            Exception.__init__(self, "refused")

    def lost(*args: Any, **more: Any) -> None:
        raise LostError

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lost)
    with pytest.raises(UnavailableError):
        describe_on_hub("nobody/nothing", None)


def test_a_name_that_cannot_be_one_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        describe_on_hub("no--such..name-", None)

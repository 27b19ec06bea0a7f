import json
import random
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from llmkit.config.sections import CleanOptions, DedupOptions, SplitOptions
from llmkit.data.corpus.pipeline import CorpusOptions, DatasetResult, Engine, build_corpus
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.dataset import DOCUMENTS, Dataset
from llmkit.data.pairs import build_docstring_pairs
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.docstrings import DocstringOptions
from llmkit.data.sources.collect import collect
from llmkit.errors import DataError, StorageError
from llmkit.reporting.reporter import Silent

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"


def build(folder: Path, out: Path, workers: int = 1, **options: Any) -> DatasetResult:
    work = out.with_name(f"{out.name}-work")
    engine = Engine(workers=workers)
    return build_corpus(
        collect([str(folder)]), out, CorpusOptions(**options), work=work, engine=engine, reporter=Silent()
    )


def prose(seed: int, words: int = 200) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(["river", "stone", "walks", "under", "quiet", "seven", "light"]) + str(rng.randrange(99))
                    for _ in range(words))  # fmt: skip


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(20):
        (folder / f"doc{seed:02}.txt").write_text(prose(seed), encoding="utf-8")
    (folder / "same.txt").write_text(prose(3).upper(), encoding="utf-8")
    (folder / "near.txt").write_text(prose(4) + " and a tail", encoding="utf-8")
    (folder / "sjis.txt").write_bytes(JAPANESE.encode("cp932"))
    (folder / "blob.txt").write_bytes(random.Random(1).randbytes(200_000))
    (folder / "nul.txt").write_bytes(prose(99).encode() + b"\0")
    (folder / "short.md").write_text("hi", encoding="utf-8")
    (folder / "empty.md").write_text("", encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"text": "' + prose(50) + '"}\n{bad\n', encoding="utf-8")
    return folder


def test_every_document_is_in_the_result_or_among_the_drops(messy: Path, tmp_path: Path) -> None:
    result = build(messy, tmp_path / "out")
    dataset = Dataset.open(tmp_path / "out")
    kept = {Path(each.document.source).name for each in dataset.documents()}
    drops = {(Path(drop.source).name, drop.step, drop.reason) for drop in dataset.drops()}
    assert drops == {
        ("same.txt", "dedup", "exact_duplicate"),
        ("near.txt", "dedup", "near_duplicate"),
        ("blob.txt", "read", "binary"),
        ("short.md", "normalise", "too_short"),
        ("empty.md", "read", "empty"),
        ("rows.jsonl", "read", "bad_json"),
    }
    assert kept == {f"doc{seed:02}.txt" for seed in range(20)} | {"sjis.txt", "nul.txt", "rows.jsonl"}
    assert sum(result.rows.values()) == 23
    texts = {Path(each.document.source).name: each.document.text for each in dataset.documents()}
    assert texts["sjis.txt"] == JAPANESE
    assert "\0" not in texts["nul.txt"]


def test_the_report_is_a_waterfall_that_adds_up(messy: Path, tmp_path: Path) -> None:
    build(messy, tmp_path / "out")
    report = Dataset.open(tmp_path / "out").report()
    steps = {step["step"]: step for step in report["steps"]}  # type: ignore[attr-defined]
    assert steps["collect"]["files"] == 28
    assert [steps[step]["documents"] for step in ("read", "normalise", "dedup")] == [26, 25, 23]
    splits: dict[str, dict[str, int]] = report["splits"]  # type: ignore[assignment]
    assert sum(split["documents"] for split in splits.values()) == 23
    assert sum(split["characters"] for split in splits.values()) == steps["dedup"]["characters"]
    assert report["drops"] == {
        "read": {"bad_json": 1, "binary": 1, "empty": 1},
        "normalise": {"too_short": 1},
        "dedup": {"exact_duplicate": 1, "near_duplicate": 1},
    }
    assert report["changes"] == {"normalise": {"control_characters": {"documents": 1, "changes": 1}}}
    assert report["missing_splits"] == []


def test_near_duplicates_never_straddle_a_split_when_they_are_kept(messy: Path, tmp_path: Path) -> None:
    for seed in range(8):
        options = {"dedup": DedupOptions(duplicates="none"), "split": SplitOptions(validation=0.3, test=0.3)}
        build(messy, tmp_path / str(seed), seed=seed, **options)
        splits: dict[str, set[str]] = {}
        for each in Dataset.open(tmp_path / str(seed)).documents():
            splits.setdefault(each.cluster, set()).add(each.split)
        assert all(len(found) == 1 for found in splits.values())
        assert len(splits) == 23


def test_only_exact_duplicates_are_dropped_on_request(messy: Path, tmp_path: Path) -> None:
    result = build(messy, tmp_path / "out", dedup=DedupOptions(duplicates="exact"))
    assert sum(result.rows.values()) == 24


def test_the_split_does_not_depend_on_where_the_folder_lies(messy: Path, tmp_path: Path) -> None:
    build(messy, tmp_path / "here")
    messy.rename(tmp_path / "elsewhere")
    build(tmp_path / "elsewhere", tmp_path / "there")
    where = [
        {Path(each.document.source).name: each.split for each in Dataset.open(tmp_path / name).documents()}
        for name in ("here", "there")
    ]
    assert where[0] == where[1]


def test_ids_of_the_data_stay_unique(tmp_path: Path) -> None:
    rows = [{"id": n % 3, "text": prose(n)} for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = PrepareOptions(read=ReadOptions(id_field="id"))
    result = build(tmp_path / "rows.jsonl", tmp_path / "out", prepare=options)
    dataset = Dataset.open(tmp_path / "out")
    assert sorted(each.document.record for each in dataset.documents()) == ["0", "1", "2"]
    assert [(drop.record, drop.step, drop.reason) for drop in dataset.drops()] == [
        ("0", "dedup", "repeated_id"),
        ("1", "dedup", "repeated_id"),
    ]
    assert sum(result.rows.values()) == 3


def test_one_document_is_trained_on_and_the_missing_splits_are_flagged(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(prose(1, 5000), encoding="utf-8")
    result = build(tmp_path / "book.txt", tmp_path / "out")
    assert (dict(result.rows), result.missing) == ({"train": 1, "validation": 0, "test": 0}, ("validation", "test"))


def test_if_nothing_is_left_the_error_says_why(tmp_path: Path) -> None:
    (tmp_path / "blob.txt").write_bytes(random.Random(1).randbytes(200_000))
    with pytest.raises(DataError, match=r"no text is left of 1 file \(1 binary\)") as caught:
        build(tmp_path / "blob.txt", tmp_path / "out")
    assert "blob.txt" in str(caught.value.where)


def test_fifty_megabytes_in_one_line_are_one_document(tmp_path: Path) -> None:
    line = (prose(1, 20_000) + " ") * 280
    (tmp_path / "line.txt").write_text(line[:50_000_000], encoding="utf-8")
    assert build(tmp_path / "line.txt", tmp_path / "out").rows["train"] == 1


def test_a_folder_that_cannot_be_written_is_a_storage_error(messy: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    out = tmp_path / "out"
    out.mkdir()
    (out / DOCUMENTS).symlink_to(full)
    with pytest.raises(StorageError, match="no space is left") as caught:
        build(messy, out)
    assert "free space" in str(caught.value.mend)


def test_pairs_inherit_the_split_of_their_file_and_do_not_repeat(tmp_path: Path) -> None:
    collected = collect(["python:stdlib"], include=["/s*.py", "json/**", "/t*.py"])
    options = CorpusOptions(PrepareOptions(clean=CleanOptions()), split=SplitOptions(validation=0.2, test=0.1))
    build_corpus(collected, tmp_path / "corpus", options, work=tmp_path / "work", engine=Engine(), reporter=Silent())
    corpus = Dataset.open(tmp_path / "corpus")
    result = build_docstring_pairs(corpus, tmp_path / "pairs", DocstringOptions(), workers=1, reporter=Silent())
    split_of = {each.document.source: each.split for each in corpus.documents()}
    pairs = Dataset.open(tmp_path / "pairs")
    examples = list(pairs.examples())
    assert all(example.split == split_of[example.source] for example in examples)
    assert len({example.prompt[0].content for example in examples}) == len(examples) == sum(result.rows.values()) > 300
    assert all(count > 0 for count in result.rows.values())
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    for example in examples[:50]:
        lines = Path(example.source).read_text(encoding="utf-8").split("\n")
        assert Path(example.source).is_relative_to(stdlib)
        assert example.completion in lines[int(str(example.meta["docstring_line"])) - 1]


def test_pairs_need_python_and_texts(messy: Path, tmp_path: Path) -> None:
    build(messy, tmp_path / "corpus")
    with pytest.raises(DataError, match="no pair can be made"):
        build_docstring_pairs(
            Dataset.open(tmp_path / "corpus"), tmp_path / "out", DocstringOptions(), workers=1, reporter=Silent()
        )

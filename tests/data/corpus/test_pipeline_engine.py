"""What the engine promises: the same bytes however the work is done, resumed work, bounded memory, nothing lost."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import signal
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.texts import ARABIC, BOTCHAN, FOOTER, QUESTION, prose

from llmkit.config.sections import (
    DecontaminateOptions,
    DedupOptions,
    LanguageOptions,
    PrivacyOptions,
    QualityOptions,
    SplitOptions,
)
from llmkit.data.corpus import shards as shards_module
from llmkit.data.corpus.pipeline import (
    CONTAMINATION,
    CorpusOptions,
    Engine,
    build_corpus,
    prepare_shards,
    require_shards,
)
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.shards import Shard, plan_shards
from llmkit.data.corpus.shardwork import ShardDone, ShardJob, work_shard
from llmkit.data.dataset import DOCUMENTS, DROPS, REPORT, Dataset
from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.sources.collect import collect
from llmkit.data.steps.decontamination.eval_sets import read_eval_set
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.errors import DataError, NotFoundError, RunError, UnavailableError
from llmkit.reporting.reporter import Silent

FILES = (DOCUMENTS, DROPS, REPORT, CONTAMINATION)


def mixed_folder(folder: Path) -> Path:
    """Documents of many formats, scripts and faults; copies and near copies of each other; an evaluation question."""
    folder.mkdir()
    for seed in range(8):
        (folder / f"text{seed}.txt").write_text(f"{prose(seed)}\n{FOOTER}\nMail keeper{seed}@example.org today.")
        (folder / f"note{seed}.md").write_text(f"# Note {seed}\n\n{prose(50 + seed)}\n\n{FOOTER}\n")
    (folder / "copy.txt").write_text(prose(3).upper() + f"\n{FOOTER}\nMail keeper3@example.org today.")
    (folder / "near.md").write_text(f"# Note 4\n\n{prose(54)}\n\nA last line.\n\n{FOOTER}\n")
    (folder / "ja.txt").write_text(BOTCHAN, encoding="cp932")
    (folder / "ar.txt").write_text(ARABIC * 6)
    (folder / "quiz.txt").write_text(f"{prose(90)}\nAnd then he asked {QUESTION} to warn the ships.\n{prose(91)}")
    paragraphs = "".join(f"<p>{line}</p>" for line in prose(92).split("\n"))
    (folder / "page.html").write_text(f"<html><head><title>Tower</title></head><body>{paragraphs}</body></html>")
    rows = [json.dumps({"id": n, "text": prose(100 + n % 70, 4), "license": "cc0"}) for n in range(90)]
    rows[40] = "{broken"
    rows[41] = '{"text": 7}'
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([n, prose(300 + n, 3)] for n in range(12))])
    with zipfile.ZipFile(folder / "pack.zip", "w") as archive:
        archive.writestr("inside/a.txt", prose(400))
        archive.writestr("inside/b.md", prose(401))
        archive.writestr(".env", "SECRET=1")
    (folder / "story.txt.gz").write_bytes(gzip.compress(prose(402).encode(), mtime=0))
    (folder / "blob.txt").write_bytes(random.Random(1).randbytes(9_000))
    (folder / "short.txt").write_text("hi")
    (folder / "few.txt").write_text("Only a few words in here.")
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    (root / "quiz.jsonl").write_text(json.dumps({"id": "q1", "question": QUESTION}) + "\n")
    return mixed_folder(root / "in")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SHARD_BYTES", 4_000)
    monkeypatch.setattr("llmkit.data.corpus.pipeline._WORTH_WORKERS", 0)


def everything(mixed: Path, **changed: Any) -> CorpusOptions:
    """All steps on."""
    against = (str(mixed.parent / "quiz.jsonl"),)
    prepare = PrepareOptions(
        read=ReadOptions(sandbox=False),
        language=LanguageOptions(drop_languages=("ar",)),
        quality=QualityOptions(rules=("gopher_quality", "gopher_repetition", "c4", "fineweb"),
                               threshold=("gopher_quality.min_words=20",)),
        privacy=PrivacyOptions(pii="replace"),
        decontaminate=DecontaminateOptions(against=against, ngram=8, contaminated=changed.get("contaminated", "drop")),
        grams=EvalGrams.build({"quiz": read_eval_set(mixed.parent / "quiz.jsonl")}, 8),
    )  # fmt: skip
    return CorpusOptions(prepare, DedupOptions(repeated_lines=6), SplitOptions(validation=0.1, test=0.1))


def build(mixed: Path, out: Path, options: CorpusOptions, workers: int = 1, kind: Any = "local") -> dict[str, bytes]:
    """The files of the dataset; `out` with `-work` keeps the shards."""
    engine = Engine(workers=workers, kind=kind)
    work = out.with_name(f"{out.name}-work")
    build_corpus(collect([str(mixed)]), out, options, work=work, engine=engine, reporter=Silent())
    return {name: (out / name).read_bytes() for name in FILES if (out / name).exists()}


@pytest.fixture(scope="module")
def whole(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """What one worker makes of the folder with all steps on, in small shards."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "SHARD_BYTES", 4_000)
        files = build(mixed, out, everything(mixed))
    assert set(files) == set(FILES)
    return out, files


def test_each_step_drops_what_it_should_and_says_why(whole: tuple[Path, dict[str, bytes]]) -> None:
    dataset = Dataset.open(whole[0])
    drops = {(Path(drop.source).name, drop.step): drop for drop in dataset.drops()}
    assert drops["blob.txt", "read"].reason == "binary"
    assert drops["short.txt", "normalise"].reason == "too_short"
    assert drops["ar.txt", "language"].reason == "dropped_language"
    assert drops["few.txt", "quality"].reason.startswith("gopher_quality.")
    assert drops["text3.txt", "dedup"].reason in ("exact_duplicate", "near_duplicate")
    assert drops["text3.txt", "dedup"].of
    assert drops["quiz.txt", "decontaminate"].reason == "contaminated"
    reasons = Counter((drop.step, drop.reason) for drop in dataset.drops())
    assert reasons["read", "bad_json"] == 1
    texts = {each.document.source.rsplit("/", 1)[-1]: each.document.text for each in dataset.documents()}
    assert texts["ja.txt"] == BOTCHAN
    assert "keeper0@example.org" not in texts["text0.txt"]
    assert not any(FOOTER in text for text in texts.values())
    assert {"a.txt", "b.md", "story.txt.gz", "page.html"} <= {name.split("!/")[-1] for name in texts}
    report = dataset.report()
    assert report["contamination"] == {
        "quiz": {"items": 1, "items_hit": 1, "too_short": 0, "common_grams": 0, "documents_hit": 1}
    }
    recorded = json.loads((whole[0] / CONTAMINATION).read_text())
    assert recorded["documents"] == "drop"
    assert recorded["sets"]["quiz"]["hits"] == ["q1"]


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_does_not_change_a_byte(
    mixed: Path, tmp_path: Path, whole: tuple[Path, dict[str, bytes]], workers: int
) -> None:
    monkeypatched = len(plan_shards(collect([str(mixed)]).files))
    assert monkeypatched > 8
    assert build(mixed, tmp_path / "out", everything(mixed), workers) == whole[1]


@pytest.mark.usefixtures("small_shards")
def test_parts_done_apart_and_put_together_are_the_same_bytes(
    mixed: Path, tmp_path: Path, whole: tuple[Path, dict[str, bytes]]
) -> None:
    collected, options, work = collect([str(mixed)]), everything(mixed), tmp_path / "out-work"

    def part(number: int) -> int:
        done = prepare_shards(collected, options, work=work, engine=Engine(), reporter=Silent(), part=(number, 3))
        return len(done.folders)

    total = part(3) + part(1)
    with pytest.raises(NotFoundError, match=r"shards are not done: 000001, 000004") as caught:
        require_shards(collected, work)
    assert "--shard" in str(caught.value.mend)
    total += part(2)
    require_shards(collected, work)
    assert total == len(plan_shards(collected.files))
    before = inodes(work / "shards")
    assert build(mixed, tmp_path / "out", options) == whole[1]
    assert inodes(work / "shards") == before


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_an_interrupted_run_goes_on_with_the_shards_it_has(
    mixed: Path, tmp_path: Path, whole: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    work = tmp_path / "out-work"
    done = 0

    def breaking(job: ShardJob, shard: Shard) -> ShardDone:
        nonlocal done
        if done == 5:
            raise error("in the middle")
        done += 1
        return work_shard(job, shard)

    with monkeypatch.context() as patch:
        patch.setattr("llmkit.data.corpus.pipeline.work_shard", breaking)
        with pytest.raises(error):
            build(mixed, tmp_path / "out", everything(mixed))
    assert not (tmp_path / "out").exists()
    before = inodes(work / "shards")
    assert sorted(before) == [f"{number:06}" for number in range(5)]
    (work / "shards" / ".000005.0123456789ab.tmp").mkdir()  # what a kill leaves
    assert build(mixed, tmp_path / "out", everything(mixed)) == whole[1]
    after = inodes(work / "shards")
    assert {name: after[name] for name in before} == before


def killed_over_the_fourth(job: ShardJob, shard: Shard) -> ShardDone:
    if shard.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return work_shard(job, shard)


@pytest.mark.usefixtures("small_shards")
def test_a_process_that_dies_over_a_shard_twice_stops_the_run_and_the_next_one_goes_on(
    mixed: Path, tmp_path: Path, whole: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("llmkit.data.corpus.pipeline.work_shard", killed_over_the_fourth)
        with pytest.raises(RunError, match="SIGKILL") as caught:
            build(mixed, tmp_path / "out", everything(mixed), workers=2)
    assert "ended while it worked on" in caught.value.message
    assert "it goes on" in str(caught.value.mend)
    assert build(mixed, tmp_path / "out", everything(mixed)) == whole[1]


@pytest.mark.usefixtures("small_shards")
def test_ray_gives_the_same_bytes(mixed: Path, tmp_path: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    pytest.importorskip("ray")
    assert build(mixed, tmp_path / "out", everything(mixed), kind="ray") == whole[1]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_error_says_what_to_install(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        build(mixed, tmp_path / "out", CorpusOptions(), kind="ray")
    assert "llmkit[ray]" in str(caught.value.mend)


def test_contaminated_documents_that_are_kept_are_recorded(mixed: Path, tmp_path: Path) -> None:
    build(mixed, tmp_path / "out", everything(mixed, contaminated="keep"))
    record = json.loads((tmp_path / "out" / CONTAMINATION).read_text())
    assert record["documents"] == "keep"
    assert record["sets"]["quiz"] | {"hits": ["q1"], "documents_hit": 1} == record["sets"]["quiz"]
    (found,) = [row for row in rows_of(tmp_path / "out") if '"contaminated"' in row["facts"]]
    assert found["source"].endswith("quiz.txt")


def rows_of(out: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(out / DOCUMENTS).to_pylist()
    return rows


def test_a_phrase_leads_back_to_its_line_of_the_source(mixed: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    checked = 0
    for each in Dataset.open(whole[0]).documents():
        document = each.document
        if document.record or "!/" in document.source or not document.source.endswith((".txt", ".md")):
            continue
        encoding = "cp932" if document.source.endswith("ja.txt") else "utf-8"
        source = Path(document.source).read_text(encoding).split("\n")
        offset = 0
        for line in document.text.split("\n"):
            if line in source and line:
                assert source[document.source_line(offset) - 1] == line
                checked += 1
            offset += len(line) + 1
    assert checked > 80


def test_strict_stops_at_the_first_document_that_cannot_be_read(mixed: Path, tmp_path: Path) -> None:
    options = CorpusOptions(PrepareOptions(read=ReadOptions(sandbox=False)), strict=True)
    with pytest.raises(DataError, match="binary") as caught:
        build(mixed, tmp_path / "out", options)
    assert caught.value.where == str(mixed / "blob.txt")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": prose(1)}) + "\n{bad\n")
    with pytest.raises(DataError, match="bad json") as caught:
        build(tmp_path / "rows.jsonl", tmp_path / "other", options)
    assert caught.value.where == f"{tmp_path / 'rows.jsonl'}:2"


def test_what_was_named_and_could_not_be_had_is_among_the_drops(mixed: Path, tmp_path: Path) -> None:
    drop = Drop("https://example.org/gone", "collect", "not_found", "HTTP 404")
    collected = collect([str(mixed / "text1.txt")], drops=[drop])
    result = build_corpus(
        collected, tmp_path / "out", CorpusOptions(), work=tmp_path / "w", engine=Engine(), reporter=Silent()
    )
    assert list(Dataset.open(tmp_path / "out").drops()) == [drop]
    assert result.report["drops"] == {"collect": {"not_found": 1}}
    with pytest.raises(DataError, match="not found"):
        build_corpus(
            collected,
            tmp_path / "other",
            CorpusOptions(strict=True),
            work=tmp_path / "w2",
            engine=Engine(),
            reporter=Silent(),
        )

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.corpus import shards
from llmkit.data.corpus.shards import origin, plan_shards, read_unit
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file
from llmkit.data.sources.collect import SourceFile, collect

OPTIONS = ReadOptions(sandbox=False)


def files(sizes: list[int]) -> list[SourceFile]:
    """None of them is there, so none can be cut."""
    return [SourceFile(Path(f"/nowhere/{number}.txt"), f"{number}.txt", size) for number, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 5 << 20), max_size=60))
def test_every_file_is_in_one_shard_in_order_and_no_shard_grows_without_end(sizes: list[int]) -> None:
    given_files = files(sizes)
    planned = plan_shards(given_files)
    assert [unit.file for shard in planned for unit in shard.units] == given_files
    assert [shard.number for shard in planned] == list(range(len(planned)))
    assert all(shard.units for shard in planned)
    assert all(shard.size <= shards.SHARD_BYTES or len(shard.units) == 1 for shard in planned)
    assert plan_shards(given_files) == planned


def test_many_small_files_are_several_shards() -> None:
    planned = plan_shards(files([10] * 1300))
    assert [len(shard.units) for shard in planned] == [512, 512, 276]
    assert [shard.name for shard in planned] == ["000000", "000001", "000002"]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_large_file_of_records_is_cut_and_its_parts_together_are_the_whole(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = data.draw(st.lists(st.text(max_size=60), min_size=1, max_size=60))
    cut = data.draw(st.integers(50, 2000))
    folder = tmp_path_factory.mktemp("rows")
    lines = [json.dumps({"text": text}, ensure_ascii=data.draw(st.booleans())) for text in texts]
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    parquet.write_table(pa.table({"text": texts}), folder / "b.parquet", row_group_size=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", cut)
        for name in ("a.jsonl", "b.parquet"):
            planned = plan_shards(collect([str(folder / name)]).files)
            items = [item for shard in planned for unit in shard.units for item in read_unit(unit, OPTIONS)]
            assert items == list(read_file(folder / name, OPTIONS))
            if (folder / name).stat().st_size > 4 * cut and name == "a.jsonl":
                assert len(planned) > 1


def test_a_large_file_that_is_damaged_is_left_whole_to_its_reader_which_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    path = tmp_path / "cut.parquet"
    parquet.write_table(pa.table({"text": [f"row {number} of the table" for number in range(500)]}), path)
    path.write_bytes(path.read_bytes()[:2000] + b"PAR1")
    (shard,) = plan_shards(collect([str(path)]).files)
    (drop,) = read_unit(shard.units[0], OPTIONS)
    assert getattr(drop, "reason", "") == "parse_error"


def test_facts_of_a_file_are_on_each_of_its_documents_and_the_documents_own_win(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        "<html><head><title>Otters</title></head><body><p>" + "Otters hold hands. " * 20 + "</p></body></html>"
    )
    file = SourceFile(path, "page", 10, source="https://example.org/otters", meta={"title": "x", "license": "cc0"})
    (document,) = read_unit(shards.Unit(file, 10), OPTIONS)
    assert document.source == "https://example.org/otters"
    meta = getattr(document, "meta", {})
    assert (meta["license"], meta["title"]) == ("cc0", "Otters")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (SourceFile(Path("/home/a/docs/wiki/x/y.txt"), "wiki/x/y.txt", 1), "docs/wiki"),
        (SourceFile(Path("/home/a/docs/y.txt"), "y.txt", 1), "docs"),
        (SourceFile(Path("/c/1"), "1", 1, source="https://example.org/a/b"), "example.org"),
        (SourceFile(Path("/c/1"), "1", 1, source="stdin:"), "stdin:"),
        (SourceFile(Path("/c/1"), "corpus@3", 1, form="dataset"), "corpus@3"),
    ],
)
def test_an_origin_is_a_folder_a_file_a_host_or_a_dataset(file: SourceFile, expected: str) -> None:
    assert origin(file) == expected

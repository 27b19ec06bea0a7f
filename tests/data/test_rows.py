import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from llmkit.data import rows as rows_module
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file, read_range
from llmkit.data.rows import (
    BadRow,
    Range,
    Row,
    jsonl_ranges,
    parquet_ranges,
    read_jsonl_range,
    read_row_range,
    read_rows,
)

LINES = st.lists(
    st.one_of(
        st.builds(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace"), st.text()),
        st.just(b""),
        st.binary(max_size=20).map(lambda data: data.replace(b"\n", b" ")),
    ),
    max_size=30,
)
each_example_in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@each_example_in_one_folder
@given(LINES, st.integers(1, 120), st.booleans(), st.booleans())
def test_the_ranges_of_a_jsonl_together_are_the_whole(
    tmp_path: Path, lines: list[bytes], target: int, ends: bool, crlf: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((b"\r\n" if crlf else b"\n").join(lines) + (b"\n" if ends else b""))
    ranges = jsonl_ranges(path, target)
    together = [row for part in ranges for row in read_row_range(path, "jsonl", part)]
    assert together == list(read_rows(path, "jsonl"))
    assert [part.start for part in ranges] == [0, *(part.end for part in ranges)][: len(ranges)]
    assert all(part.end - part.start >= target for part in ranges[:-1])


@each_example_in_one_folder
@given(LINES, st.lists(st.integers(0, 400), max_size=5))
def test_a_line_belongs_to_the_range_it_begins_in_wherever_that_is_cut(
    tmp_path: Path, lines: list[bytes], cuts: list[int]
) -> None:
    path = tmp_path / "a.jsonl"
    data = b"\n".join(lines)
    path.write_bytes(data)
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    together: list[Row | BadRow] = []
    for start, end in pairwise(bounds):
        # Lines that begin before `start`: the first, and one behind each newline before the byte in front of it.
        number = 1 + data.count(b"\n", 0, start - 1) + (start > 0) if start else 1
        together += read_jsonl_range(path, start, end, number)
    assert together == list(read_rows(path, "jsonl"))


def test_cuts_do_not_depend_on_how_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * (n % 50)}) + "\n" for n in range(200)))
    whole = jsonl_ranges(path, 500)
    monkeypatch.setattr(rows_module, "_COUNT_BYTES", 7)
    assert jsonl_ranges(path, 500) == whole
    assert len(whole) > 5


def test_a_line_too_long_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_MAX_LINE_BYTES", 50)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' + '{"text": "' + "b" * 80 + '"}\n{"text": "c"}\n')
    first, long, last = read_rows(path, "jsonl")
    assert isinstance(long, BadRow)
    assert (long.number, long.reason) == (2, "too_large")
    assert (first, last) == (Row(1, {"text": "a"}), Row(3, {"text": "c"}))


@pytest.mark.parametrize("target", [1, 400, 10**9])
def test_the_ranges_of_a_parquet_file_together_are_the_whole(tmp_path: Path, target: int) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"第{n}行の本文です。" for n in range(100)]
    parquet.write_table(pa.table({"text": texts}), path, row_group_size=7)
    options = ReadOptions(sandbox=False)
    ranges = parquet_ranges(path, target)
    together = [item for part in ranges for item in read_range(path, "parquet", part, options)]
    assert together == list(read_file(path, options))
    assert [item.record for item in together] == [str(n) for n in range(1, 101)]
    assert len(ranges) == {1: 15, 10**9: 1}.get(target, len(ranges))


def test_a_range_of_a_jsonl_gives_the_documents_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps({"text": f"行 {n}"}) + "\n" for n in range(50)), encoding="utf-8")
    ranges = jsonl_ranges(path, 100)
    together = [item for part in ranges for item in read_range(path, "jsonl", part, source="https://example.com/a")]
    assert together == list(read_file(path, source="https://example.com/a"))


def test_an_empty_file_has_no_ranges_and_other_formats_have_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    assert jsonl_ranges(tmp_path / "a.jsonl", 10) == []
    for attempt in (
        lambda: read_row_range(tmp_path / "a.jsonl", "csv", Range(0, 1, 1)),
        lambda: jsonl_ranges(tmp_path / "a.jsonl", 0),
    ):
        with pytest.raises(ValueError, match="range"):
            attempt()

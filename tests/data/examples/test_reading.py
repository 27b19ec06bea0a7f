import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from llmkit.data.examples import detect_schema, read_examples, read_training_rows
from llmkit.data.examples.fields import RowDrop
from llmkit.data.schemas import EXAMPLE_SCHEMAS, ExampleSchema
from llmkit.errors import DataError, NotFoundError

ROLE_TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read(path: Path, schema: ExampleSchema) -> list[Any]:
    return list(read_training_rows([path], schema))


def test_rows_are_the_same_in_every_format_also_compressed(tmp_path: Path) -> None:
    rows = [{"text": "いい\n映画", "label": "1"}, {"text": "bad", "label": "0"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    (tmp_path / "d.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "e.csv").write_text('text,label\n"いい\n映画",1\nbad,0\n', encoding="utf-8")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    found = {path.name: read(path, "label") for path in sorted(tmp_path.iterdir())}
    assert len(found) == 6
    for name, examples in found.items():
        assert [(each.text, each.label) for each in examples] == [("いい\n映画", "1"), ("bad", "0")], name
        assert {each.source for each in examples} == {str(tmp_path / name)}


def test_a_damaged_compressed_file_and_one_that_fills_the_disk_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(b'{"text": "a", "label": 1}\n' * 100_000)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "cut.jsonl.gz", "label")
    (tmp_path / "bomb.jsonl.gz").write_bytes(packed)
    monkeypatch.setattr("llmkit.data.examples.files._ALWAYS_FINE_BYTES", 1 << 20)
    with pytest.raises(DataError, match="unpacks to more"):
        read(tmp_path / "bomb.jsonl.gz", "label")
    with pytest.raises(NotFoundError):
        read(tmp_path / "gone.jsonl", "label")


def test_rows_keep_the_split_they_name_and_then_that_of_their_file(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": 1, "split": "dev"},
        {"text": "b", "label": 1},
        {"text": "c", "label": 1, "split": "easy"},
    ]
    train, test = jsonl(tmp_path / "train.jsonl", *rows), jsonl(tmp_path / "my_test-00001.jsonl", *rows)

    def splits(*paths: Path) -> list[object]:
        return [each.split for each in read_training_rows(paths, "label") if not isinstance(each, RowDrop)]

    assert splits(train, test) == ["validation", "train", "train", "validation", "test", "test"]
    assert splits(train) == ["validation", None, None]
    assert splits(jsonl(tmp_path / "train_test.jsonl", *rows)) == ["validation", None, None]


def test_forms_are_counted_and_a_file_has_one(tmp_path: Path) -> None:
    forms: Counter[str] = Counter()
    pair = {"text": "a", "text_pair": "b", "label": 1}
    path = jsonl(tmp_path / "a.jsonl", pair, {"text": "a", "label": 1}, "{", pair)
    found = list(read_training_rows([path], "label", forms=forms))
    assert forms == {"pair": 2}
    drops = [each for each in found if isinstance(each, RowDrop)]
    assert [(drop.step, drop.reason, drop.record) for drop in drops] == [
        ("check", "mixed_forms", "2"),
        ("read", "bad_json", "3"),
    ]


# Which schema


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, ("preference", "pair")),
        ({"data": [{"paragraphs": []}], "version": "2"}, ("span", "squad")),
        ({"question": "a", "context": "b", "answers": {"text": [], "answer_start": []}}, ("span", "flat")),
        ({"question": "a", "context": "b", "answer": "c"}, ("chat", "prompt")),
        ({"text": "a", "label": 1}, ("label", "text")),
        ({"premise": "a", "hypothesis": "b", "label": 1}, ("label", "pair")),
        ({"text": "a"}, ("chat", "text")),
        ({"messages": ROLE_TURNS, "label": 1}, ("chat", "messages")),
        ({"instruction": "a", "context": "", "response": "b"}, ("chat", "alpaca")),
        ({"data": [{"prompt": "a", "completion": "b"}], "version": 1, "name": "n"}, None),
        ({"x": 1}, None),
    ],
)
def test_the_fields_tell_the_schema(tmp_path: Path, row: dict[str, object], schema: object) -> None:
    assert detect_schema([jsonl(tmp_path / "a.jsonl", "oops", row)]) == schema


def test_finetuning_is_told_what_the_wrong_file_holds(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    with pytest.raises(DataError, match="looks like preference pairs") as caught:
        read_examples([path])
    assert "--for preference" in str(caught.value.mend)


KEYS = """messages conversations role content from value instruction input output prompt completion question answer
    answers answer_start start context text label labels text_pair premise hypothesis paragraphs data qas
    chosen rejected response_0 response_1 better_response_id system id split tools is_impossible"""
NAMES = st.sampled_from(KEYS.split()) | st.text(max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.sampled_from(["\ud800", "user", "assistant", "\n\nHuman: "]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(NAMES, JSON, max_size=6) | JSON, max_size=5))
def test_any_rows_become_examples_or_drops_with_their_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object]
) -> None:
    path = jsonl(tmp_path_factory.mktemp("rows") / "a.jsonl", *[json.dumps(row) for row in rows])
    lines = [str(line) for line in range(1, len(rows) + 1)]
    for schema in EXAMPLE_SCHEMAS:
        found = read(path, schema)
        # A row of the schema span may be an article with any number of questions; all others are one thing.
        assert schema == "span" or [each.record for each in found] == lines
        for each in found:
            if isinstance(each, RowDrop):
                assert each.reason
                (each.detail + each.excerpt).encode()
            else:
                assert each.characters > 0
                "".join(each.parts).encode()

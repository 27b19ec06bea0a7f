from __future__ import annotations

import json

import pytest

from llmkit.data.dataset import Dataset
from llmkit.data.examples.build import TrainingSetOptions, build_training_set
from llmkit.data.examples.fields import RowDrop
from llmkit.data.examples.reading import detect_schema, read_training_rows
from llmkit.data.schemas import TagExample
from llmkit.errors import DataError
from llmkit.reporting.reporter import Silent


def jsonl(path, *rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def read(tmp_path, row):
    (found,) = read_training_rows([jsonl(tmp_path / "rows.jsonl", row)], "tag")
    return found


def words(example):
    return [(example.text[tag.start : tag.end], tag.tag) for tag in example.tags]


@pytest.mark.parametrize(
    ("row", "text", "tagged"),
    [
        (
            {"tokens": ["Ann", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]},
            "Ann lives in New York",
            [("Ann", "B-PER"), ("lives", "O"), ("in", "O"), ("New", "B-LOC"), ("York", "I-LOC")],
        ),
        ({"words": ["a", "b"], "ner_tags": [3, 0]}, "a b", [("a", "3"), ("b", "0")]),
        ({"tokens": ["東", "京"], "labels": ["B-地", "I-地"]}, "東京", [("東", "B-地"), ("京", "I-地")]),
        (
            {"text": "Ann Lee left.", "spans": [{"start": 0, "end": 7, "label": "PER"}]},
            "Ann Lee left.",
            [("Ann", "B-PER"), ("Lee", "I-PER"), ("left", "O"), (".", "O")],
        ),
        (
            {"text": "東京都に住む", "entities": [[0, 3, "LOC"]]},
            "東京都に住む",
            [("東", "B-LOC"), ("京", "I-LOC"), ("都", "I-LOC"), ("に", "O"), ("住", "O"), ("む", "O")],
        ),
        # A span that ends inside a word cuts it; two spans that touch are two.
        (
            {
                "text": "unhappyJoe",
                "spans": [{"start": 0, "end": 2, "label": "X"}, {"start": 2, "end": 7, "label": "X"}],
            },
            "unhappyJoe",
            [("un", "B-X"), ("happy", "B-X"), ("Joe", "O")],
        ),
        ({"text": "nothing here", "spans": []}, "nothing here", [("nothing", "O"), ("here", "O")]),
    ],
)
def test_every_way_of_writing_tags_becomes_one(tmp_path, row, text, tagged):
    found = read(tmp_path, row)
    assert isinstance(found, TagExample)
    assert found.text == text
    assert words(found) == tagged


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "uneven", "it has 2 tokens and 1 tags"),
        ({"tokens": [], "tags": []}, "no_tokens", "no list of words"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "empty_token", "tokens[1] is empty"),
        ({"tokens": ["a", 3], "tags": ["O", "O"]}, "not_text", "tokens[1] is a int"),
        ({"tokens": ["a"], "tags": [None]}, "bad_tags", "tags[0] is a NoneType"),
        ({"tokens": ["a"], "tags": [" "]}, "bad_tags", "tags[0] is empty"),
        ({"tokens": ["a"], "tags": "O"}, "bad_tags", "'tags' is a str"),
        ({"text": "abc", "spans": [{"start": 0, "end": 9, "label": "X"}]}, "bad_span", "the text has 3 characters"),
        ({"text": "abc", "spans": [{"start": 2, "end": 2, "label": "X"}]}, "bad_span", "goes from 2 to 2"),
        ({"text": "abc", "spans": [{"start": "0", "end": 2, "label": "X"}]}, "bad_span", "whole numbers"),
        ({"text": "abc", "spans": [{"start": 0, "end": 2}]}, "bad_tags", "the label of spans[0]"),
        ({"text": "abc", "spans": ["x"]}, "bad_span", "no 'start', 'end' and 'label'"),
        ({"text": " ", "spans": []}, "empty_text", "'text' is empty"),
        (
            {"text": "abcd", "spans": [{"start": 0, "end": 3, "label": "X"}, {"start": 2, "end": 4, "label": "Y"}]},
            "overlapping",
            "'abc' and 'cd'",
        ),
    ],
)
def test_a_row_that_cannot_be_tagged_says_why(tmp_path, row, reason, detail):
    found = read(tmp_path, row)
    assert isinstance(found, RowDrop)
    assert found.reason == reason
    assert detail in found.detail


def test_tags_are_told_from_other_schemas(tmp_path):
    tokens = jsonl(tmp_path / "a.jsonl", {"tokens": ["a"], "tags": ["O"]})
    spans = jsonl(tmp_path / "b.jsonl", {"text": "a", "spans": []})
    labels = jsonl(tmp_path / "c.jsonl", {"text": "a", "label": "x"})
    assert [detect_schema([path]) for path in (tokens, spans, labels)] == [
        ("tag", "tokens"),
        ("tag", "spans"),
        ("label", "text"),
    ]


def test_a_dataset_keeps_tags_and_counts_them(tmp_path):
    rows = [{"tokens": [f"w{n}", "in", "Oslo"], "tags": ["O", "O", "B-LOC"]} for n in range(40)]
    path = jsonl(tmp_path / "rows.jsonl", *rows, rows[0])
    result = build_training_set([path], tmp_path / "out", "tag", TrainingSetOptions(), reporter=Silent())
    dataset = Dataset.open(tmp_path / "out")
    found = list(dataset.examples(None, "tag"))
    assert dataset.schema == "tag"
    assert len(found) == 40
    assert next(words(example) for example in found) == [("w0", "O"), ("in", "O"), ("Oslo", "B-LOC")]
    assert result.report["tags"] == {"O": 80, "B-LOC": 40}
    assert result.report["drops"]["dedup"] == {"exact_duplicate": 1}


def test_strict_names_the_line(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", {"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a", "b"], "tags": ["O"]})
    with pytest.raises(DataError) as caught:
        build_training_set([path], tmp_path / "out", "tag", TrainingSetOptions(strict=True), reporter=Silent())
    assert caught.value.where == f"{path}:2"
    assert "2 tokens and 1 tags" in str(caught.value)

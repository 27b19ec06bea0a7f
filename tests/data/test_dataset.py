from pathlib import Path

import pytest

from llmkit.data.chat import Example, Message
from llmkit.data.dataset import DOCUMENTS, REPORT, CorpusDocument, Dataset, DatasetWriter
from llmkit.data.drops import Drop
from llmkit.data.schemas import Answer, ExampleSchema, LabelExample, PreferenceExample, SpanExample, TrainingExample
from llmkit.errors import DataError, NotFoundError
from llmkit.text.document import Document

TEXTS = [
    CorpusDocument(Document("/a.md", "eins 🙂\n", media="text/markdown", meta={"title": "日本"}), "train", "c1"),
    CorpusDocument(Document("/b.jsonl", "zwei", record="2"), "validation", "c2"),
]
EXAMPLES = [
    Example("/a.py", "f", (Message("user", "def f(): …"), Message("assistant", "Does.")), "train", {"line": 3}),
    Example("/b.py", "g", (Message("assistant", "plain"),), "test"),
]

OTHERS: list[tuple[ExampleSchema, list[TrainingExample]]] = [
    (
        "label",
        [
            LabelExample("/a.tsv", "2", "良い 🙂", None, "1", "train"),
            LabelExample("/a.tsv", "3", "a", "b", "no", "test", {"id": 7}),
        ],
    ),
    (
        "span",
        [
            SpanExample(
                "/a.json", "data[0].paragraphs[0].qas[0]", "どこ？", "奈良と京都", (Answer("京都", 3),), "train"
            ),
            SpanExample("/a.json", "data[0].paragraphs[0].qas[1]", "いつ？", "奈良と京都", (), "test", {"id": "q"}),
        ],
    ),
    (
        "preference",
        [
            PreferenceExample("/a", "1", (Message("user", "a"),), (Message("assistant", "b"),), (), "train"),
            PreferenceExample(
                "/a",
                "2",
                (Message("system", "s"), Message("user", "a")),
                (Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")),
                (Message("assistant", "e"),),
                "test",
            ),
        ],
    ),
]


def write_texts(folder: Path) -> Dataset:
    with DatasetWriter(folder, "text") as writer:
        for each in TEXTS:
            writer.document(each.document, each.split, each.cluster)
        writer.drop(Drop("/c.bin", "read", "binary", "not text", "7"))
        writer.finish({"schema": "text"})
    return Dataset.open(folder)


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    dataset = write_texts(tmp_path)
    assert list(dataset.documents()) == TEXTS
    assert [each.document.text for each in dataset.documents("validation")] == ["zwei"]
    assert list(dataset.drops()) == [Drop("/c.bin", "read", "binary", "not text", "7")]
    assert dataset.report() == {"schema": "text"}


def test_examples_come_back_as_they_were(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "chat") as writer:
        for example in EXAMPLES:
            writer.example(example, example.split or "train")
        writer.finish({})
    dataset = Dataset.open(tmp_path)
    assert dataset.schema == "chat"
    assert list(dataset.examples()) == EXAMPLES
    assert list(dataset.examples("test")) == EXAMPLES[1:]
    assert list(dataset.drops()) == []


@pytest.mark.parametrize(("schema", "examples"), OTHERS)
def test_examples_of_every_schema_come_back_as_they_were(
    tmp_path: Path, schema: ExampleSchema, examples: list[TrainingExample]
) -> None:
    with DatasetWriter(tmp_path, schema) as writer:
        for example in examples:
            writer.example(example, example.split or "train")
        writer.finish({"schema": schema})
    dataset = Dataset.open(tmp_path)
    assert dataset.schema == schema
    assert list(dataset.examples(None, schema)) == examples  # type: ignore[call-overload]
    assert list(dataset.examples("test", schema)) == examples[1:]  # type: ignore[call-overload]
    with pytest.raises(DataError, match="chat examples are needed") as caught:
        list(dataset.examples())
    assert "--for chat" in str(caught.value.mend)
    with pytest.raises(DataError, match="texts are needed"):
        list(dataset.documents())


def test_many_rows_are_written_in_groups_and_read_in_order(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "text") as writer:
        for number in range(3000):
            writer.document(Document("/x", f"text {number}", record=str(number)), "train", "c")
        writer.finish({})
    assert [each.document.record for each in Dataset.open(tmp_path).documents()] == [str(n) for n in range(3000)]


def test_the_wrong_schema_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="chat examples are needed") as caught:
        list(write_texts(tmp_path).examples())
    assert "docstrings" in str(caught.value.mend)


def test_a_missing_dataset_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("name", [DOCUMENTS, REPORT])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    dataset = write_texts(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="damaged") as caught:
        list(dataset.documents()) if name == DOCUMENTS else dataset.report()
    assert caught.value.where == str(path)

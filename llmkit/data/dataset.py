"""The dataset artifact on disk: documents or examples with their splits, what was dropped, and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

import pyarrow as pa
from pyarrow import parquet

from llmkit.data.chat import Example
from llmkit.data.document_table import COLUMNS as DOCUMENT_COLUMNS
from llmkit.data.document_table import document_of, document_row
from llmkit.data.drops import Drop
from llmkit.data.example_tables import TABLES, example_row
from llmkit.data.schemas import (
    ExampleSchema,
    LabelExample,
    PreferenceExample,
    SpanExample,
    TagExample,
    TrainingExample,
)
from llmkit.data.split import Split
from llmkit.errors import DataError, NotFoundError
from llmkit.registry.disk import sync_tree, writing
from llmkit.text.document import Document

Schema = Literal["text", "chat", "label", "span", "preference", "tag"]

DOCUMENTS = "documents.parquet"
EXAMPLES = TABLES["chat"].name
DROPS = "drops.parquet"
REPORT = "report.json"

_FILES: Mapping[Schema, str] = {"text": DOCUMENTS, **{schema: table.name for schema, table in TABLES.items()}}
_HOLDS: Mapping[Schema, str] = {"text": "texts", **{schema: table.holds for schema, table in TABLES.items()}}
_MENDS: Mapping[Schema, str] = {
    "text": "name a dataset of documents",
    "chat": "name a file of prompts with completions or of chats, or make a dataset of it: "
    "`llmkit preprocess FILE --for chat`",
    "label": "make one of a file with a text and a label in each row: `llmkit preprocess FILE --for label`",
    "span": "make one of a file like SQuAD's: `llmkit preprocess FILE --for span`",
    "preference": "make one of a file with a prompt, a chosen and a rejected answer in each row: "
    "`llmkit preprocess FILE --for preference`",
    "tag": "make one of a file with words and their tags, or a text and its labelled spans, in each row: "
    "`llmkit preprocess FILE --for tag`",
}
"""What to do if a dataset of this schema is needed and another was given."""


def _strings(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


_COLUMNS: Mapping[str, pa.Schema] = {
    DOCUMENTS: DOCUMENT_COLUMNS,
    **{table.name: table.columns for table in TABLES.values()},
    DROPS: _strings("id", "source", "record", "step", "reason", "detail", "of"),
}

_GROUP_ROWS = 1024
_GROUP_CHARS = 4 << 20
"""A row group is written when it has this many rows or characters: what a writer or a reader holds in memory."""


@dataclass(frozen=True)
class CorpusDocument:
    """A cleaned document with the split it belongs to and the id of its cluster of duplicates."""

    document: Document
    split: Split
    cluster: str


@dataclass(frozen=True)
class DatasetResult:
    """What a build made: rows per split, the splits that got nothing, and the content of report.json."""

    rows: Mapping[Split, int]
    missing: Sequence[Split]
    report: Mapping[str, object]


class DatasetWriter:
    """Writes a dataset into a folder, row group by row group; `finish` makes it complete."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._rows = _Table(folder / _FILES[schema])
        self._drops = _Table(folder / DROPS)

    def document(self, document: Document, split: Split, cluster: str) -> None:
        """A document that went through no steps."""
        self.document_row({**document_row(document, {}, document.digest[:16]), "split": split, "cluster": cluster})

    def document_row(self, row: Mapping[str, Any]) -> None:
        """A document as `document_row` of the document table gives it, with its split and cluster."""
        self._rows.add(row, len(row["text"]))

    def example(self, example: TrainingExample, split: Split) -> None:
        self._rows.add({**example_row(example), "split": split}, example.characters)

    def drop(self, drop: Drop) -> None:
        row = {
            "id": drop.id,
            "source": drop.source,
            "record": drop.record,
            "step": drop.step,
            "reason": drop.reason,
            "detail": drop.detail,
            "of": drop.of,
        }
        self._drops.add(row, len(drop.detail))

    def finish(self, report: Mapping[str, object]) -> None:
        self._rows.close()
        self._drops.close()
        with writing(self._folder):
            text = json.dumps(report, ensure_ascii=False, indent=2, allow_nan=False)
            (self._folder / REPORT).write_text(text + "\n", encoding="utf-8")
            sync_tree(self._folder)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.abandon()
        self._drops.abandon()


class _Table:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._schema = _COLUMNS[path.name]
        with writing(path):
            self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._pending: list[Mapping[str, object]] = []
        self._chars = 0

    def add(self, row: Mapping[str, object], chars: int) -> None:
        self._pending.append(row)
        self._chars += chars
        if len(self._pending) >= _GROUP_ROWS or self._chars >= _GROUP_CHARS:
            self._flush()

    def close(self) -> None:
        if self._pending:
            self._flush()
        with writing(self._path):
            self._writer.close()

    def abandon(self) -> None:
        """Close the file as it is; does nothing after `close`."""
        with writing(self._path):
            self._writer.close()

    def _flush(self) -> None:
        with writing(self._path):
            self._writer.write_table(pa.Table.from_pylist(self._pending, schema=self._schema))
        self._pending, self._chars = [], 0


class Dataset:
    """A finished dataset, read in streams."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder = folder
        self.schema = schema

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open the dataset in `folder`.

        Raises:
            NotFoundError: if there is none.
        """
        for schema, name in _FILES.items():
            if (folder / name).is_file():
                return cls(folder, schema)
        raise NotFoundError("no dataset is there", where=str(folder), mend="make one with `llmkit preprocess`")

    def documents(self, split: Split | None = None) -> Iterator[CorpusDocument]:
        """The documents in order, of one split or of all.

        Raises:
            DataError: if the dataset holds examples, or its file is damaged.
        """
        self.require("text")
        for row in self._rows(DOCUMENTS, split):
            yield CorpusDocument(document_of(row), row["split"], row["cluster"])

    @overload
    def examples(self, split: Split | None = None, schema: Literal["chat"] = "chat") -> Iterator[Example]: ...
    @overload
    def examples(self, split: Split | None, schema: Literal["label"]) -> Iterator[LabelExample]: ...
    @overload
    def examples(self, split: Split | None, schema: Literal["span"]) -> Iterator[SpanExample]: ...
    @overload
    def examples(self, split: Split | None, schema: Literal["preference"]) -> Iterator[PreferenceExample]: ...
    @overload
    def examples(self, split: Split | None, schema: Literal["tag"]) -> Iterator[TagExample]: ...
    def examples(self, split: Split | None = None, schema: ExampleSchema = "chat") -> Iterator[Any]:
        """The examples in order, of one split or of all.

        Args:
            split: which split; None for all.
            schema: which examples the caller can use.

        Raises:
            DataError: if the dataset holds documents or examples of another schema, or its file is damaged.
        """
        self.require(schema)
        table = TABLES[schema]
        for row in self._rows(table.name, split):
            yield table.example(row)

    def row(self, document_id: str) -> dict[str, Any] | None:
        """The row of a document, or None if it is not in the set."""
        return next((row for row in self._rows(DOCUMENTS, None) if row["id"] == document_id), None)

    def drops(self) -> Iterator[Drop]:
        for row in self._rows(DROPS, None):
            yield Drop(row["source"], row["step"], row["reason"], row["detail"], row["record"], of=row.get("of") or "")

    def report(self) -> dict[str, object]:
        path = self.folder / REPORT
        try:
            report: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        return report

    def require(self, schema: Schema) -> None:
        """Raise DataError, with what to do, if the dataset has another schema."""
        if self.schema == schema:
            return
        mend = _MENDS[schema]
        if (self.schema, schema) == ("text", "chat"):
            mend = "make pairs of it: `llmkit preprocess NAME --reader docstrings`; or name a file of examples"
        message = f"it holds {_HOLDS[self.schema]}, and {_HOLDS[schema]} are needed"
        raise DataError(message, where=str(self.folder), mend=mend)

    def _rows(self, name: str, split: Split | None) -> Iterator[dict[str, Any]]:
        path = self.folder / name
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist():
                        if split is None or row["split"] == split:
                            yield row
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the dataset is damaged: {error}", where=str(path), mend="make it again with `llmkit preprocess … --force`"
    )

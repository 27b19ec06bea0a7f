"""How examples stand in a dataset's tables: the columns of each schema, and the way there and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from llmkit.data.chat import Example, Message
from llmkit.data.schemas import (
    Answer,
    ExampleSchema,
    LabelExample,
    PreferenceExample,
    SpanExample,
    Tag,
    TagExample,
    TrainingExample,
)

Row = dict[str, Any]

_COMMON = [(name, pa.string()) for name in ("id", "source", "record", "split", "meta")]
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_ANSWERS = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int64())]))
_TAGS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("tag", pa.string())]))


@dataclass(frozen=True)
class Table:
    """The file of a schema, its columns beyond those that all have, and how an example is made of a row."""

    name: str
    columns: pa.Schema
    holds: str
    example: Callable[[Row], TrainingExample]


def example_row(example: TrainingExample) -> Row:
    """The row of an example, all but its split."""
    row: Row = {
        "id": example.id,
        "source": example.source,
        "record": example.record,
        "meta": meta_json(example.meta),
    }
    match example:
        case Example():
            row["messages"] = _turns(example.messages)
        case LabelExample():
            row |= {"text": example.text, "text_pair": example.text_pair, "label": example.label}
        case SpanExample():
            row |= {"question": example.question, "context": example.context}
            row["answers"] = [{"text": answer.text, "start": answer.start} for answer in example.answers]
        case PreferenceExample():
            row |= {name: _turns(getattr(example, name)) for name in ("prompt", "chosen", "rejected")}
        case TagExample():
            row |= {"text": example.text, "tags": [tag._asdict() for tag in example.tags]}
    return row


def meta_json(meta: Mapping[str, object]) -> str:
    return "{}" if not meta else json.dumps(dict(meta), ensure_ascii=False, sort_keys=True, default=str)


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


def _chat(row: Row) -> Example:
    return Example(row["source"], row["record"], _messages(row["messages"]), row["split"], json.loads(row["meta"]))


def _label(row: Row) -> LabelExample:
    place = (row["source"], row["record"])
    texts = (row["text"], row["text_pair"], row["label"])
    return LabelExample(*place, *texts, row["split"], json.loads(row["meta"]))


def _span(row: Row) -> SpanExample:
    answers = tuple(Answer(answer["text"], answer["start"]) for answer in row["answers"])
    place = (row["source"], row["record"])
    return SpanExample(*place, row["question"], row["context"], answers, row["split"], json.loads(row["meta"]))


def _preference(row: Row) -> PreferenceExample:
    prompt, chosen, rejected = (_messages(row[name]) for name in ("prompt", "chosen", "rejected"))
    place = (row["source"], row["record"])
    return PreferenceExample(*place, prompt, chosen, rejected, row["split"], json.loads(row["meta"]))


def _tagged(row: Row) -> TagExample:
    tags = tuple(Tag(tag["start"], tag["end"], tag["tag"]) for tag in row["tags"])
    return TagExample(row["source"], row["record"], row["text"], tags, row["split"], json.loads(row["meta"]))


def _columns(*own: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*_COMMON, *own])


_TEXT = pa.string()

TABLES: Mapping[ExampleSchema, Table] = {
    "chat": Table("examples.parquet", _columns(("messages", _MESSAGES)), "chat examples", _chat),
    "label": Table(
        "labels.parquet", _columns(("text", _TEXT), ("text_pair", _TEXT), ("label", _TEXT)), "labelled texts", _label
    ),
    "span": Table(
        "spans.parquet",
        _columns(("question", _TEXT), ("context", _TEXT), ("answers", _ANSWERS)),
        "questions on contexts",
        _span,
    ),
    "preference": Table(
        "preferences.parquet",
        _columns(("prompt", _MESSAGES), ("chosen", _MESSAGES), ("rejected", _MESSAGES)),
        "preference pairs",
        _preference,
    ),
    "tag": Table("tags.parquet", _columns(("text", _TEXT), ("tags", _TAGS)), "texts with tagged words", _tagged),
}

"""The items of an evaluation set's file, as texts to look for: rows of tables, JSON in SQuAD's layout, plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmkit.data.readers.encoding import NotTextError, decode
from llmkit.data.rows import ROW_FORMATS, BadRow, format_of, read_rows
from llmkit.errors import DataError, NotFoundError

_ID_KEYS = ("id", "_id", "qid", "question_id", "uid", "task_id", "item_id")

_NOT_TEXT = """
    id _id qid question_id uid task_id item_id source url link path file split language lang licence license type
    question_type category topic subject label version timestamp date author
"""
_NOT_TEXT_KEYS = frozenset(_NOT_TEXT.split())
"""Fields that say something about an item and are no part of it."""

_LIST_KEYS = ("data", "questions", "examples", "items", "instances", "rows")
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


def read_eval_set(path: Path) -> Iterator[tuple[str, str]]:
    """The id and the text of each item of an evaluation set.

    Rows of JSONL, JSON, CSV, TSV and parquet files: all strings of an item's fields (question, context, answers,
    choices …) one below the other, without those that only describe it. SQuAD's layout gives an item per question,
    with its passage. Plain text gives an item per paragraph where it has blank lines, else per line. An item without
    an id has its number.

    Raises:
        NotFoundError: there is no such file.
        DataError: the file has another format, a row that cannot be read, or no items.
    """
    if not path.is_file():
        raise NotFoundError("no such evaluation set", where=str(path), mend="name a file of questions or texts")
    form = format_of(path)
    empty = True
    if form in ROW_FORMATS:
        items = _items_of_rows(path)
    elif form == "text":
        items = _items_of_text(path)
    else:
        raise DataError(
            f"an evaluation set cannot be {form}", where=str(path), mend="convert it to JSONL or plain text"
        )
    for item in items:
        empty = False
        yield item
    if empty:
        raise DataError("the evaluation set has no items", where=str(path), mend="name another file, or leave it out")


def _items_of_rows(path: Path) -> Iterator[tuple[str, str]]:
    number = 0
    for row in read_rows(path, format_of(path)):
        if isinstance(row, BadRow):
            raise DataError(row.detail, where=f"{path}:{row.number}", mend="correct the row or remove it")
        for fields in _flat(row.fields):
            number += 1
            text = "\n".join(_strings(fields))
            if text.strip():
                yield _item_id(fields) or str(number), text


def _flat(fields: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The items within a row: itself, or the questions of a passage, of an article, or of a list that it holds."""
    questions = _objects(fields.get("qas"))
    if questions:
        passage = {"context": fields.get("context")}
        yield from ({**passage, **question} for question in questions)
        return
    inner = _objects(fields.get("paragraphs"))
    if not inner:
        inner = next((found for key in _LIST_KEYS if (found := _objects(fields.get(key)))), [])
    if not inner:
        yield fields
    for each in inner:
        yield from _flat(each)


def _objects(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key).lower() not in _NOT_TEXT_KEYS:
                yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _item_id(fields: Mapping[str, object]) -> str:
    named = (fields.get(key) for key in _ID_KEYS)
    return next((str(value) for value in named if isinstance(value, str | int) and value != ""), "")


def _items_of_text(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = decode(path.read_bytes()).text.replace("\r\n", "\n").strip()
    except NotTextError as error:
        mend = "unpack it, or convert it to JSONL or plain text"
        raise DataError(str(error), where=str(path), mend=mend) from None
    parts = _BLANK_LINES.split(text) if _BLANK_LINES.search(text) else text.split("\n")
    for number, part in enumerate((part for part in parts if part.strip()), start=1):
        yield str(number), part

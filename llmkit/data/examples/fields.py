"""What the parsers of all schemas share: taking text out of a row's fields, and refusing a row with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llmkit.data.drops import Drop
from llmkit.data.split import Split

Fields = Mapping[str, object]
RowFormat = Literal["jsonl", "json", "csv", "parquet", "conll"]

_META_FIELDS = frozenset({"id", "title", "url", "language", "license", "licence"})
_SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    # CoNLL-2002's and -2003's: eng.testa is for development.
    "testa": "validation",
    "testb": "test",
}
_SHOWN_FIELDS = 12
_EXCERPT_CHARS = 300
_DETAIL_CHARS = 500


class BadRowError(Exception):
    """`(reason, detail)`: why a row is no example."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class RowDrop(Drop):
    """A row that is no example.

    Attributes:
        excerpt: the beginning of the row, for a person.
        characters: of text in the row.
    """

    excerpt: str = ""
    characters: int = 0


@dataclass(frozen=True)
class Place:
    """Where a row stands: its file, its number as in `Row`, and the split that its file's name gives it."""

    source: str
    number: int
    format: RowFormat
    split: Split | None = None

    @property
    def record(self) -> str:
        return str(self.number)

    def nested(self) -> str:
        """What a path into a row begins with: `data[3]` for the fourth item of a JSON list, else the line."""
        return f"data[{self.number - 1}]" if self.format == "json" else self.record

    def split_of(self, fields: Fields) -> Split | None:
        """The split that the row names itself, or else its file."""
        named = fields.get("split")
        return split_named(named) or self.split if isinstance(named, str) else self.split


def split_named(name: str) -> Split | None:
    return _SPLIT_NAMES.get(name.strip().lower())


def dropped(
    place: Place, error: BadRowError, row: object, *, step: str = "check", record: str | None = None
) -> RowDrop:
    """The drop of a row, or of the part of it that `record` names."""
    where = place.record if record is None else record
    return RowDrop(
        place.source,
        step,
        error.reason,
        _writable(error.detail, _DETAIL_CHARS),
        where,
        excerpt=_writable(_shown(row), _EXCERPT_CHARS),
        characters=size(row),
    )


def size(value: object) -> int:
    """Characters of text in a JSON value, however deep."""
    total, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            total += len(each)
        elif isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return total


def _shown(row: object) -> str:
    try:
        return "" if row is None else json.dumps(row, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return ""


def _writable(text: str, most: int) -> str:
    """Cut to `most` characters, and without lone surrogates, which no file can hold."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.encode("utf-8", "replace").decode("utf-8")


def text_of(value: object, where: str) -> str:
    """The text in a field. JSON can write half of a surrogate pair, which is no character: that is refused too."""
    if not isinstance(value, str):
        raise BadRowError("not_text", f"{where} is a {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        detail = f"{where} has half a surrogate pair at character {error.start + 1}"
        raise BadRowError("bad_encoding", detail) from None
    return value


def filled_text(value: object, where: str, reason: str) -> str:
    """Like `text_of`; text that is empty, or nothing but white space, is refused with `reason`."""
    text = text_of(value, where)
    if not text.strip():
        raise BadRowError(reason, f"{where} is empty")
    return text


def first_of(fields: Fields, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in fields), None)


def unknown_fields(fields: Fields) -> BadRowError:
    names = list(fields)
    shown = ", ".join(names[:_SHOWN_FIELDS]) + (", …" if len(names) > _SHOWN_FIELDS else "")
    return BadRowError("unknown_form", f"no known fields among {shown}")


def meta_of(fields: Fields) -> dict[str, object]:
    """The small facts of a row that go with its example."""
    found: dict[str, object] = {}
    if _META_FIELDS.isdisjoint(fields):
        return found
    for name in sorted(_META_FIELDS):
        value = fields.get(name)
        if isinstance(value, str):
            if value:
                found[name] = value.encode("utf-8", "replace").decode("utf-8")
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = value
    return found

"""Items from records of a question file, and questions made from documents where the user has none."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from llmkit.errors import DataError
from llmkit.evaluation.kinds.qa import QAItem
from llmkit.evaluation.kinds.rag import RagItem
from llmkit.evaluation.kinds.retrieval import Place, RetrievalItem
from llmkit.text.document import Document, Span

_WORDS_OF_A_QUESTION = 4
"""A docstring line of fewer words ("Return the result.") asks for nothing in particular."""


class Row(NamedTuple):
    """A record and where it is (`questions.jsonl:12`)."""

    where: str
    values: Mapping[str, Any]


def _answer_list(value: Any) -> Any:
    """One answer, a list of them, or SQuAD's `{"text": [...], "answer_start": [...]}`, whose empty list is "none"."""
    if isinstance(value, Mapping):
        value = value.get("text", value)
    if isinstance(value, str):
        return [value]
    return [""] if value == [] else value


class _Record(BaseModel):
    """What every question has. Other keys of a user's file are none of our business."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    id: str = ""
    question: str = Field(min_length=1)
    cluster: str = Field(default="", validation_alias=AliasChoices("cluster", "document", "title"))


class _QARecord(_Record):
    answers: Annotated[tuple[str, ...], BeforeValidator(_answer_list)] = Field(
        validation_alias=AliasChoices("answers", "answer"), min_length=1
    )


class _PlaceRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str = Field(min_length=1)
    start: int | None = Field(default=None, ge=0)
    end: int | None = Field(default=None, ge=0)
    record: str = ""

    @model_validator(mode="after")
    def _is_a_span(self) -> _PlaceRecord:
        if (self.start is None) != (self.end is None):
            raise ValueError("`start` and `end` go together")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("`end` must be after `start`")
        return self

    def place(self) -> Place:
        if self.start is None or self.end is None:
            return Place(self.source, None, self.record)
        return Place(self.source, Span(self.start, self.end), self.record)


_PLACE = ("source", "start", "end", "record")


class _Located(_Record):
    @model_validator(mode="before")
    @classmethod
    def _one_place_may_lie_flat(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "relevant" not in values and "source" in values:
            return {**values, "relevant": [{key: values.get(key) for key in _PLACE if key in values}]}
        return values


class _RetrievalRecord(_Located):
    relevant: tuple[_PlaceRecord, ...] = Field(min_length=1)


class _RagRecord(_Located):
    relevant: tuple[_PlaceRecord, ...] = ()
    answers: Annotated[tuple[str, ...], BeforeValidator(_answer_list)] = Field(
        default=(), validation_alias=AliasChoices("answers", "answer")
    )

    @model_validator(mode="after")
    def _says_what_is_right(self) -> _RagRecord:
        if not self.answers and not self.relevant:
            raise ValueError('it has neither an answer nor a source; write "answer": "" where there is none')
        return self


_R = TypeVar("_R", bound=_Record)


def qa_items(rows: Iterable[Row]) -> list[QAItem]:
    """Questions with gold answers: keys `question`, `answers` (or `answer`, or SQuAD's form), optional `id`, `cluster`.

    Raises:
        DataError: a record lacks a key or has one of another type; names the record.
    """
    return [
        QAItem(record.id or str(number), record.question, record.answers, record.cluster)
        for number, record in enumerate((_read(_QARecord, row) for row in rows), start=1)
    ]


def retrieval_items(rows: Iterable[Row]) -> list[RetrievalItem]:
    """Questions with the places that answer them: keys `question`, and `source` (with `start` and `end`, in code
    points, if only a part of it answers) or a list `relevant` of such places; optional `id`, `cluster`.

    Raises:
        DataError: a record lacks a key or has one of another type; names the record.
    """
    return [
        RetrievalItem(
            record.id or str(number),
            record.question,
            tuple(place.place() for place in record.relevant),
            record.cluster or record.relevant[0].source,
        )
        for number, record in enumerate((_read(_RetrievalRecord, row) for row in rows), start=1)
    ]


def rag_items(rows: Iterable[Row]) -> list[RagItem]:
    """Questions with gold answers, the places that answer them, or both: the keys of `qa_items` and
    `retrieval_items`. An empty answer says that the documents have none.

    Raises:
        DataError: a record lacks a key or has one of another type; names the record.
    """
    return [
        RagItem(
            record.id or str(number),
            record.question,
            record.answers,
            tuple(place.place() for place in record.relevant),
            record.cluster or (record.relevant[0].source if record.relevant else ""),
        )
        for number, record in enumerate((_read(_RagRecord, row) for row in rows), start=1)
    ]


def _read(kind: type[_R], row: Row) -> _R:
    try:
        return kind.model_validate(row.values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            has = ", ".join(row.values) or "nothing"
            message, mend = f"the record has no `{key}`", f"it has: {has}"
        else:
            about = f"`{key}`: " if key else ""
            message, mend = f"{about}{first['msg'].removeprefix('Value error, ')}", "correct the record or remove it"
        raise DataError(message, where=row.where, mend=mend) from None


def docstring_questions(documents: Iterable[Document]) -> list[RetrievalItem]:
    """Known-item questions from Python sources: the first line of a docstring asks for its function or class.

    The docstring is part of the place, so these are easy questions: they measure whether a search can find what is
    surely there. Lines that several definitions share, and short ones, are left out. Files that this Python cannot
    parse have no questions.
    """
    found: list[RetrievalItem] = []
    for document in documents:
        for name, line, span in _documented(document):
            if len(line.split()) >= _WORDS_OF_A_QUESTION:
                place = Place(document.source, span)
                found.append(RetrievalItem(f"{document.source}::{name}:{span.start}", line, (place,), document.source))
    times = Counter(item.question for item in found)
    return [item for item in found if times[item.question] == 1]


def _documented(document: Document) -> Iterable[tuple[str, str, Span]]:
    """(name, first docstring line, span) of every function and class that has a docstring."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in somebody else's code
            tree = ast.parse(document.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = document.lines
    last = lines.line(len(document.text))
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        doc = ast.get_docstring(node)
        if doc and node.end_lineno is not None:
            end = lines.start(node.end_lineno + 1) if node.end_lineno < last else len(document.text)
            yield node.name, doc.splitlines()[0].strip(), Span(lines.start(node.lineno), end)

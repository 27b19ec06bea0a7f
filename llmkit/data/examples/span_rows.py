"""Rows of questions on contexts: SQuAD's articles, and flat rows; every answer is checked against its context.

SQuAD 1.1 and 2.0: Rajpurkar et al. 2016 and 2018. In 2.0 a question without answers cannot be answered from its
context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmkit.data.examples.fields import BadRowError, Fields, Place, RowDrop, dropped, filled_text, meta_of
from llmkit.data.schemas import Answer, SpanExample

REPAIRED = "start_repaired"
"""In an example's meta: how many of its answers were found elsewhere than the data said."""

_START_FIELDS = ("answer_start", "start", "start_position")


def span_form(fields: Fields) -> str | None:
    if _has(fields.get("paragraphs"), "qas") or _has(fields.get("data"), "paragraphs"):
        return "squad"
    if isinstance(fields.get("qas"), list) and "context" in fields:
        return "squad"
    return "flat" if "question" in fields and "context" in fields else None


def has_answers(fields: Fields) -> bool:
    """Whether a flat row says where its answers are; without that it may as well be a chat."""
    return "answers" in fields or ("answer" in fields and any(name in fields for name in _START_FIELDS))


def span_examples(fields: Fields, form: str, place: Place) -> Iterator[SpanExample | RowDrop]:
    if form == "flat":
        yield _example(fields, fields["context"], place, place.record)
    elif _has(fields.get("data"), "paragraphs"):
        for number, article in enumerate(_list(fields["data"])):
            yield from _article(article, place, f"data[{number}]")
    elif "qas" in fields:
        # A JSON object with a title and paragraphs is read as the list of these.
        head = f"paragraphs[{place.number - 1}]" if place.format == "json" else place.record
        yield from _paragraph(fields, place, head, {})
    else:
        yield from _article(fields, place, place.nested())


def _article(article: object, place: Place, path: str) -> Iterator[SpanExample | RowDrop]:
    try:
        fields = _object(article, "bad_article")
        paragraphs = _list(fields.get("paragraphs"), "its paragraphs")
    except BadRowError as error:
        yield dropped(place, error, article, record=path)
        return
    for number, paragraph in enumerate(paragraphs):
        yield from _paragraph(paragraph, place, f"{path}.paragraphs[{number}]", meta_of(fields))


def _paragraph(
    paragraph: object, place: Place, path: str, meta: Mapping[str, object]
) -> Iterator[SpanExample | RowDrop]:
    try:
        fields = _object(paragraph, "bad_paragraph")
        questions = _list(fields.get("qas"), "its questions ('qas')")
    except BadRowError as error:
        yield dropped(place, error, paragraph, record=path)
        return
    for number, question in enumerate(questions):
        where = f"{path}.qas[{number}]"
        try:
            own = _object(question, "bad_question")
            yield _example({**meta, **own}, fields.get("context"), place, where)
        except BadRowError as error:
            yield dropped(place, error, question, record=where)


def _example(fields: Fields, context: object, place: Place, record: str) -> SpanExample:
    question = filled_text(fields.get("question"), "its question", "empty_question")
    text = filled_text(context, "its context", "empty_context")
    answers, repaired = [], 0
    for value, start in _given(fields):
        answer, moved = _placed(value, start, text)
        answers.append(answer)
        repaired += moved
    impossible = fields.get("is_impossible")
    if impossible is True and answers:
        raise BadRowError("contradictory", "it is marked as impossible to answer, and has an answer")
    if impossible is False and not answers:
        raise BadRowError("no_answer", "it is marked as possible to answer, and has no answer")
    meta = {**meta_of(fields), **({REPAIRED: repaired} if repaired else {})}
    return SpanExample(place.source, record, question, text, tuple(answers), place.split_of(fields), meta)


def _placed(value: object, start: object, context: str) -> tuple[Answer, bool]:
    """The answer at its true place, and whether that is another than `start`."""
    text = filled_text(value, "an answer", "empty_answer")
    given = _whole(start)
    if given is not None and given >= 0 and context.startswith(text, given):
        return Answer(text, given), False
    found = context.find(text)
    shown = text if len(text) <= 60 else text[:59] + "…"
    if found < 0:
        raise BadRowError("answer_not_found", f"the answer '{shown}' is not in its context")
    if context.find(text, found + 1) >= 0:
        where = "it is not said where" if given is None else f"not at {given}, where it is said to be"
        raise BadRowError("answer_not_found", f"the answer '{shown}' occurs several times in its context, and {where}")
    return Answer(text, found), True


def _given(fields: Fields) -> Iterator[tuple[object, object]]:
    """Each answer with where it is said to be, in the ways of SQuAD, of its copies in columns, and of flat tables."""
    answers = fields.get("answers", fields.get("answer"))
    beside = next((fields[name] for name in _START_FIELDS if name in fields), None)
    if answers is None:
        if not any(name in fields for name in ("answers", "answer")):
            raise BadRowError("no_answer", "it has no field 'answers' or 'answer'")
        return
    if isinstance(answers, str):
        # An empty cell of a table: the question has no answer.
        yield from [(answers, beside)] if answers else []
    elif isinstance(answers, dict):
        yield from _columns(answers)
    elif isinstance(answers, list):
        starts = beside if isinstance(beside, list) and len(beside) == len(answers) else [None] * len(answers)
        for each, start in zip(answers, starts, strict=True):
            yield (each.get("text"), _start(each)) if isinstance(each, dict) else (each, start)
    else:
        raise BadRowError("bad_answers", f"its answers are a {type(answers).__name__}")


def _columns(answers: Mapping[str, object]) -> Iterator[tuple[object, object]]:
    texts, starts = answers.get("text"), _start(answers)
    if not isinstance(texts, list):
        yield texts, starts
        return
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise BadRowError("bad_answers", "its answers have not as many starts as texts")
    yield from zip(texts, starts, strict=True)


def _start(answer: Mapping[str, object]) -> object:
    return next((answer[name] for name in _START_FIELDS if name in answer), None)


def _whole(value: object) -> int | None:
    """A number of code points, also as a table or a data frame writes it: `"17"`, `17.0`."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return None


def _has(value: object, field: str) -> bool:
    """Whether it is a list of objects, the first of which has the field."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and field in value[0]


def _list(value: object, what: str = "it") -> list[object]:
    if not isinstance(value, list):
        raise BadRowError("bad_article", f"{what} is a {type(value).__name__}, not a list")
    return value


def _object(value: object, reason: str) -> Fields:
    if not isinstance(value, dict):
        raise BadRowError(reason, f"a {type(value).__name__}, and it must be an object with fields")
    return value

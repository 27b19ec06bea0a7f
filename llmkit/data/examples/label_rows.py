"""Rows of texts, or of pairs of texts, each with the class it belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from llmkit.data.examples.fields import BadRowError, Fields, Place, filled_text, first_of, meta_of
from llmkit.data.schemas import LabelExample

_TEXT_FIELDS = ("text", "sentence", "content")
_PAIR_FIELDS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text", "text_pair"),
    ("question", "sentence"),
)
"""As GLUE's and SuperGLUE's tasks name them: MRPC, STS, RTE, MNLI, QQP, QNLI."""

_LABEL_FIELDS = ("label", "labels", "class", "category", "target")


def label_form(fields: Fields) -> str | None:
    """`pair` or `text`, told by the fields of the text alone: a row without its label is a bad row of that form."""
    if _pair_fields(fields):
        return "pair"
    return "text" if first_of(fields, _TEXT_FIELDS) else None


def has_label(fields: Fields) -> bool:
    return first_of(fields, _LABEL_FIELDS) is not None


def label_examples(fields: Fields, form: str, place: Place) -> Iterator[LabelExample]:
    pair = _pair_fields(fields) if form == "pair" else None
    name = pair[0] if pair else first_of(fields, _TEXT_FIELDS) or _TEXT_FIELDS[0]
    text = filled_text(fields.get(name), f"'{name}'", "empty_text")
    text_pair = filled_text(fields[pair[1]], f"'{pair[1]}'", "empty_text") if pair else None
    label = _label(fields)
    yield LabelExample(place.source, place.record, text, text_pair, label, place.split_of(fields), meta_of(fields))


def _pair_fields(fields: Fields) -> tuple[str, str] | None:
    return next((pair for pair in _PAIR_FIELDS if pair[0] in fields and pair[1] in fields), None)


def _label(fields: Fields) -> str:
    name = first_of(fields, _LABEL_FIELDS)
    if name is None:
        raise BadRowError("no_label", f"it has no field {' or '.join(repr(each) for each in _LABEL_FIELDS)}")
    value = fields[name]
    if isinstance(value, list):
        if len(value) != 1:
            raise BadRowError("several_labels", f"'{name}' is a list of {len(value)}, and an example has one label")
        value = value[0]
    return _as_string(value, f"'{name}'")


def _as_string(value: object, where: str) -> str:
    """One spelling for a class: 1, 1.0 and "1" are the same one, and so are true and "true"."""
    if value is None:
        raise BadRowError("no_label", f"{where} is null")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise BadRowError("no_label", f"{where} is {value}, not a class")
        return str(int(value)) if value.is_integer() else str(value)
    return filled_text(value, where, "no_label").strip()

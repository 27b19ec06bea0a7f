"""Rows of words with tags, and of texts with labelled spans, which become tags of words.

Tags are those of the data. Spans become B- and I- tags (IOB2: Tjong Kim Sang and Veenstra 1999), `O` outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from llmkit.data.examples.fields import BadRowError, Fields, Place, filled_text, first_of, meta_of, text_of
from llmkit.data.schemas import Tag, TagExample
from llmkit.text.words import cut_at, joined, words_of

OUTSIDE = "O"

_WORD_FIELDS = ("tokens", "words")
_TAG_FIELDS = ("tags", "ner_tags", "pos_tags", "labels")
_SPAN_FIELDS = ("spans", "entities")
_LABEL_FIELDS = ("label", "type", "entity", "tag")


def tag_form(fields: Fields) -> str | None:
    """`tokens` or `spans`, told by the fields."""
    name = first_of(fields, _WORD_FIELDS)
    if name is not None and isinstance(fields[name], list) and first_of(fields, _TAG_FIELDS):
        return "tokens"
    name = first_of(fields, _SPAN_FIELDS)
    return "spans" if name is not None and "text" in fields and isinstance(fields[name], list) else None


def tag_examples(fields: Fields, form: str, place: Place) -> Iterator[TagExample]:
    text, tags = _of_tokens(fields) if form == "tokens" else _of_spans(fields)
    yield TagExample(place.source, place.record, text, tuple(tags), place.split_of(fields), meta_of(fields))


def _of_tokens(fields: Fields) -> tuple[str, list[Tag]]:
    words_name, tags_name = first_of(fields, _WORD_FIELDS) or "", first_of(fields, _TAG_FIELDS) or ""
    words, tags = fields[words_name], fields[tags_name]
    if not isinstance(words, list) or not words:
        raise BadRowError("no_tokens", f"'{words_name}' holds no list of words")
    if not isinstance(tags, list):
        raise BadRowError("bad_tags", f"'{tags_name}' is a {type(tags).__name__}, not a list")
    if len(words) != len(tags):
        raise BadRowError("uneven", f"it has {len(words)} {words_name} and {len(tags)} {tags_name}")
    texts = [filled_text(word, f"{words_name}[{at}]", "empty_token").strip() for at, word in enumerate(words)]
    text, spans = joined(texts)
    named = [_tag(tag, f"{tags_name}[{at}]") for at, tag in enumerate(tags)]
    return text, [Tag(*span, tag) for span, tag in zip(spans, named, strict=True)]


def _of_spans(fields: Fields) -> tuple[str, list[Tag]]:
    text = filled_text(fields["text"], "'text'", "empty_text")
    name = first_of(fields, _SPAN_FIELDS) or ""
    given = fields[name]
    assert isinstance(given, list)  # noqa: S101  # or it has another form
    spans = sorted(_span(each, f"{name}[{at}]", len(text)) for at, each in enumerate(given))
    for before, after in pairwise(spans):
        if after[0] < before[1]:
            where = f"'{text[before[0] : before[1]]}' and '{text[after[0] : after[1]]}'"
            raise BadRowError("overlapping", f"two of its spans overlap: {where}, and a word has one tag")
    words = cut_at(words_of(text), {place for start, end, _ in spans for place in (start, end)})
    if not words:
        raise BadRowError("no_tokens", "its text has no word")
    return text, list(_tagged(words, spans))


def _tagged(words: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int, str]]) -> Iterator[Tag]:
    waiting, begun = list(spans), False
    for start, end in words:
        while waiting and waiting[0][1] <= start:
            waiting, begun = waiting[1:], False
        if waiting and waiting[0][0] < end:
            yield Tag(start, end, f"{'I' if begun else 'B'}-{waiting[0][2]}")
            begun = True
        else:
            yield Tag(start, end, OUTSIDE)


def _span(value: object, where: str, length: int) -> tuple[int, int, str]:
    """A span as an object, or as a list of start, end and label."""
    if isinstance(value, Mapping):
        label = next((value[name] for name in _LABEL_FIELDS if name in value), None)
        start, end = value.get("start"), value.get("end")
    elif isinstance(value, list) and len(value) == 3:
        start, end, label = value
    else:
        raise BadRowError("bad_span", f"{where} has no 'start', 'end' and 'label'")
    if not all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end)):
        raise BadRowError("bad_span", f"{where} goes from {start!r} to {end!r}, and both must be whole numbers")
    assert isinstance(start, int)  # noqa: S101  # for mypy
    assert isinstance(end, int)  # noqa: S101
    if not 0 <= start < end <= length:
        raise BadRowError("bad_span", f"{where} goes from {start} to {end}, and the text has {length} characters")
    return start, end, _tag(label, f"the label of {where}")


def _tag(value: object, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadRowError("bad_tags", f"{where} is a {type(value).__name__}, not a tag")
    tag = str(value) if isinstance(value, int) else text_of(value, where).strip()
    if not tag:
        raise BadRowError("bad_tags", f"{where} is empty")
    return tag

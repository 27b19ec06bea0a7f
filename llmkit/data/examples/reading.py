"""Reading training data row by row: every row becomes examples of one schema, or a drop with its place and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from llmkit.data.examples.chat_rows import chat_examples, chat_form
from llmkit.data.examples.fields import BadRowError, Fields, Place, RowDrop, dropped, unknown_fields
from llmkit.data.examples.files import plain_file, row_format, rows_of, splits_by_name
from llmkit.data.examples.label_rows import has_label, label_examples, label_form
from llmkit.data.examples.preference_rows import preference_examples, preference_form
from llmkit.data.examples.span_rows import has_answers, span_examples, span_form
from llmkit.data.examples.tag_rows import tag_examples, tag_form
from llmkit.data.rows import BadRow, Row
from llmkit.data.schemas import ExampleSchema, TrainingExample

_ROWS_TO_DETECT = 20


@dataclass(frozen=True)
class Layouts:
    """How rows of a schema are written.

    Attributes:
        form_of: the form of a row, told by its fields; None if it is of another schema.
        surely: whether a row with such a form can hardly be of another schema.
        examples: the examples of a row in that form. Raises BadRowError.
        needs: for messages, the fields of the simplest form.
    """

    form_of: Callable[[Fields], str | None]
    surely: Callable[[Fields], bool]
    examples: Callable[[Fields, str, Place], Iterable[TrainingExample | RowDrop]]
    needs: str


def _always(_: Fields) -> bool:
    return True


def _is_span(fields: Fields) -> bool:
    return span_form(fields) == "squad" or has_answers(fields)


LAYOUTS: Mapping[ExampleSchema, Layouts] = {
    "preference": Layouts(preference_form, _always, preference_examples, "'prompt', 'chosen' and 'rejected'"),
    "span": Layouts(span_form, _is_span, span_examples, "'question', 'context' and 'answers'"),
    "tag": Layouts(tag_form, _always, tag_examples, "'tokens' and 'tags', or 'text' and 'spans', or CoNLL's columns"),
    "label": Layouts(label_form, has_label, label_examples, "'text' and 'label'"),
    "chat": Layouts(chat_form, _always, chat_examples, "'messages', or 'prompt' and 'completion'"),
}
"""In the order in which a file's schema is detected: what has more fields of its own first."""


OnOther = Callable[[Path, ExampleSchema, bool], None]
"""Called with a file, the schema that its first rows look like, and whether they can be read as the wanted one too."""


def detect_schema(paths: Sequence[Path]) -> tuple[ExampleSchema, str] | None:
    """The schema and form of the first rows whose fields are known; None if those of no row are.

    Raises:
        NotFoundError: if a file does not exist.
        DataError: if a file is damaged, or in another format.
    """
    for path in paths:
        with plain_file(path) as plain:
            rows = islice(rows_of(plain, row_format(plain, path)), _ROWS_TO_DETECT)
            if found := _schema_of(rows):
                return found
    return None


def _schema_of(rows: Iterable[Row | BadRow]) -> tuple[ExampleSchema, str] | None:
    for row in rows:
        if not isinstance(row, Row):
            continue
        for schema, layouts in LAYOUTS.items():
            form = layouts.form_of(row.fields)
            if form and layouts.surely(row.fields):
                return schema, form
    return None


def read_training_rows(
    paths: Sequence[Path],
    schema: ExampleSchema,
    *,
    named_splits: bool = True,
    forms: Counter[str] | None = None,
    on_other: OnOther | None = None,
) -> Iterator[TrainingExample | RowDrop]:
    """The examples and the bad rows of JSONL, JSON, CSV, TSV, parquet or CoNLL files, also compressed ones, in order.

    The first row of a file decides on the form of all its rows. A row may make several examples (an article of SQuAD).

    Args:
        paths: files; their rows are streamed, but a JSON file is read as one piece.
        schema: of the examples.
        named_splits: whether a file's name (`train`, `dev`, `test`) gives its rows their split, where they have none.
        forms: counts the examples per form, if given.
        on_other: told of each file that looks like another schema; it may raise.

    Raises:
        NotFoundError: if a file does not exist.
        DataError: if a file is damaged, or in another format. Bad rows raise nothing.
    """
    splits = splits_by_name(paths) if named_splits else [None] * len(paths)
    counts = Counter[str]() if forms is None else forms
    for path, split in zip(paths, splits, strict=True):
        with plain_file(path) as plain:
            file_format = row_format(plain, path)
            rows = rows_of(plain, file_format)
            first = list(islice(rows, _ROWS_TO_DETECT))
            if on_other and (found := _schema_of(first)) and found[0] != schema:
                fits = any(isinstance(row, Row) and LAYOUTS[schema].form_of(row.fields) for row in first)
                on_other(path, found[0], fits)
            yield from _read(chain(first, rows), Place(str(path), 0, file_format, split), LAYOUTS[schema], counts)


def _read(
    rows: Iterable[Row | BadRow], file: Place, layouts: Layouts, counts: Counter[str]
) -> Iterator[TrainingExample | RowDrop]:
    form: str | None = None
    for row in rows:
        place = Place(file.source, row.number, file.format, file.split)
        if isinstance(row, BadRow):
            yield dropped(place, BadRowError(row.reason, row.detail), None, step="read")
            continue
        own = layouts.form_of(row.fields)
        if own is None and form is None and file.format == "csv":
            # All rows of a table have the fields of its first line, so there is one thing to say and not thousands.
            yield dropped(Place(file.source, 1, "csv"), _bad_header(row.fields, layouts), row.fields)
            return
        form = form or own
        try:
            if own is None or form is None:
                raise unknown_fields(row.fields)
            if own != form:
                raise BadRowError("mixed_forms", f"written as {own}, and the file began with {form}")
            for item in layouts.examples(row.fields, form, place):
                if not isinstance(item, RowDrop):
                    counts[form] += 1
                yield item
        except BadRowError as error:
            yield dropped(place, error, row.fields)


def _bad_header(fields: Fields, layouts: Layouts) -> BadRowError:
    names = ", ".join(f"'{name if len(name) <= 40 else name[:39] + '…'}'" for name in islice(fields, 8))
    return BadRowError("unknown_columns", f"the first line must name the columns ({layouts.needs}); it has {names}")

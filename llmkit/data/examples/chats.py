"""All chat examples of a few files at once, for a command that is handed files in place of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmkit.data.chat import Example
from llmkit.data.drops import Drop
from llmkit.data.examples.messages import another_schema, listed, rows_refused
from llmkit.data.examples.reading import read_training_rows
from llmkit.data.schemas import ExampleSchema
from llmkit.errors import DataError

OnBad = Literal["error", "drop"]


@dataclass(frozen=True)
class ExampleSet:
    """Examples in the order of their files, the rows that were dropped, and the form they were written in."""

    examples: Sequence[Example]
    drops: Sequence[Drop]
    forms: Mapping[str, int]


def read_examples(paths: Sequence[Path], *, on_bad: OnBad = "error") -> ExampleSet:
    """Read chat examples from JSONL, JSON, CSV, TSV or parquet files.

    Recognised by their fields, one form per file: `messages` (role, content), sharegpt's `conversations` (from, value),
    alpaca's `instruction`, `input`, `output`, pairs (prompt and completion or response, question and answer, input and
    output), and plain `text`.

    Raises:
        NotFoundError: if a file does not exist.
        DataError: for bad rows, with file, line and reason of the first ones (unless `on_bad` is "drop"), for a file in
            another format, and if no example is left.
    """
    examples: list[Example] = []
    drops: list[Drop] = []
    forms: Counter[str] = Counter()
    others: list[ExampleSchema] = []

    def on_other(_: Path, found: ExampleSchema, fits: bool) -> None:
        if not fits:
            others.append(found)

    for item in read_training_rows(paths, "chat", named_splits=False, forms=forms, on_other=on_other):
        if isinstance(item, Example):
            examples.append(item)
        elif isinstance(item, Drop):
            drops.append(item)
    if not examples and others:
        raise another_schema(paths, others[0], "chat")
    if drops and on_bad == "error":
        mend = "mend these rows, or drop them with --bad-rows drop"
        raise rows_refused(drops, len(drops), len(examples) + len(drops), mend)
    if not examples:
        what = listed(drops, len(drops)) if drops else "the files have no rows"
        raise DataError("there is no example to train on", where=", ".join(map(str, paths)), mend=what)
    return ExampleSet(examples, drops, forms)

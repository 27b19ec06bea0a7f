"""The errors that refuse training data, each with what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmkit.data.drops import Drop
from llmkit.data.schemas import ExampleSchema
from llmkit.errors import DataError

SHOWN_BAD_ROWS = 5

NOUNS: Mapping[ExampleSchema, str] = {
    "chat": "chats, or prompts with completions",
    "label": "texts with labels",
    "span": "questions on contexts",
    "preference": "preference pairs",
    "tag": "words with tags",
}


def rows_refused(first: Sequence[Drop], bad: int, rows: int, mend: str) -> DataError:
    """The error for `bad` of `rows` rows, of which the `first` are shown."""
    where = f"{first[0].source}:{first[0].record}"
    return DataError(f"{bad:,} of {rows:,} rows cannot be used:\n{listed(first, bad)}", where=where, mend=mend)


def listed(first: Sequence[Drop], bad: int) -> str:
    """A line for each of the first drops, and how many more there are of `bad` in all."""
    shown = first[:SHOWN_BAD_ROWS]
    lines = [f"{drop.source}:{drop.record}: {drop.detail}" for drop in shown]
    if bad > len(shown):
        lines.append(f"… and {bad - len(shown):,} more")
    return "\n".join(lines)


def another_schema(paths: Sequence[Path], found: ExampleSchema, wanted: ExampleSchema) -> DataError:
    """The error for files that hold `found`, where `wanted` was asked for."""
    return DataError(
        f"it looks like {NOUNS[found]}, and {NOUNS[wanted]} are needed",
        where=", ".join(map(str, paths)),
        mend=f"name a file of {NOUNS[wanted]}; `llmkit preprocess … --for {found}` makes a dataset of this one",
    )

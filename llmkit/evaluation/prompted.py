"""Items that a model is prompted with: made of rows by templates, with worked examples before them.

The text is put together as lm-evaluation-harness 0.4.13 does it: description, examples (prompt, a space, answer) and
prompt, with a blank line between examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from llmkit.errors import DataError
from llmkit.evaluation.questions import Row
from llmkit.evaluation.spec import TaskSpec
from llmkit.evaluation.template import fill


class PromptedSpec(TaskSpec):
    """What every task with a prompt has."""

    data: str = Field(description="A JSONL, JSON, CSV or parquet file.")
    prompt: str = Field(default="{prompt}", description="What the model reads: a template with {fields} of the row.")
    target: str = Field(default="{answer}", description="The right answer: a template.")
    delimiter: str = Field(default=" ", description="Between the prompt and what follows it.")
    description: str = Field(default="", description="Text before everything else.")
    fewshot: int = Field(default=0, ge=0, description="Worked examples before the prompt.")
    fewshot_data: str | None = Field(default=None, description="The file that they are drawn from; needed for any.")
    fewshot_seed: int = Field(default=1234, description="The seed of the draw: the same for each item, by its id.")
    separator: str = Field(default="\n\n", description="Between worked examples.")
    chat: bool = Field(default=False, description="Put the prompt into the model's chat template.")
    id_field: str = Field(
        default="id", description="The field with the item's id; the row's number where it is absent."
    )
    cluster: str = Field(default="", description="The field that names what items share, such as their document.")


@dataclass(frozen=True)
class PromptItem:
    """A prompt with its answer.

    Attributes:
        prompt: with description and worked examples.
        bare: without them.
        choices: what may follow, where that is given; else empty.
        gold: the right answers; of choices their text.
    """

    id: str
    where: str
    prompt: str
    bare: str
    choices: tuple[str, ...]
    gold: tuple[str, ...]
    cluster: str


def prompt_items(
    spec: Any, rows: Iterable[Row], examples: Sequence[Row] = (), *, choices: bool = False
) -> list[PromptItem]:
    """The items of a task. `choices`: the spec has `choices`, and the target is one of them.

    Raises:
        DataError: a row lacks a field of a template, has no answer or one that is no choice, or two have one id.
    """
    items: list[PromptItem] = []
    seen: dict[str, str] = {}
    shown = [_plain(spec, each, choices) for each in examples]
    for number, row in enumerate(rows, start=1):
        item_id = str(row.values.get(spec.id_field) or number)
        if item_id in seen:
            raise DataError(
                f"the id '{item_id}' was used before, in {seen[item_id]}", where=row.where, mend="make the ids unique"
            )
        seen[item_id] = row.where
        bare, options, gold = _plain(spec, row, choices)
        others = [each for each in shown if each[0] != bare]
        head = spec.description + "".join(
            f"{prompt}{spec.delimiter}{answers[0]}{spec.separator}"
            for prompt, _, answers in _drawn(others, spec, item_id, row.where)
        )
        cluster = str(row.values.get(spec.cluster, "")) if spec.cluster else ""
        items.append(PromptItem(item_id, row.where, head + bare, bare, options, gold, cluster or item_id))
    if not items:
        raise DataError("the task has no items", where=f"task {spec.id}", mend="nothing was measured: check its data")
    return items


_Plain = tuple[str, tuple[str, ...], tuple[str, ...]]


def _drawn(shown: Sequence[_Plain], spec: Any, item: str, where: str) -> list[_Plain]:
    """Worked examples for an item: those whose hash with its id and the seed is least, so no order matters."""
    if not spec.fewshot:
        return []
    if len(shown) < spec.fewshot:
        raise DataError(
            f"{spec.fewshot} worked examples are asked for and there are {len(shown)}",
            where=where,
            mend="name a file with more as `fewshot_data`, apart from the items themselves",
        )
    key = f"{spec.fewshot_seed}\x00{item}\x00"
    order = sorted(shown, key=lambda each: hashlib.sha256((key + each[0]).encode("utf-8", "surrogatepass")).digest())
    return order[: spec.fewshot]


def _plain(spec: Any, row: Row, with_choices: bool) -> _Plain:
    prompt = str(fill(spec.prompt, row.values, where=row.where))
    options: tuple[str, ...] = ()
    if with_choices:
        options = _choices(spec.choices, row)
    target = fill(spec.target, row.values, where=row.where)
    answers = [target] if not isinstance(target, list | tuple) else list(target)
    if not answers or any(each is None or each == "" for each in answers):
        raise DataError("the row has no right answer", where=row.where, mend=f"fill in {spec.target}")
    if with_choices:
        return prompt, options, tuple(dict.fromkeys(_choice(each, options, row.where) for each in answers))
    return prompt, options, tuple(str(each) for each in answers)


def _choices(given: str | Sequence[str], row: Row) -> tuple[str, ...]:
    found = (
        fill(given, row.values, where=row.where)
        if isinstance(given, str)
        else [fill(each, row.values, where=row.where) for each in given]
    )
    if not isinstance(found, list | tuple) or len(found) < 2:
        raise DataError(f"the choices are no list of two or more: {found!r}", where=row.where, mend="give a list")
    options = tuple(map(str, found))
    if len(set(options)) < len(options):
        raise DataError("a choice occurs twice", where=row.where, mend="correct the choices")
    return options


def _choice(target: Any, options: Sequence[str], where: str) -> str:
    """The text of the right choice, named by its text, its number from 0, or a letter from A."""
    if isinstance(target, str) and target in options:
        return target
    number: Any = target
    if isinstance(target, str):
        letter = target.strip().upper()
        if letter.isdecimal():
            number = int(letter)
        elif len(letter) == 1 and "A" <= letter <= "Z":
            number = ord(letter) - ord("A")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(options):
        return options[number]
    raise DataError(
        f"the answer {target!r} is none of the choices: {', '.join(options[:6])}",
        where=where,
        mend="give a choice's text, its number from 0, or its letter",
    )

"""Reading fine-tuning data: the ways in which people write examples, unified into messages and checked row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from llmkit.config.sections import SplitOptions
from llmkit.data.chat import ROLES, Example, Message, Role
from llmkit.data.dedup import exact_hash
from llmkit.data.drops import Drop
from llmkit.data.readers.records import USUAL_TEXT_FIELDS
from llmkit.data.rows import ROW_FORMATS, BadRow, Row, format_of, read_rows
from llmkit.data.split import split_clusters
from llmkit.errors import DataError, NotFoundError

Form = Literal["messages", "sharegpt", "alpaca", "prompt", "text"]

_SHAREGPT_ROLES: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_PROMPT_FIELDS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("input", "output"))
_SHOWN_BAD_ROWS = 5
_FEWEST_TO_HOLD_OUT = 10
"""With fewer distinct examples a held-out part would cost more in training than a figure from it is worth."""

OnBad = Literal["error", "drop"]


class _BadRowError(Exception):
    """`(reason, detail)`: why a row is no example."""


@dataclass(frozen=True)
class ExampleSet:
    """Examples in the order of their files, the rows that were dropped, and the form they were written in."""

    examples: Sequence[Example]
    drops: Sequence[Drop]
    forms: Mapping[Form, int]


@dataclass(frozen=True)
class HeldOut:
    """Examples that each have a split; `missing` says that there were too few distinct ones to hold any out."""

    examples: Sequence[Example]
    distinct: int
    missing: bool


def read_examples(paths: Sequence[Path], *, on_bad: OnBad = "error") -> ExampleSet:
    """Read examples from JSONL, JSON, CSV, TSV or parquet files.

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
    forms: Counter[Form] = Counter()
    for path in paths:
        form: Form | None = None
        for row in read_rows(path, _row_format(path)):
            try:
                if isinstance(row, BadRow):
                    raise _BadRowError(row.reason, row.detail)
                form = form or _form(row.fields)
                examples.append(_example(path, row, form))
                forms[form] += 1
            except _BadRowError as error:
                reason, detail = error.args
                drops.append(Drop(str(path), "examples", reason, detail, str(row.number)))
    if drops and on_bad == "error":
        raise _bad_rows(drops, len(examples) + len(drops))
    if not examples:
        what = _listed(drops) if drops else "the files have no rows"
        raise DataError("there is no example to train on", where=", ".join(map(str, paths)), mend=what)
    return ExampleSet(examples, drops, forms)


def hold_out(examples: Sequence[Example], options: SplitOptions, seed: int = 0) -> HeldOut:
    """Give each example a split by the hash of its prompt; those that have one keep it.

    Examples with the same prompt stay together, so that no question is trained on and tested with. If fewer than ten
    prompts differ, all are trained on.
    """
    if all(example.split for example in examples):
        return HeldOut(examples, len(examples), missing=all(example.split == "train" for example in examples))
    clusters = [exact_hash(_key(example)).hex() for example in examples]
    sizes = Counter(clusters)
    if len(sizes) < _FEWEST_TO_HOLD_OUT:
        return HeldOut([replace(example, split="train") for example in examples], len(sizes), missing=True)
    of = split_clusters(sizes, options, seed).of
    placed = [
        example if example.split else replace(example, split=of[cluster])
        for example, cluster in zip(examples, clusters, strict=True)
    ]
    return HeldOut(placed, len(sizes), missing=all(example.split == "train" for example in placed))


def _key(example: Example) -> str:
    messages = example.prompt or example.messages
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _row_format(path: Path) -> Literal["jsonl", "json", "csv", "parquet"]:
    try:
        form = format_of(path)
    except FileNotFoundError as error:
        raise NotFoundError("no such file of examples", where=str(path), mend="check the path") from error
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", where=str(path), mend="name a readable file") from error
    if form not in ROW_FORMATS:
        raise DataError(
            "not a file of examples",
            where=str(path),
            mend="use JSONL, JSON, CSV, TSV or parquet, with prompt and completion or with messages",
        )
    return cast(Literal["jsonl", "json", "csv", "parquet"], form)


def _bad_rows(drops: Sequence[Drop], rows: int) -> DataError:
    first = drops[0]
    return DataError(
        f"{len(drops)} of {rows} rows cannot be used:\n{_listed(drops)}",
        where=f"{first.source}:{first.record}",
        mend="mend these rows, or drop them with --bad-rows drop",
    )


def _listed(drops: Sequence[Drop]) -> str:
    lines = [f"{drop.source}:{drop.record}: {drop.detail}" for drop in drops[:_SHOWN_BAD_ROWS]]
    if len(drops) > _SHOWN_BAD_ROWS:
        lines.append(f"… and {len(drops) - _SHOWN_BAD_ROWS} more")
    return "\n".join(lines)


def _form(fields: Mapping[str, object]) -> Form:
    """The form in which a row is written, told by its fields."""
    if "messages" in fields:
        return "messages"
    if "conversations" in fields:
        return "sharegpt"
    if "instruction" in fields and "output" in fields:
        return "alpaca"
    if _pair_fields(fields):
        return "prompt"
    if any(name in fields for name in USUAL_TEXT_FIELDS):
        return "text"
    raise _BadRowError("unknown_form", f"no known fields among {', '.join(fields)}")


def _pair_fields(fields: Mapping[str, object]) -> tuple[str, str] | None:
    return next((pair for pair in _PROMPT_FIELDS if pair[0] in fields and pair[1] in fields), None)


def _example(path: Path, row: Row, form: Form) -> Example:
    own = _form(row.fields)
    if own != form:
        raise _BadRowError("mixed_forms", f"written as {own}, and the file began with {form}")
    messages = tuple(_MESSAGES_OF[form](row.fields))
    _check(messages, plain_text=form == "text")
    return Example(str(path), str(row.number), messages)


def _from_messages(fields: Mapping[str, object]) -> Iterator[Message]:
    yield from _turns(fields["messages"], "messages", "role", "content", {role: role for role in ROLES})


def _from_sharegpt(fields: Mapping[str, object]) -> Iterator[Message]:
    turns = fields["conversations"]
    if isinstance(fields.get("system"), str) and fields["system"]:
        yield Message("system", str(fields["system"]))
    speaks = isinstance(turns, list) and turns and isinstance(turns[0], dict) and "role" in turns[0]
    yield from _turns(turns, "conversations", *(("role", "content") if speaks else ("from", "value")), _SHAREGPT_ROLES)


def _turns(turns: object, field: str, role_key: str, text_key: str, roles: Mapping[str, Role]) -> Iterator[Message]:
    if not isinstance(turns, list):
        raise _BadRowError("bad_turns", f"'{field}' is a {type(turns).__name__}, not a list")
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
            raise _BadRowError("bad_turns", f"turn {number} has no '{role_key}' and '{text_key}'")
        role = roles.get(str(turn[role_key]))
        if role is None:
            raise _BadRowError("unknown_role", f"turn {number} has the role '{turn[role_key]}'")
        yield Message(role, _text(turn[text_key], f"turn {number}"))


def _from_alpaca(fields: Mapping[str, object]) -> Iterator[Message]:
    prompt = _text(fields["instruction"], "'instruction'")
    if extra := fields.get("input"):
        prompt = prompt + "\n\n" + _text(extra, "'input'")
    yield Message("user", prompt)
    yield Message("assistant", _text(fields["output"], "'output'"))


def _from_pair(fields: Mapping[str, object]) -> Iterator[Message]:
    asked, told = _pair_fields(fields) or _PROMPT_FIELDS[0]
    prompt, completion = fields[asked], fields[told]
    if isinstance(prompt, list) and isinstance(completion, list):
        yield from _from_messages({"messages": prompt + completion})
        return
    yield Message("user", _text(prompt, f"'{asked}'"))
    yield Message("assistant", _text(completion, f"'{told}'"))


def _from_text(fields: Mapping[str, object]) -> Iterator[Message]:
    name = next(name for name in USUAL_TEXT_FIELDS if name in fields)
    yield Message("assistant", _text(fields[name], f"'{name}'"))


_MESSAGES_OF: Mapping[Form, Callable[[Mapping[str, object]], Iterable[Message]]] = {
    "messages": _from_messages,
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "prompt": _from_pair,
    "text": _from_text,
}


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _BadRowError("not_text", f"{where} is a {type(value).__name__}, not text")
    return value


def _check(messages: Sequence[Message], *, plain_text: bool) -> None:
    """Refuse what cannot be trained on: roles out of order, empty turns, nothing said by the assistant at the end."""
    if not messages:
        raise _BadRowError("no_messages", "it has no messages")
    for number, message in enumerate(messages, start=1):
        if not message.content.strip():
            raise _BadRowError("empty_turn", f"turn {number} ({message.role}) is empty")
    if plain_text:
        return
    turns = messages[1:] if messages[0].role == "system" else messages
    offset = len(messages) - len(turns)
    for index, message in enumerate(turns):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            number = index + offset + 1
            raise _BadRowError("roles_out_of_order", f"turn {number} is the {message.role}'s, not the {expected}'s")
    if messages[-1].role != "assistant":
        raise _BadRowError("no_completion", "it does not end with a turn of the assistant")

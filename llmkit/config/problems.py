"""Pydantic's complaints in words for users, all of them at once, each with the place it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from llmkit.errors import ConfigError, closest


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the options: which key, what about it, and where it was said."""

    key: str
    message: str
    where: str = ""

    @property
    def text(self) -> str:
        """The message, with the key where the place does not name it already."""
        named = self.where.startswith(("-", "$")) or self.where.isupper() or not self.key
        return self.message if named else f"{self.key}: {self.message}"

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


def unknown(key: str, known: Iterable[str], where: str) -> Problem:
    return Problem(key, f"no such option{closest(key, known)}", where)


def translate(error: ValidationError, where: Callable[[tuple[str | int, ...]], str]) -> list[Problem]:
    """`error`'s parts as problems; `where` gives the origin of the value at a path."""
    found = []
    for part in error.errors(include_url=False):
        path = tuple(p for p in part["loc"] if not (isinstance(p, str) and p.startswith("function-")))
        key = ".".join(str(p) for p in path)
        found.append(
            Problem(key, _words(part["type"], part["msg"], part.get("ctx", {}), part.get("input")), where(path))
        )
    return found


def raise_problems(problems: Sequence[Problem], *, mend: str | None = None) -> None:
    """Raise one ConfigError for all problems; do nothing when there are none."""
    if not problems:
        return
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        only = unique[0]
        raise ConfigError(only.text, where=only.where or None, mend=mend)
    raise ConfigError(f"{len(unique)} problems:\n" + "\n".join(f"  {problem}" for problem in unique), mend=mend)


def _one_of(expected: str, shown: str, value: str) -> str:
    choices = [choice.strip().strip("'") for choice in expected.split(",")]
    return f"must be one of {', '.join(choices)}, not {shown}{closest(value, choices)}"


def _words(kind: str, message: str, context: dict[str, Any], value: object) -> str:
    shown = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
    phrases = {
        "missing": "is required",
        "extra_forbidden": "no such key",
        "int_parsing": f"must be a whole number, not {shown}",
        "int_from_float": f"must be a whole number, not {shown}",
        "int_type": f"must be a whole number, not {shown}",
        "float_parsing": f"must be a number, not {shown}",
        "float_type": f"must be a number, not {shown}",
        "bool_parsing": f"must be true or false, not {shown}",
        "bool_type": f"must be true or false, not {shown}",
        "string_type": f"must be text, not {shown}; put it in quotes",
        "tuple_type": f"must be a list, not {shown}",
        "model_type": f"must be a section of keys, not {shown}",
        "greater_than_equal": f"must be at least {context.get('ge')}, not {shown}",
        "greater_than": f"must be more than {context.get('gt')}, not {shown}",
        "less_than_equal": f"must be at most {context.get('le')}, not {shown}",
        "less_than": f"must be less than {context.get('lt')}, not {shown}",
        "too_short": f"needs at least {context.get('min_length')}",
    }
    if kind == "literal_error":
        return _one_of(str(context.get("expected", "")).replace(" or ", ", "), shown, str(value))
    if kind == "union_tag_invalid":
        return _one_of(str(context.get("expected_tags", "")), repr(context.get("tag")), str(context.get("tag")))
    if kind == "union_tag_not_found":
        return f"needs {context.get('discriminator')}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return phrases.get(kind, f"{message[:1].lower()}{message[1:]}")

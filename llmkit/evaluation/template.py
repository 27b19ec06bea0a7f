"""Prompts as templates: `{field}` stands for a field of the row, `{answers.text.0}` for a part of one.

A template that is one field and nothing else gives the field as it is (a list, a number); any other gives a string.
Doubled braces are braces. Attributes of values cannot be reached: a suite may come from somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from llmkit.errors import ConfigError, DataError

_FORMATTER = Formatter()


def fields_of(template: str) -> list[str]:
    """The fields that a template names.

    Raises:
        ConfigError: its braces do not match, or a field has no name.
    """
    try:
        names = [name for _, name, _, _ in _FORMATTER.parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(
            f"the template {template!r} cannot be read: {error}", mend="write {field}, and {{ for a brace"
        ) from None
    if "" in names:
        raise ConfigError(f"the template {template!r} has a field without a name", mend="write {field}")
    return names


def fill(template: str, row: Mapping[str, Any], *, where: str) -> Any:
    """The template with the row's values.

    Raises:
        DataError: the row lacks a field; it is named, with those that there are.
    """
    names = fields_of(template)
    if len(names) == 1 and template == "{" + names[0] + "}":
        return _value(names[0], row, where)
    parts = []
    for text, name, _, _ in _FORMATTER.parse(template):
        parts.append(text)
        if name is not None:
            parts.append(str(_value(name, row, where)))
    return "".join(parts)


def _value(path: str, row: Mapping[str, Any], where: str) -> Any:
    value: Any = row
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise DataError(
                f"the row has no field '{path}'", where=where, mend=f"it has: {', '.join(map(str, row)) or 'nothing'}"
            )
    return value

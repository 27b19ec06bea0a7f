"""What may be written into a record: plain JSON, no NaN, no secrets; and its one canonical spelling."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import PurePath
from typing import NoReturn

from pydantic import BaseModel, JsonValue

from llmkit.errors import ConfigError

# `scheme://user:password@`, and a bare `token@` where the scheme is http, as code hosts hand them out.
_CREDENTIALS = re.compile(r"://[^\s/?#:@]*:[^\s/?#]*@|https?://[^\s/?#:@,]+@", re.IGNORECASE)


def plain(value: object, where: str = "") -> JsonValue:
    """`value` as JSON can hold it.

    A number that is not finite becomes the string "nan", "inf" or "-inf"; paths become strings; tuples and sets lists;
    bytes of a file name that are no UTF-8 become `\\udcXX` escapes.

    Raises:
        ConfigError: a URL with a password (or token) in it; `where` is the dotted key that held it.
        TypeError: a value that has no JSON form.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case str():
            return _text(value, where)
        case PurePath():
            return _text(str(value), where)
        case BaseModel():
            return plain(value.model_dump(mode="python"), where)
        case Mapping():
            return {_text(str(key), where): plain(item, _inside(where, key)) for key, item in value.items()}
        case Set():
            return sorted((plain(item, where) for item in value), key=canonical)
        case list() | tuple():
            return [plain(item, _inside(where, index)) for index, item in enumerate(value)]
        case _ if callable(item := getattr(value, "item", None)):
            return plain(item(), where)  # a scalar of numpy or torch
        case _:
            raise TypeError(f"{where or 'value'}: {type(value).__name__} has no JSON form")


def canonical(value: JsonValue) -> bytes:
    """The one spelling of a JSON value: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(value: JsonValue) -> str:
    """sha256, in hex, of the canonical spelling."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse(content: bytes) -> JsonValue:
    """JSON as this package writes it.

    Raises:
        ValueError: not JSON, not UTF-8, or JSON with NaN or Infinity as a number.
    """
    value: JsonValue = json.loads(content, parse_constant=_refuse_constant)
    return value


def flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as (dotted key, value) pairs, in order; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _inside(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _text(text: str, where: str) -> str:
    if "://" in text and _CREDENTIALS.search(text):
        raise ConfigError(
            "a URL with a password or token in it would be written into the registry",
            where=where or None,
            mend="take it out of the URL and give it through an environment variable",
        )
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")

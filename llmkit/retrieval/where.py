"""Metadata filters, the language of `--where`: which documents a search may look at.

    filter    = all {"or" all}
    all       = one {"and" one}
    one       = "not" one | "(" filter ")" | condition
    condition = FIELD op VALUE | FIELD ["not"] "in" "(" VALUE {"," VALUE} ")"
    op        = "=" | "!=" | "~" | "!~" | "<" | "<=" | ">" | ">="

`~` is a glob (`*`, `?`, `[a-z]`; `*` also crosses slashes) over the whole value. A value with spaces, commas or
parentheses is quoted by ' or ". A number without quotes is compared as a number, all else as text by code points.
A document that has no such field fulfils no condition on it but `!=`, `!~` and `not in`, which are the exact contrary
of `=`, `~` and `in`. A filter becomes one SQL condition in which every value is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn
from unicodedata import east_asian_width

from llmkit.errors import UsageError, closest
from llmkit.retrieval.schema import stored
from llmkit.text.document import Span

_SUBTYPE = "substr(d.media, instr(d.media, '/') + 1)"
COLUMNS: Mapping[str, str] = {
    "path": "d.source",
    "source": "d.source",
    "record": "d.record",
    "media": "d.media",
    "type": f"(CASE WHEN {_SUBTYPE} GLOB 'x-*' THEN substr({_SUBTYPE}, 3) ELSE {_SUBTYPE} END)",
    "heading": "c.heading",
    "page": "CAST(c.page AS TEXT)",
}
"""Fields that every index has, over its documents `d` and chunks `c`. A relative `path` matches from any folder on;
`type` is what follows the slash of `media`, without `x-`."""
FACTS: Mapping[str, tuple[str, ...]] = {"lang": ("lang", "language"), "title": ("title",)}
"""Facts of a document that always may be asked for, and the names under which readers give them."""

MOST_CONDITIONS = 250
MOST_NESTED = 20
"""SQLite takes expressions up to a depth of 1,000, and its parser keeps up to 100 things in mind."""

_SPACE = re.compile(r"\s*")
_FIELD = re.compile(r"[^\W\d][\w.-]*")
_WORD = re.compile(r"[^\W\d]\w*")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_OPERATOR = re.compile(r"!=|!~|<=|>=|==|=|~|<|>")
_BARE = re.compile(r"""[^\s(),'"]+""")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_KEYWORDS = frozenset({"and", "or", "not", "in"})


@dataclass(frozen=True)
class Value:
    """A value as written; only one without quotes can be a number."""

    text: str
    quoted: bool = False

    @property
    def is_number(self) -> bool:
        return not self.quoted and _NUMBER.fullmatch(self.text) is not None


@dataclass(frozen=True)
class Compare:
    """One condition. `op` is `=`, `~`, `<`, `<=`, `>` or `>=`; the contraries are a `Not` around it."""

    field: str
    op: str
    value: Value
    at: Span
    """Where the field stands in the filter."""


@dataclass(frozen=True)
class Not:
    part: Condition


@dataclass(frozen=True)
class AllOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class OneOf:
    parts: tuple[Condition, ...]


Condition = Compare | Not | AllOf | OneOf


@dataclass(frozen=True)
class Where:
    """A parsed filter."""

    text: str
    condition: Condition

    @property
    def facts(self) -> frozenset[str]:
        """The fields in it that not every index has."""
        return frozenset(part.field for part in compares(self.condition)) - COLUMNS.keys() - FACTS.keys()

    def check_fields(self, known: Collection[str]) -> None:
        """
        Args:
            known: the facts that documents of the index have.

        Raises:
            UsageError: a field is none of them; the closest is named.
        """
        for part in compares(self.condition):
            if part.field in self.facts and part.field not in known:
                names = sorted({*COLUMNS, *FACTS, *known})
                near = closest(part.field, names)
                _refuse(self.text, part.at, f"no document has a field '{part.field}'{near}", f"fields: {_few(names)}")

    def sql(self) -> tuple[str, dict[str, bytes]]:
        """The condition over `documents d` and `chunks c`, and its parameters by name; it is 0 or 1, never null."""
        parameters: dict[str, bytes] = {}
        return _sql(self.condition, parameters), parameters


def field_sql(field: str) -> tuple[str, dict[str, bytes]]:
    """The value of one field as text, null where there is none, and its parameters."""
    parameters: dict[str, bytes] = {}
    return _field_sql(field, _binding(parameters)), parameters


def parse(text: str) -> Where:
    """
    Raises:
        UsageError: it is no filter; the message shows the place.
    """
    return Where(text, _Parser(text).parse())


def compares(condition: Condition) -> Iterator[Compare]:
    """Every single condition, from left to right."""
    match condition:
        case Compare():
            yield condition
        case Not(part):
            yield from compares(part)
        case AllOf(parts) | OneOf(parts):
            for part in parts:
                yield from compares(part)


class _Parser:
    """Recursive descent; `_at` is where reading goes on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._conditions = 0

    def parse(self) -> Condition:
        if not self._text.strip():
            self._refuse(Span(0, 0), "the filter is empty")
        found = self._any(0)
        self._skip()
        if self._at < len(self._text):
            end = _end_of_word(self._text, self._at)
            self._refuse(Span(self._at, end), "expected `and`, `or`, or the end")
        return found

    def _any(self, depth: int) -> Condition:
        parts = [self._all(depth)]
        while self._keyword("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def _all(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._keyword("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self, depth: int) -> Condition:
        if depth > MOST_NESTED:
            self._refuse(Span(self._at, self._at + 1), f"more than {MOST_NESTED} levels of `not` and parentheses")
        if self._keyword("not"):
            return Not(self._one(depth + 1))
        opened = self._sign("(")
        if opened is None:
            return self._condition()
        found = self._any(depth + 1)
        if self._sign(")") is None:
            self._refuse(Span(opened, opened + 1), "this parenthesis is never closed")
        return found

    def _condition(self) -> Condition:
        field, at = self._field()
        negated = self._keyword("not")
        if self._keyword("in"):
            found: Condition = OneOf(tuple(self._compare(field, "=", value, at) for value in self._values(field)))
            return Not(found) if negated else found
        self._skip()
        operator = None if negated else _OPERATOR.match(self._text, self._at)
        if operator is None:
            end = _end_of_word(self._text, self._at)
            self._refuse(
                Span(self._at, end), f"expected an operator after '{field}'", "operators: = != ~ !~ < <= > >= in"
            )
        self._at = operator.end()
        sign = operator[0]
        value = self._value(f"after {sign}")
        if sign in ("!=", "!~"):
            return Not(self._compare(field, sign[1], value, at))
        return self._compare(field, "=" if sign == "==" else sign, value, at)

    def _compare(self, field: str, op: str, value: Value, at: Span) -> Compare:
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            self._refuse(at, f"more than {MOST_CONDITIONS} conditions", "say it by a glob (path~manual/*)")
        return Compare(field, op, value, at)

    def _field(self) -> tuple[str, Span]:
        self._skip()
        start = self._at
        quoted = _QUOTED.match(self._text, start)
        if quoted:
            name = _unquoted(quoted)
        elif (bare := _FIELD.match(self._text, start)) and bare[0].lower() not in _KEYWORDS:
            name = bare[0]
        else:
            self._refuse(Span(start, _end_of_word(self._text, start)), "expected a field", f"fields: {_few(_NAMES)}")
        self._at = quoted.end() if quoted else start + len(name)
        if not name or '"' in name or "\\" in name:
            self._refuse(Span(start, self._at), "no name of a field")
        return name, Span(start, self._at)

    def _values(self, field: str) -> list[Value]:
        opened = self._sign("(")
        if opened is None:
            self._refuse(
                Span(self._at, _end_of_word(self._text, self._at)), "expected ( after `in`", f"write {field} in (a, b)"
            )
        values = [self._value("in the list")]
        while self._sign(",") is not None:
            values.append(self._value("in the list"))
        if self._sign(")") is None:
            self._refuse(Span(self._at, _end_of_word(self._text, self._at)), "expected , or ) in the list")
        return values

    def _value(self, where: str) -> Value:
        self._skip()
        if quoted := _QUOTED.match(self._text, self._at):
            self._at = quoted.end()
            return Value(_unquoted(quoted), quoted=True)
        if self._text[self._at : self._at + 1] in ("'", '"'):
            self._refuse(Span(self._at, self._at + 1), "this quote is never closed")
        bare = _BARE.match(self._text, self._at)
        if bare is None:
            self._refuse(Span(self._at, self._at), f"expected a value {where}")
        self._at = bare.end()
        return Value(bare[0])

    def _keyword(self, word: str) -> bool:
        self._skip()
        found = _WORD.match(self._text, self._at)
        if found is None or found[0].lower() != word:
            return False
        self._at = found.end()
        return True

    def _sign(self, sign: str) -> int | None:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return None
        self._at += 1
        return self._at - 1

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _refuse(self, at: Span, message: str, mend: str = "such as: lang=ja and path~manual/*") -> NoReturn:
        _refuse(self._text, at, message, mend)


_NAMES = (*COLUMNS, *FACTS)


def _unquoted(found: re.Match[str]) -> str:
    return _ESCAPED.sub(r"\1", found[1] if found[1] is not None else found[2])


def _end_of_word(text: str, start: int) -> int:
    found = re.compile(r"\S+").match(text, start)
    return found.end() if found else start


def _few(names: Collection[str], most: int = 20) -> str:
    return ", ".join(list(names)[:most]) + (" ..." if len(names) > most else "")


def _refuse(text: str, at: Span, message: str, mend: str) -> NoReturn:
    line = re.sub(r"\s", " ", text)
    before, marked = _cells(line[: at.start]), max(1, _cells(line[at.start : at.end]))
    raise UsageError(f"{message}\n  {line}\n  {' ' * before}{'^' * marked}", where="--where", mend=mend)


def _cells(text: str) -> int:
    """Columns that a terminal gives to a text."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _sql(condition: Condition, parameters: dict[str, bytes]) -> str:
    match condition:
        case Compare():
            return f"ifnull({_compared(condition, parameters)}, 0)"
        case Not(part):
            return f"NOT ({_sql(part, parameters)})"
        case AllOf(parts):
            return f"({' AND '.join(_sql(part, parameters) for part in parts)})"
        case OneOf(parts):
            return f"({' OR '.join(_sql(part, parameters) for part in parts)})"


def _compared(part: Compare, parameters: dict[str, bytes]) -> str:
    bound = _binding(parameters)
    text = _field_sql(part.field, bound)
    if part.field == "path" and part.op in ("=", "~"):
        return _path_sql(text, part.op, part.value.text, bound)
    if part.op == "~":
        return f"{text} GLOB {bound(_glob(part.value.text))}"
    if part.value.is_number:
        # Numeric affinity turns '12' into 12 and leaves 'v12' a text: equal to its own cast is what is a number.
        number = f"CAST({text} AS NUMERIC)"
        return f"({text} = {number} AND {number} {part.op} CAST({bound(part.value.text)} AS NUMERIC))"
    return f"{text} {part.op} {bound(part.value.text)}"


def _binding(parameters: dict[str, bytes]) -> Callable[[str], str]:
    """Adds a value to the parameters, and gives what stands for it in the SQL."""

    def bound(text: str) -> str:
        name = f"where{len(parameters)}"
        parameters[name] = stored(text)
        return f"CAST(:{name} AS TEXT)"

    return bound


def _field_sql(field: str, bound: Callable[[str], str]) -> str:
    """The field's value as text; null where there is none."""
    if field in COLUMNS:
        return COLUMNS[field]
    places = [bound(f'$."{name}"') for name in FACTS.get(field, (field,))]
    texts = [
        f"CASE json_type(d.meta, {place}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        f"ELSE CAST(json_extract(d.meta, {place}) AS TEXT) END"
        for place in places
    ]
    return f"coalesce({', '.join(texts)})" if len(texts) > 1 else f"({texts[0]})"


def _path_sql(source: str, op: str, wanted: str, bound: Callable[[str], str]) -> str:
    wanted = wanted.removeprefix("./")
    anchored = wanted.startswith("/") or "://" in wanted
    if op == "=":
        whole = f"{source} = {bound(wanted)}"
        ending = bound(f"/{wanted}")
        return whole if anchored else f"({whole} OR substr({source}, -length({ending})) = {ending})"
    pattern = _glob(f"{wanted}*" if wanted.endswith("/") else wanted)
    whole = f"{source} GLOB {bound(pattern)}"
    return whole if anchored else f"({whole} OR {source} GLOB {bound(f'*/{pattern}')})"


def _glob(pattern: str) -> str:
    """The shell's `[!a]` is `[^a]` in SQLite."""
    return pattern.replace("[!", "[^")

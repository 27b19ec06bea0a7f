"""What a search for personal data looks for, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from llmkit.errors import ConfigError, closest

PiiType = Literal[
    "private_key",
    "url_credentials",
    "api_key",
    "token",
    "iban",
    "credit_card",
    "my_number",
    "us_ssn",
    "email",
    "ip",
    "phone",
]

PII_TYPES: tuple[PiiType, ...] = get_args(PiiType)
"""Every type, the most specific first: where two types claim the same characters, the earlier one has them."""

_RANK = {name: rank for rank, name in enumerate(PII_TYPES)}


class Match(NamedTuple):
    """One find: `text[start:end] == value`, in code points of the original text."""

    type: PiiType
    start: int
    end: int
    value: str


class Analyzer(Protocol):
    """Whatever finds personal data in a text: rules, or a library behind the same call. It must be picklable."""

    def __call__(self, text: str, *, code: bool) -> list[Match]:
        """The finds in `text`, in order and apart. `code`: whether it is source code, where numbers mean less."""
        ...


def chosen_types(names: Sequence[str]) -> tuple[PiiType, ...]:
    """The types that `names` name, in the order of `PII_TYPES`; all of them where it is empty.

    Raises:
        ConfigError: a name is no type; names the closest ones.
    """
    for name in names:
        if name not in _RANK:
            message = f"{name!r} is no type of personal data{closest(name, PII_TYPES)}"
            raise ConfigError(message, where="pii_types", mend=f"choose from {', '.join(sorted(PII_TYPES))}")
    return tuple(kind for kind in PII_TYPES if not names or kind in names)


def apart(matches: list[Match]) -> list[Match]:
    """The matches without overlaps, in order: the most specific type wins, then the longer match, then the earlier."""
    if len(matches) < 2:
        return matches
    matches.sort(key=lambda match: match.start)
    kept: list[Match] = []
    group: list[Match] = []
    reach = 0
    for match in matches:
        if group and match.start >= reach:
            kept += _winners(group)
            group = []
        group.append(match)
        reach = max(reach, match.end) if len(group) > 1 else match.end
    return kept + _winners(group)


def _winners(group: list[Match]) -> list[Match]:
    if len(group) == 1:
        return group
    kept: list[Match] = []
    for match in sorted(group, key=lambda each: (_RANK[each.type], each.start - each.end, each.start)):
        if all(match.end <= other.start or match.start >= other.end for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda each: each.start)

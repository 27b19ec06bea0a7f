"""robots.txt as RFC 9309 has it: the longest matching rule decides, `*` and `$` are special, groups are merged.

Written out because `urllib.robotparser` takes the first rule that matches, knows neither `*` nor `$`, and ignores all
but the first group that fits; each of these lets pages through that their owner has closed, or the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

MAX_BYTES = 512 << 10
"""How much of a robots.txt is read; RFC 9309, section 2.5, asks for at least 500 KiB."""

_TOKEN = re.compile(r"[A-Za-z_-]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_GROUP_KEYS = frozenset({"allow", "disallow", "crawl-delay"})


@dataclass(frozen=True)
class Rule:
    """One `Allow` or `Disallow` line; `pattern` has its percent-escapes in one spelling."""

    allow: bool
    pattern: str

    def matches(self, path: str) -> bool:
        anchored = self.pattern.endswith("$")
        first, *rest = (self.pattern[:-1] if anchored else self.pattern).split("*")
        if not path.startswith(first):
            return False
        if not rest:
            return not anchored or path == first
        # The leftmost place of each part is the best one, so that nothing has to be tried twice.
        at = len(first)
        for part in rest[:-1]:
            found = path.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        last = rest[-1]
        return len(path) - len(last) >= at and path.endswith(last) if anchored else path.find(last, at) >= 0


@dataclass(frozen=True)
class Robots:
    """The rules for one program on one host. `crawl_delay` is the host's wish, in seconds between requests."""

    rules: Sequence[Rule] = ()
    crawl_delay: float = 0.0

    def allows(self, path: str) -> bool:
        """Whether `path` (with its query) may be fetched. Of two rules of one length, `Allow` counts."""
        path = normalise(path or "/")
        if path == "/robots.txt":
            return True
        matching = [(len(rule.pattern), rule.allow) for rule in self.rules if rule.matches(path)]
        return max(matching)[1] if matching else True


ALLOW_ALL = Robots()
DISALLOW_ALL = Robots((Rule(False, "/"),))


def parse_robots(data: bytes, product: str) -> Robots:
    """The rules for `product`: of all groups that name it, else of all groups for `*`, else none.

    Never raises: a line that is not understood is passed over, as the RFC asks.
    """
    ours: list[tuple[str, str]] = []
    anyones: list[tuple[str, str]] = []
    named = False
    agents: list[str] = []
    in_rules = False
    for key, value in _lines(data):
        if key == "user-agent":
            agents = [*([] if in_rules else agents), _agent(value)]
            in_rules = False
            named = named or agents[-1] == product.lower()
        elif key in _GROUP_KEYS:
            in_rules = True
            if product.lower() in agents:
                ours.append((key, value))
            if "*" in agents:
                anyones.append((key, value))
    return _robots(ours if named else anyones)


def normalise(path: str) -> str:
    """One spelling for all that mean the same: non-ASCII escaped, unreserved characters bare, escapes upper-case."""
    escaped = quote(path, safe="%!#$&'()*+,/:;=?@[]~")
    return _ESCAPE.sub(_unescape, escaped)


def _lines(data: bytes) -> Iterator[tuple[str, str]]:
    for line in re.split(r"[\r\n]+", data[:MAX_BYTES].decode("utf-8-sig", "replace")):
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _agent(value: str) -> str:
    """The product token of a `User-agent` line, without a version that some write behind it."""
    token = _TOKEN.match(value)
    return token[0].lower() if token else value[:1]


def _robots(lines: Sequence[tuple[str, str]]) -> Robots:
    rules, delay = [], 0.0
    for key, value in lines:
        if key == "crawl-delay":
            delay = max(delay, float(value)) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.A) else delay
        elif value:  # an empty Disallow closes nothing
            rules.append(Rule(key == "allow", normalise(value)))
    return Robots(tuple(rules), delay)


def _unescape(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()

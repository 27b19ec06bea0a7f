"""A model's reply cut into statements, each with the passages that it cites."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans

MOST_IN_A_RANGE = 20
"""`[1-3]` is three numbers; a wider range is no citation."""

_NUMBERS = r"\d{1,3}(?:\s*[-–~〜～]\s*\d{1,3})?"
_CITATION = re.compile(
    rf"""[\[［【]\s*(?:\^|passages?\s+|資料\s*)?
        (?P<numbers>{_NUMBERS}(?:\s*[,，、;；]\s*{_NUMBERS})*+)
        \s*(?:†[^\]］】\n]{{0,80}})?[\]］】](?![(:]\S)""",
    re.VERBOSE | re.IGNORECASE,
)
_ONE = _CITATION.pattern.replace("?P<numbers>", "?:")
_GROUP = re.compile(rf"(?<![ \t])[ \t]*+{_ONE}(?:[ \t]*+[,、]?[ \t]*+{_ONE})*+", re.VERBOSE | re.IGNORECASE)
_PIECE = re.compile(r"(\d+)(?:\s*[-–~〜～]\s*(\d+))?")
_FENCE = re.compile(
    r"""^[ \t]*+(?P<fence>`{3,}|~{3,})[^\n]*+\n
        (?:(?:.*?\n)??[ \t]*+(?P=fence)[`~]*+(?=[ \t]*(?:$|[\[［【])) | .*\Z)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")
_MARKER = re.compile(r"(?:[-*+•・]|\d{1,3}[.)．）])(?:\s+|$)")
_HEADING = re.compile(r"#{1,6}\s")


class Claim(NamedTuple):
    """A statement of a reply.

    Attributes:
        span: where it stands in the reply, its citations included.
        text: it without its citations and without the mark of a list item.
        cited: the numbers it cites, each once, in order.
        states: whether it says something that can be checked; a heading, or words that lead in a list, does not.
    """

    span: Span
    text: str
    cited: tuple[int, ...]
    states: bool = True


class _Cited(NamedTuple):
    """A group of citations: its place in the reply, where that is in the text without citations, its numbers."""

    span: Span
    at: int
    numbers: tuple[int, ...]


def claims(reply: str) -> list[Claim]:
    """The statements of a reply, in order, apart; together they hold all of it that is not white space.

    Citations are `[1]`, `[1][2]`, `[1, 2]`, `[1-3]`, `【1】` and their like, before or behind the full stop, but not in
    code: `a[1]` between backquotes is an expression. A citation at the head of a line belongs to what follows it.
    """
    code = code_spans(reply)
    bare, groups, origin = _without_citations(reply, code)
    sentences = _sentences(bare, [Span(origin(a), origin(b)) for a, b in code])
    found = []
    for number, sentence in enumerate(sentences):
        own = [group for group in groups if _owner(group, sentences, reply) == number]
        start = min([_place(sentence.start, groups, before=True), *(group.span.start for group in own)])
        end = max([_place(sentence.end, groups, before=False), *(group.span.end for group in own)])
        cited = tuple(dict.fromkeys(each for group in own for each in group.numbers))
        marked = bare[slice(*sentence)]
        item = _MARKER.match(marked)
        text = marked[item.end() :] if item else marked
        found.append(Claim(Span(start, end), text, cited, bool(cited) or _states(text)))
    return found


def cited_numbers(reply: str) -> tuple[int, ...]:
    """All numbers that a reply cites, each once, in order."""
    _, groups, _ = _without_citations(reply, code_spans(reply))
    return tuple(dict.fromkeys(number for group in groups for number in group.numbers))


def renumbered(reply: str, claim: Claim, numbers: Callable[[int], int | None]) -> str:
    """The claim as it stands in the reply, with each citation under its new number; what has none disappears."""
    piece = reply[slice(*claim.span)]
    code = code_spans(reply)
    parts, done = [], 0
    for match in _GROUP.finditer(piece):
        start = match.start() + claim.span.start
        if any(a <= start < b for a, b in code):
            continue
        new = [numbers(number) for number in _cited_numbers(match.group())]
        kept = "".join(f"[{number}]" for number in dict.fromkeys(n for n in new if n is not None))
        space = match.group()[: len(match.group()) - len(match.group().lstrip())]
        parts += [piece[done : match.start()], space + kept if kept else ""]
        done = match.end()
    return "".join([*parts, piece[done:]]).strip()


def code_spans(reply: str) -> list[Span]:
    """Fenced blocks and what stands between backquotes, in order."""
    fences = [Span(*match.span()) for match in _FENCE.finditer(reply)]
    inline = [Span(*match.span()) for match in _INLINE.finditer(reply)]
    return sorted([*fences, *(span for span in inline if not any(a <= span.start < b for a, b in fences))])


def _without_citations(reply: str, code: list[Span]) -> tuple[str, list[_Cited], Callable[[int], int]]:
    """The reply without its citations, these, and the function from a place in the reply to one in that text."""
    parts: list[str] = []
    groups: list[_Cited] = []
    done = length = 0
    for match in _GROUP.finditer(reply):
        start = match.end() - len(match.group().lstrip())
        if any(a <= start < b for a, b in code):
            continue
        parts.append(reply[done : match.start()])
        length += match.start() - done
        done = match.end()
        groups.append(_Cited(Span(*match.span()), length, _cited_numbers(match.group())))

    def origin(place: int) -> int:
        return place - sum(min(place, b) - a for (a, b), _, _ in groups if a < place)

    return "".join([*parts, reply[done:]]), groups, origin


def _place(place: int, groups: list[_Cited], *, before: bool) -> int:
    """Where a place of the text without citations is in the reply; at a citation, in front of or behind it."""
    shift = sum(len(group.span) for group in groups if (group.at < place or (before and group.at == place)))
    return place + shift


def _sentences(bare: str, fences: list[Span]) -> list[Span]:
    """Sentences; a piece of code is never cut, and the number of a list item belongs to the item."""
    found: list[Span] = []
    for span in sentence_spans(bare):
        last = found[-1] if found else None
        if last and (_is_marker(bare[slice(*last)]) or any(a < last.end < b or a < span.start < b for a, b in fences)):
            found[-1] = Span(last.start, span.end)
        else:
            found.append(span)
    return found


def _is_marker(text: str) -> bool:
    match = _MARKER.match(text)
    return match is not None and match.end() == len(text)


def _owner(group: _Cited, sentences: list[Span], reply: str) -> int:
    """Which sentence a citation belongs to: the one it stands in or behind, or the one it opens a line of."""
    line = reply.rfind("\n", 0, group.span.start) + 1
    rest = reply[group.span.end : reply.find("\n", group.span.end) % (len(reply) + 1)]
    leads = not reply[line : group.span.start].strip() and any(letter.isalnum() for letter in rest)
    before = [n for n, span in enumerate(sentences) if span.start < group.at]
    after = [n for n, span in enumerate(sentences) if span.end > group.at]
    if leads and after:
        return after[0]
    return before[-1] if before else 0


def _cited_numbers(text: str) -> tuple[int, ...]:
    return tuple(
        number for match in _CITATION.finditer(text) for number in _expanded(unicodedata.normalize("NFKC", match[1]))
    )


def _expanded(numbers: str) -> Iterator[int]:
    for match in _PIECE.finditer(numbers):
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first < MOST_IN_A_RANGE:
            yield from range(first, last + 1)
        else:
            yield from (first, last)


def _states(text: str) -> bool:
    if _HEADING.match(text) or not any(letter.isalnum() for letter in text):
        return False
    return not (text.endswith((":", "：")) and not any(letter.isdigit() for letter in text))

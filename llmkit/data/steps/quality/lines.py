"""Which lines of a page are prose: the line rules of C4 (Raffel et al. 2020, section 2.2).

The paper is https://arxiv.org/abs/1910.10683. The rules are those of its reference code (`c4_utils.py` of
https://github.com/tensorflow/datasets), which has some that the paper does not name: overlong words, and lines about
cookies and terms of use. Two things are left out. The list of bad words: it removed texts by and about minorities out
of proportion (Dodge et al. 2021, https://arxiv.org/abs/2104.08758). And the removal of citation marks such as [12]:
they are looked through and stay, because a line is kept as it is or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.data.steps.quality.words import CHARACTERS_PER_WORD, Variant

TERMINAL = frozenset(".?!…。！？｡．؟۔।॥։።᙮៕။‼⁇⁈⁉‽")
"""Characters that end a sentence, in all scripts (Unicode's Sentence_Terminal, the frequent ones)."""

CLOSING = frozenset("\"'”’»」』）")
"""What may stand behind the end of a sentence, or be the end of a quoted one."""

ENDINGS = TERMINAL | CLOSING
_C4_ENDINGS = ENDINGS - {"…"}

_CITATION = re.compile(r"\[(?:\d{0,4}|edit|citation needed)\]")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_JAVASCRIPT = "javascript"
_LOREM_IPSUM = "lorem ipsum"

# An end inside a line: the stop, what closes behind it, and a space with a capital, a figure or a caseless letter next;
# in Japanese and Chinese the stop alone, but for a quotation that "と" takes into its sentence. Titles and initials are
# no ends. A run of stops is read from its first one
# only, so that a line of a million dots takes no longer than another.
_INNER_END = re.compile(
    r"[.!?؟۔।॥።։](?<![.!?؟۔।॥።։]{2})(?<!\bMr\.)(?<!\bDr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\b[A-Z]\.)"
    r"[.!?؟۔।॥።։]*+[\"'”’»)\]]*+\s++(?=[\"'“‘«(\[]*+[^\W_a-zà-öø-ÿ])"
    r"|[。！？｡](?<![。！？｡]{2})[。！？｡]*+[」』）”’\"']*+(?=[^\s」』）と])"
)


@dataclass(frozen=True)
class LineRules:
    """What a line must have. `terminal`: end as a sentence does; sizes are in words and in characters a word."""

    terminal: bool = True
    min_words: float = 3
    max_word_length: float = 1000


@dataclass(frozen=True)
class Kept:
    """The outcome of the line rules on a page.

    Attributes:
        lines: indices of the lines that stay.
        removed: how many lines that are not blank went, by reason.
        sentences: number of sentences in the lines that stay.
        lorem_ipsum: lines with that placeholder text, among those that would otherwise stay.
        curly_brackets: lines with a curly bracket, likewise.
    """

    lines: list[int]
    removed: dict[str, int]
    sentences: int
    lorem_ipsum: int
    curly_brackets: int


def judge_lines(lines: Sequence[str], rules: LineRules, variant: Variant) -> Kept:
    """Hold every line against the rules."""
    removed: dict[str, int] = {}
    kept: list[int] = []
    for index, line in enumerate(lines):
        reason = _not_prose(line, rules, variant)
        if reason is None:
            kept.append(index)
        elif reason:
            removed[reason] = removed.get(reason, 0) + 1
    # One look at all lines together: most pages have none of the phrases, and then no line is looked at alone.
    page = "\n".join([lines[index] for index in kept])
    lowered = page.lower()
    lorem = brackets = 0
    if "{" in page or _LOREM_IPSUM in lowered or _JAVASCRIPT in lowered or any(phrase in lowered for phrase in _POLICY):
        kept, lorem, brackets = _without_phrases(lines, kept, removed)
        page = "\n".join([lines[index] for index in kept])
    return Kept(kept, removed, len(kept) + len(_INNER_END.findall(page)), lorem, brackets)


def _not_prose(line: str, rules: LineRules, variant: Variant) -> str | None:
    """Why a line goes, "" where it is blank, None where it stays."""
    stripped = line.strip()
    if not stripped:
        return ""
    if len(stripped) > rules.max_word_length and _longest_word(stripped, variant) > rules.max_word_length:
        return "long_word"
    if rules.terminal:
        body = _before_citations(stripped) if stripped[-1] == "]" else stripped
        if not body or body[-1] not in _C4_ENDINGS or body.endswith("..."):
            return "no_terminal_punctuation"
    if variant in CHARACTERS_PER_WORD:
        few = len(stripped) < rules.min_words * CHARACTERS_PER_WORD[variant]
    else:
        few = len(stripped.split(None, int(rules.min_words))) < rules.min_words
    return "few_words" if few else None


def _before_citations(line: str) -> str:
    end = len(line)
    while end and line[end - 1] == "]" and (start := line.rfind("[", 0, end)) >= 0:
        if not _CITATION.fullmatch(line, start, end):
            break
        end = start
        while end and line[end - 1].isspace():
            end -= 1
    return line[:end]


def _longest_word(line: str, variant: Variant) -> int:
    """In scripts without spaces a line of a thousand characters is a paragraph, not a word."""
    return 0 if variant in CHARACTERS_PER_WORD else max(map(len, line.split()))


def _without_phrases(lines: Sequence[str], kept: Sequence[int], removed: dict[str, int]) -> tuple[list[int], int, int]:
    """The lines without those about scripts and cookies, in the order of the reference code; adds to `removed`."""
    still: list[int] = []
    lorem = brackets = 0
    for index in kept:
        lowered = lines[index].lower()
        lorem += _LOREM_IPSUM in lowered
        if _JAVASCRIPT in lowered:
            removed["javascript"] = removed.get("javascript", 0) + 1
            continue
        brackets += "{" in lowered
        if any(phrase in lowered for phrase in _POLICY):
            removed["policy"] = removed.get("policy", 0) + 1
            continue
        still.append(index)
    return still, lorem, brackets

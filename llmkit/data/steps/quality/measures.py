"""Every number that a rule of quality looks at, for one text.

A measure is computed only for the presets that ask for it; words and lines are cut once for all of them. Ratios are 0
to 1; in an empty text every measure is 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from llmkit.data.steps.quality.code import code_measures
from llmkit.data.steps.quality.lines import ENDINGS, Kept, LineRules, judge_lines
from llmkit.data.steps.quality.presets import PRESETS, SHORT_LINE, Preset
from llmkit.data.steps.quality.repetition import DUPLICATE_SIZES, TOP_SIZES, duplicates, ngram_characters
from llmkit.data.steps.quality.stop_words import ENGLISH, STOP_WORDS, WITHIN_WORDS, stop_words_among, stop_words_within
from llmkit.data.steps.quality.words import Variant, Words, variant_of, words_of

_PARAGRAPH_END = re.compile(r"\n{2,}")
_BULLETS = frozenset("•‣◦⁃▪●○■□◆◇▶►*-・※")
_ELLIPSES = ("...", "…", "。。。", "・・・")
_ENOUGH_ENGLISH = 2


@dataclass(frozen=True)
class Measures:
    """What was measured in a text.

    Attributes:
        variant: which thresholds apply to it.
        values: number by name of measure; measures that say nothing about this text are absent.
        kept: the line rules' outcome, where C4 was asked for.
    """

    variant: Variant
    values: Mapping[str, float]
    kept: Kept | None = None


@dataclass(frozen=True)
class Subject:
    """A text to measure, and the parts of it that several measures need."""

    text: str
    variant: Variant
    language: str | None
    line_rules: LineRules = field(default_factory=LineRules)

    @cached_property
    def words(self) -> Words:
        return words_of(self.text, self.variant)

    @cached_property
    def all_lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank."""
        return [line for line in self.all_lines if line and not line.isspace()]

    @cached_property
    def repeated_lines(self) -> tuple[int, int]:
        return duplicates(self.lines)

    @cached_property
    def kept(self) -> Kept:
        return judge_lines(self.all_lines, self.line_rules, self.variant)


def measure(
    text: str,
    language: str | None = None,
    *,
    code: bool = False,
    presets: Iterable[Preset] = PRESETS,
    line_rules: Callable[[Variant], LineRules] = lambda variant: LineRules(terminal=variant is not Variant.UNSPACED),
) -> Measures:
    """Measure a text for the given presets, all by default.

    `language` is an ISO 639-1 code where it is known. Of source code only the measures of the preset `code` are taken,
    of prose all but these.
    """
    if code:
        return Measures(Variant.CODE, code_measures(text) if "code" in presets else {})
    variant = variant_of(text)
    subject = Subject(text, variant, language, line_rules(variant))
    values: dict[str, float] = {}
    for preset in presets:
        values.update(_MEASURES[preset](subject))
    return Measures(variant, values, subject.kept if "c4" in presets else None)


def _gopher_quality(subject: Subject) -> dict[str, float]:
    """Of the lines that are not blank: blank ones, which datatrove counts, hide a list whose items stand apart."""
    words, text, lines = subject.words, subject.text, subject.lines
    symbols = max(text.count("#"), text.count("...") + text.count("…"))
    values = {
        "words": float(words.count),
        "symbol_ratio": _ratio(symbols, words.all_tokens),
        "bullet_lines": _ratio(sum(line.lstrip()[0] in _BULLETS for line in lines), len(lines)),
        "ellipsis_lines": _ratio(sum(line.rstrip().endswith(_ELLIPSES) for line in lines), len(lines)),
        "alpha_words": words.lettered,
    }
    if words.mean_length is not None:
        values["mean_word_length"] = words.mean_length
    stop_words = _stop_words(subject)
    if stop_words is not None:
        values["stop_words"] = float(stop_words)
    return values


def _stop_words(subject: Subject) -> int | None:
    """None for a language whose function words are not known: the rule does not apply then."""
    if subject.variant in WITHIN_WORDS:
        return stop_words_within(subject.text, subject.variant)
    vocabulary = set(subject.words.tokens)
    language = subject.language
    if not language:
        # Most texts are English or are known not to be; only the others are worth the time to find their language.
        english = stop_words_among(vocabulary, ENGLISH)
        if english >= _ENOUGH_ENGLISH:
            return english
        language = _language_of(subject.text)
    return stop_words_among(vocabulary, language) if language in STOP_WORDS else None


def _language_of(text: str) -> str:
    from llmkit.data.steps.language import UNDETERMINED, identify

    found = identify(text).language
    return ENGLISH if found == UNDETERMINED else found


def _gopher_repetition(subject: Subject) -> dict[str, float]:
    text = subject.text
    paragraphs = _PARAGRAPH_END.split(text.strip()) if text else []
    lines, line_characters = subject.repeated_lines
    parts, part_characters = duplicates(paragraphs)
    values = {
        "dup_line_frac": _ratio(lines, len(subject.lines)),
        "dup_line_char_frac": _ratio(line_characters, len(text)),
        "dup_para_frac": _ratio(parts, len(paragraphs)),
        "dup_para_char_frac": _ratio(part_characters, len(text)),
    }
    characters = ngram_characters(subject.words)
    for n in TOP_SIZES:
        # Occurrences that overlap ("la la la") can have more characters than the text.
        values[f"top_{n}_gram_frac"] = min(_ratio(characters[n], len(text)), 1.0)
    for n in DUPLICATE_SIZES:
        values[f"dup_{n}_gram_frac"] = _ratio(characters[n], len(text))
    return values


def _c4(subject: Subject) -> dict[str, float]:
    kept = subject.kept
    return {
        "sentences": float(kept.sentences),
        "lorem_ipsum": float(kept.lorem_ipsum),
        "curly_brackets": float(kept.curly_brackets),
    }


def _fineweb(subject: Subject) -> dict[str, float]:
    """Trailing spaces are looked through: a line that ends in ". " ends as a sentence does."""
    text, lines = subject.text, subject.lines
    short = SHORT_LINE[subject.variant]
    line_ends = text.count("\n")
    return {
        "line_punct_ratio": _ratio(sum(line.rstrip()[-1] in ENDINGS for line in lines), len(lines)),
        "short_line_ratio": _ratio(sum(len(line) <= short for line in lines), len(lines)),
        "char_dup_ratio": _ratio(subject.repeated_lines[1], len(text) - line_ends),
        "new_line_ratio": _ratio(line_ends, subject.words.all_tokens),
    }


def _nothing(subject: Subject) -> dict[str, float]:
    return {}


_MEASURES: Mapping[Preset, Callable[[Subject], dict[str, float]]] = {
    "gopher_quality": _gopher_quality,
    "gopher_repetition": _gopher_repetition,
    "c4": _c4,
    "fineweb": _fineweb,
    "code": _nothing,
}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

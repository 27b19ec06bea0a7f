"""Holding documents against presets of quality rules: the step of preprocessing, and the verdicts a dry run shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import isfinite
from typing import Any, NamedTuple, cast

from llmkit.config.sections import QualityOptions
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.quality.lines import LineRules
from llmkit.data.steps.quality.measures import Measures, measure
from llmkit.data.steps.quality.presets import LINE_RULES, RULES, LineRule, Preset, Rule
from llmkit.data.steps.quality.words import Variant
from llmkit.errors import ConfigError, closest
from llmkit.text.document import Document


class Verdict(NamedTuple):
    """One rule held against one text. `rule` is named with its preset: `gopher_quality.min_words`."""

    rule: str
    value: float
    threshold: float
    passed: bool


@dataclass(frozen=True)
class QualityStep:
    """Drop documents that break a rule of the chosen presets, and remove the lines that C4 removes.

    Every rule looks at the text as it came, so that the order of the presets does not matter; the reason of a drop is
    the first broken rule in the order of `options.rules`, as `gopher_quality.min_words`. The language that decides on
    function words is that of `document.meta["language"]` where there is one. Changes: `c4.no_terminal_punctuation` and
    the like, the lines that went for each reason.

    Raises:
        ConfigError: a threshold of the options cannot be.
    """

    options: QualityOptions = field(default_factory=QualityOptions)

    def __post_init__(self) -> None:
        overrides(self.options)

    def __call__(self, document: Document) -> Passed | Drop:
        if not self.options.rules:
            return Passed(document)
        code = is_code(document.media)
        language = document.meta.get("language")
        measures = self.measure(document.text, language if isinstance(language, str) else None, code=code)
        for rule, name, threshold in _thresholds(self.options, measures.variant):
            value = measures.values.get(rule.measure)
            if value is not None and not rule.passes(value, threshold):
                return Drop(document.source, "quality", name, rule.explain(value, threshold), document.record)
        if measures.kept is None or not measures.kept.removed:
            return Passed(document)
        lines = document.text.split("\n")
        # A page's offset counts the characters of the text before.
        shortened = replace(document, text=_joined(lines, measures.kept.lines), pages=())
        return Passed(shortened, {f"c4.{reason}": count for reason, count in measures.kept.removed.items()})

    def measure(self, text: str, language: str | None = None, *, code: bool = False) -> Measures:
        """What the options' presets measure in a text, with the options' own thresholds for lines."""
        line_rules = partial(_line_rules, self.options)
        return measure(text, language, code=code, presets=self.options.rules, line_rules=line_rules)


def verdicts(measures: Measures, options: QualityOptions) -> list[Verdict]:
    """All rules of the options' presets that apply to a measured text, in order; not only the first that it breaks."""
    return [
        Verdict(name, value, threshold, rule.passes(value, threshold))
        for rule, name, threshold in _thresholds(options, measures.variant)
        if (value := measures.values.get(rule.measure)) is not None
    ]


def overrides(options: QualityOptions) -> dict[str, float]:
    """The thresholds that `options.threshold` changes, by `preset.rule`.

    Raises:
        ConfigError: not of the form preset.rule=number, or no such rule, or one of a preset that is not chosen.
    """
    return dict(_override(text, options) for text in options.threshold)


def _override(text: str, options: QualityOptions) -> tuple[str, float]:
    name, equals, value = (part.strip() for part in text.partition("="))
    known = _known_rules()
    if not equals:
        raise ConfigError(
            f"'{text}' names no value", where="threshold", mend="Write preset.rule=number: gopher_quality.min_words=20."
        )
    if name not in known:
        rule = name.rpartition(".")[2]
        near = next((full for full in known if full.endswith(f".{rule}")), None)
        hint = f"; did you mean '{near}'?" if near else closest(name, known)
        raise ConfigError(
            f"'{name}' is no rule of quality{hint}",
            where="threshold",
            mend="Write preset.rule=number; the presets are " + ", ".join(RULES) + ".",
        )
    preset = name.split(".")[0]
    if preset not in options.rules:
        raise ConfigError(
            f"'{name}' is a rule of {preset}, which is not among the rules",
            where="threshold",
            mend=f"Add --rules {preset}.",
        )
    return name, _number(value, name)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise ConfigError(
            f"'{text}' is no threshold for {name}", where="threshold", mend="Give a number that is not negative."
        )
    return value


def _known_rules() -> list[str]:
    tables = cast(tuple[Mapping[Preset, tuple[Rule | LineRule, ...]], ...], (RULES, LINE_RULES))
    return [f"{preset}.{rule.name}" for table in tables for preset, rules in table.items() for rule in rules]


@lru_cache(maxsize=64)
def _thresholds(options: QualityOptions, variant: Variant) -> tuple[tuple[Rule, str, float], ...]:
    """The rules of the options' presets for one kind of text, each with its full name and its threshold."""
    changed = overrides(options)
    return tuple(
        (rule, name := f"{preset}.{rule.name}", changed.get(name, rule.thresholds[variant]))
        for preset in options.rules
        for rule in RULES[preset]
        if variant in rule.thresholds
    )


@lru_cache(maxsize=64)
def _line_rules(options: QualityOptions, variant: Variant) -> LineRules:
    changed = overrides(options)
    values: dict[str, Any] = {
        rule.field: changed.get(f"c4.{rule.name}", rule.thresholds[variant]) for rule in LINE_RULES["c4"]
    }
    return LineRules(**{**values, "terminal": bool(values["terminal"])})


def _joined(lines: list[str], kept: list[int]) -> str:
    """The kept lines, with a blank one between two that had one between them, so that paragraphs stay apart."""
    parts: list[str] = []
    before = -1
    for index in kept:
        if parts and any(not line.strip() for line in lines[before + 1 : index]):
            parts.append("")
        parts.append(lines[index])
        before = index
    return "\n".join(parts)

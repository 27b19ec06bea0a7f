"""What preprocessing does to one document by itself: normalise, language, quality, privacy; then its sketch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from llmkit.config.sections import CleanOptions, DecontaminateOptions, LanguageOptions, PrivacyOptions, QualityOptions
from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.skew import count_terms
from llmkit.data.steps.clean import clean
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.decontamination.step import DecontaminateStep
from llmkit.data.steps.language import LanguageStep
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.places import carry_places
from llmkit.data.steps.privacy.step import PrivacyStep
from llmkit.data.steps.quality.rules import QualityStep
from llmkit.text.document import Document

Step = Callable[[Document], Passed | Drop]


@dataclass(frozen=True)
class PrepareOptions:
    """Everything that decides what becomes of a document before it is compared with others.

    `grams` are those of the evaluation sets that are to be kept out, if any are.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    clean: CleanOptions = field(default_factory=CleanOptions)
    language: LanguageOptions = field(default_factory=LanguageOptions)
    quality: QualityOptions = field(default_factory=QualityOptions)
    privacy: PrivacyOptions = field(default_factory=PrivacyOptions)
    decontaminate: DecontaminateOptions = field(default_factory=DecontaminateOptions)
    grams: EvalGrams | None = None


@dataclass(frozen=True)
class Stage:
    """A document after one of the steps, with what the step did; or the step's reason to drop it."""

    step: str
    result: Passed | Drop


def steps_of(options: PrepareOptions) -> tuple[tuple[str, Step], ...]:
    """The steps that are on, by name, in order."""
    steps: list[tuple[str, Step]] = []
    if options.clean.normalise:
        steps.append(("normalise", lambda document: clean(document, options.clean)))
    if options.language.identify or options.language.languages or options.language.drop_languages:
        steps.append(("language", LanguageStep(options.language)))
    if options.quality.rules:
        steps.append(("quality", QualityStep(options.quality)))
    if options.privacy.pii != "off":
        steps.append(("privacy", PrivacyStep(options.privacy)))
    return tuple(steps)


def step_names(options: PrepareOptions) -> list[str]:
    return [name for name, _ in steps_of(options)]


def prepare(document: Document, steps: Sequence[tuple[str, Step]]) -> list[Stage]:
    """The document's way through the steps: one entry per step, the last a `Drop` if it was dropped.

    Steps after that of the language find it in the document's meta; the last document has the meta it came with.
    """
    way: list[Stage] = []
    meta = document.meta
    for name, step in steps:
        result = step(document)
        if isinstance(result, Drop):
            way.append(Stage(name, result))
            return way
        document = result.document if name == "normalise" else carry_places(document, result.document)
        way.append(Stage(name, Passed(document, result.changes, result.facts)))
        if name == "language":
            document = replace(document, meta={**meta, "language": result.facts["language"]})
    if way and document.meta is not meta:
        last = way.pop()
        kept = cast(Passed, last.result)
        way.append(Stage(last.step, replace(kept, document=replace(kept.document, meta=meta))))
    return way


def facts_of(way: Sequence[Stage]) -> dict[str, object]:
    """All that the steps found out."""
    facts: dict[str, object] = {}
    for stage in way:
        if isinstance(stage.result, Passed):
            facts.update(stage.result.facts)
    return facts


def last_facts(document: Document, options: PrepareOptions) -> Mapping[str, object]:
    """What is found out about a document that got through: the evaluation items in it, the terms it uses."""
    facts: dict[str, object] = {}
    if options.grams is not None:
        facts.update(DecontaminateStep(options.grams)(document).facts)
    if terms := count_terms(document.text):
        facts["terms"] = terms
    return facts

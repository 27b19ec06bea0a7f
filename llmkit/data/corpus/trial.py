"""Trying the steps on a sample: what every threshold would drop, whether or not it is on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

import numpy as np

from llmkit.config.sections import PrivacyOptions, QualityOptions
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.shards import plan_shards, read_unit
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.sources.collect import Collected
from llmkit.data.steps.clean import clean
from llmkit.data.steps.dedup import compared, similarity
from llmkit.data.steps.language import identify
from llmkit.data.steps.passed import Passed
from llmkit.data.steps.privacy.step import PrivacyStep
from llmkit.data.steps.quality.measures import measure
from llmkit.data.steps.quality.presets import PRESETS
from llmkit.data.steps.quality.rules import verdicts
from llmkit.data.steps.quality.words import Variant
from llmkit.text.document import Document

SIMILARITIES = (0.7, 0.8, 0.9, 1.0)
_COMPARED = 2000
"""Documents of the sample that are compared each with each."""
_HOLDERS = 64
"""Documents known by one shingle: a licence header on each of thousands does not make them all candidates."""


@dataclass
class Trial:
    """What was found in a sample; JSON-serialisable by `to_json`."""

    documents: int = 0
    bytes: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    too_short: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    with_pii: int = 0
    rules: dict[tuple[str, Variant], _Rule] = field(default_factory=dict)
    """By the rule's name and the kind of text, each of which has a threshold of its own."""
    near: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "unreadable": dict(self.unreadable),
            "too_short": self.too_short,
            "languages": dict(self.languages.most_common()),
            "pii": {"documents": self.with_pii, "found": dict(self.pii.most_common())},
            "rules": [rule.to_json(*key) for key, rule in sorted(self.rules.items(), key=lambda item: item[0][1])],
            "near_duplicates": self.near,
        }


@dataclass
class _Rule:
    threshold: float
    applies: int = 0
    drops: int = 0
    bytes: int = 0
    values: list[float] = field(default_factory=list)

    def to_json(self, name: str, variant: Variant) -> dict[str, Any]:
        low, middle, high = np.percentile(self.values, [5, 50, 95]).tolist() if self.values else (None,) * 3
        return {
            "rule": name,
            "text": variant.value,
            "threshold": self.threshold,
            "documents": self.applies,
            "drops": self.drops,
            "bytes": self.bytes,
            "p5": low,
            "p50": middle,
            "p95": high,
        }


def try_out(collected: Collected, options: PrepareOptions, count: int, seed: int = 0) -> Trial:
    """Take `count` documents through every step that looks at one document, and compare them with each other.

    The documents are the first ones of files (and parts of files) that the seed chooses, about as many of each.
    """
    trial = Trial()
    texts: list[str] = []
    for item in islice(_sampled(collected, options, count, seed), count):
        if isinstance(item, Drop):
            trial.unreadable[item.reason] += 1
            continue
        trial.documents += 1
        trial.bytes += len(item.text.encode("utf-8"))
        cleaned = clean(item, options.clean) if options.clean.normalise else Passed(item)
        if isinstance(cleaned, Drop):
            trial.too_short += 1
            continue
        _look(cleaned.document, options, trial)
        if len(texts) < _COMPARED:
            texts.append(cleaned.document.text)
    trial.near = _near(texts)
    return trial


def _sampled(collected: Collected, options: PrepareOptions, count: int, seed: int) -> Iterator[Document | Drop]:
    units = [unit for shard in plan_shards(collected.files) for unit in shard.units]
    Random(seed).shuffle(units)
    each = -(-count // max(1, len(units)))
    for unit in units:
        yield from islice(read_unit(unit, options.read), each)


def _look(document: Document, options: PrepareOptions, trial: Trial) -> None:
    code = is_code(document.media)
    language = "" if code else identify(document.text).language
    trial.languages[language] += 1
    found = PrivacyStep(PrivacyOptions(pii="count", pii_types=options.privacy.pii_types))(document)
    if isinstance(found, Passed) and (kinds := found.facts.get("pii")):
        trial.pii.update(_counts(kinds))
        trial.with_pii += 1
    size = len(document.text.encode("utf-8"))
    everything = QualityOptions(rules=PRESETS, threshold=options.quality.threshold)
    measures = measure(document.text, language or None, code=code)
    for verdict in verdicts(measures, everything):
        rule = trial.rules.setdefault((verdict.rule, measures.variant), _Rule(verdict.threshold))
        rule.applies += 1
        rule.values.append(verdict.value)
        if not verdict.passed:
            rule.drops += 1
            rule.bytes += size


def _counts(kinds: object) -> Mapping[str, int]:
    return kinds if isinstance(kinds, Mapping) else {}


def _near(texts: Sequence[str]) -> dict[str, int]:
    """How many texts have an earlier one at least that similar, of those that share most with them."""
    sets = [compared(text) for text in texts]
    best = np.zeros(len(sets))
    holders: dict[int, list[int]] = {}
    for index, hashes in enumerate(sets):
        shared: Counter[int] = Counter()
        for value in hashes.tolist():
            known = holders.setdefault(value, [])
            shared.update(known)
            if len(known) < _HOLDERS:
                known.append(index)
        for other, _ in shared.most_common(8):
            best[index] = max(best[index], similarity(sets[other], hashes))
    return {str(threshold): int((best >= threshold).sum()) for threshold in SIMILARITIES}

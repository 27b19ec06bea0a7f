"""What the report of a build counts: mergeable, so that each shard counts its own and the sum is the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.data.drops import Drop
from llmkit.data.sources.skipping import Skip

SAMPLES = 5
"""Examples kept of each reason for which something was dropped."""

EXCERPT_CHARS = 300
Counts = Counter[str]


class Tally:
    """Counters by step, reason and rule, and the first samples of each reason.

    Adding up is associative and keeps order: shards merged in order give what one pass over everything would.
    """

    def __init__(self) -> None:
        self.steps: dict[str, Counts] = {}
        self.drops: dict[str, Counts] = {}
        self.samples: dict[str, list[Mapping[str, str]]] = {}
        self.changes: dict[str, dict[str, Counts]] = {}
        self.pii: dict[str, Counts] = {}
        self.scans: Counts = Counter()

    def passed(self, step: str, characters: int, size: int) -> None:
        """A document got through a step; `size` is its text in bytes of UTF-8."""
        counts = self.steps.setdefault(step, Counter())
        counts["documents"] += 1
        counts["characters"] += characters
        counts["bytes"] += size

    def changed(self, step: str, changes: Mapping[str, int]) -> None:
        for rule, times in changes.items():
            counts = self.changes.setdefault(step, {}).setdefault(rule, Counter())
            counts["documents"] += 1
            counts["changes"] += times

    def found_pii(self, found: Mapping[str, int]) -> None:
        for kind, times in found.items():
            counts = self.pii.setdefault(kind, Counter())
            counts["documents"] += 1
            counts["found"] += times

    def dropped(self, drop: Drop, excerpt: str = "") -> None:
        self.drops.setdefault(drop.step, Counter())[drop.reason] += 1
        samples = self.samples.setdefault(f"{drop.step}/{drop.reason}", [])
        if len(samples) < SAMPLES:
            samples.append(
                {
                    "id": drop.id,
                    "source": drop.source,
                    "record": drop.record,
                    "detail": drop.detail,
                    "excerpt": excerpt,
                }
            )

    def skipped(self, examples: Mapping[Skip, Sequence[str]]) -> None:
        """Name some of the files that were never opened, under the reasons for that."""
        for reason, paths in examples.items():
            self.samples[f"skipped/{reason}"] = [
                {"id": "", "source": path, "record": "", "detail": "", "excerpt": ""} for path in paths[:SAMPLES]
            ]

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add what another tally's `to_json` gave."""
        for mine, theirs in ((self.steps, other["steps"]), (self.drops, other["drops"]), (self.pii, other["pii"])):
            for key, counts in theirs.items():
                mine.setdefault(key, Counter()).update(counts)
        for step, rules in other["changes"].items():
            for rule, counts in rules.items():
                self.changes.setdefault(step, {}).setdefault(rule, Counter()).update(counts)
        for key, samples in other["samples"].items():
            mine_samples = self.samples.setdefault(key, [])
            mine_samples += samples[: SAMPLES - len(mine_samples)]
        self.scans.update(other["scans"])

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": {step: dict(counts) for step, counts in self.steps.items()},
            "drops": {step: dict(sorted(counts.items())) for step, counts in self.drops.items()},
            "samples": {key: list(self.samples[key]) for key in sorted(self.samples)},
            "changes": {
                step: {rule: dict(counts) for rule, counts in sorted(rules.items())}
                for step, rules in self.changes.items()
            },
            "pii": {kind: dict(counts) for kind, counts in sorted(self.pii.items())},
            "scans": dict(self.scans),
        }

    def reasons(self, most: int = 6) -> str:
        """`12 near duplicate, 3 binary`."""
        counts = sum(self.drops.values(), Counts())
        return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.most_common(most))


def excerpt(text: str) -> str:
    """The beginning of a text on one line."""
    return " ".join(text[: 2 * EXCERPT_CHARS].split())[:EXCERPT_CHARS]


def waterfall(steps: Mapping[str, Mapping[str, int]], order: Sequence[str]) -> list[dict[str, object]]:
    """The steps in order, each with what is left after it."""
    return [
        {"step": step, **{name: steps.get(step, {}).get(name, 0) for name in ("documents", "characters", "bytes")}}
        for step in order
    ]

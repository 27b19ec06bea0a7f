"""What a finished set of documents is made of: languages, lengths, sources, formats, licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from llmkit.data.skew import groups_in, summary

UNKNOWN = "unknown"
_MOST_SOURCES = 50

Counts = Counter[str]


class Contents:
    """Documents, characters and bytes by several properties; `add` is called for every document that is kept."""

    def __init__(self) -> None:
        self.languages: dict[str, Counts] = {}
        self.sources: dict[str, Counts] = {}
        self.formats: dict[str, Counts] = {}
        self.licences: dict[str, Counts] = {}
        self.lengths: dict[str, Counter[int]] = {}
        self._terms: Counts = Counter()
        self._mentions: Counts = Counter()
        self._documents = 0

    def add(self, size: Mapping[str, int], properties: Mapping[str, str]) -> None:
        """Count a document. `properties` has its language, origin, media type and licence."""
        for mine, name in (
            (self.languages, "language"),
            (self.sources, "origin"),
            (self.formats, "media"),
            (self.licences, "licence"),
        ):
            mine.setdefault(properties[name], Counter()).update(size)
        bucket = max(0, size["characters"].bit_length() - 1)
        for group in ("all", properties["language"]):
            self.lengths.setdefault(group, Counter())[bucket] += 1

    def add_terms(self, counts: Mapping[str, int]) -> None:
        """Count a document's words for groups of people."""
        self._documents += 1
        self._terms.update(counts)
        self._mentions.update(groups_in(counts))

    def to_json(self) -> dict[str, object]:
        """`lengths` counts documents of 2^k to 2^(k+1) - 1 characters under k."""
        return {
            "languages": _by_size(self.languages),
            "lengths": {
                group: {str(bucket): counts[bucket] for bucket in sorted(counts)}
                for group, counts in sorted(self.lengths.items())
            },
            "sources": _by_size(self.sources, _MOST_SOURCES),
            "formats": _by_size(self.formats),
            "licences": _by_size(self.licences),
            "skew": summary(self._terms, self._mentions, self._documents),
        }


def _by_size(counts: Mapping[str, Counts], most: int | None = None) -> dict[str, dict[str, int]]:
    """The largest first; beyond `most`, the rest together."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    shown = {name: dict(count) for name, count in ranked[:most]}
    if most is not None and len(ranked) > most:
        rest: Counts = Counter()
        for _, count in ranked[most:]:
            rest.update(count)
        shown[f"{len(ranked) - most} others"] = dict(rest)
    return shown

"""How one set of texts differs from another: its words, lengths, languages and scripts, each set held as a profile."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any, TypeVar

from llmkit.errors import DataError
from llmkit.text.scripts import UNSPACED, script_counts, script_of

_T = TypeVar("_T")

CAPACITY = 100_000
"""Distinct tokens a profile keeps; while counting it holds up to twice as many, some 25 MB."""

_PER_OCTAVE = 8
"""Buckets of length for each doubling: a length read from them is within 4.5% of the true one (2^(1/16))."""

_PRIOR_SHARE = 0.1
"""Weight of the prior of the log-odds, as a share of the smaller set's tokens."""

_SIGNIFICANT = 1.96
"""The z score beyond which a difference of one token is not chance at the 5% level; with so many tokens tested at once
some still will be, so the strongest are shown first."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Profile:
    """What is remembered of a set of texts, in bounded memory; profiles of parts can be merged.

    Tokens are case-folded words; in scripts without spaces, pairs of neighbouring characters of one script. When more
    than twice `capacity` distinct tokens are held, all but the `capacity` most frequent are forgotten (ties: the first
    in code point order stays). `short` grows by the largest count forgotten: no count is too small by more than it.

    The result depends on the order in which texts are added and profiles merged only if something was forgotten.

    Attributes:
        capacity: distinct tokens that are kept.
        documents: texts that were added.
        characters: their code points.
        total: their tokens, forgotten ones included.
        tokens: count of each token that is kept.
        short: by how much a count may be too small.
        lengths: documents by bucket of length, `floor(8 log2(characters))`; -1 holds empty ones.
        languages: documents by language, as the caller said.
        scripts: characters by script, without what all scripts share.
    """

    capacity: int = CAPACITY
    documents: int = 0
    characters: int = 0
    total: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    short: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, language: str | None = None) -> None:
        """Count one text. `language` is what it was found to be written in, if that is known."""
        tokens = profile_tokens(text)
        self.documents += 1
        self.characters += len(text)
        self.total += len(tokens)
        self.tokens.update(tokens)
        self.lengths[_bucket(len(text))] += 1
        self.scripts.update({script.value: count for script, count in script_counts(text).items()})
        if language is not None:
            self.languages[language] += 1
        self._forget()

    def merge(self, other: Profile) -> None:
        """Add all that another profile counted."""
        self.documents += other.documents
        self.characters += other.characters
        self.total += other.total
        self.tokens.update(other.tokens)
        self.short += other.short
        self.lengths.update(other.lengths)
        self.languages.update(other.languages)
        self.scripts.update(other.scripts)
        self._forget()

    def _forget(self) -> None:
        if len(self.tokens) <= 2 * self.capacity:
            return
        ranked = sorted(self.tokens.items(), key=lambda item: (-item[1], item[0]))
        self.short += ranked[self.capacity][1]
        self.tokens = Counter(dict(ranked[: self.capacity]))

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable; `from_json` gives an equal profile."""
        return {
            "capacity": self.capacity,
            "documents": self.documents,
            "characters": self.characters,
            "total": self.total,
            "short": self.short,
            "lengths": {str(bucket): count for bucket, count in sorted(self.lengths.items())},
            "languages": dict(sorted(self.languages.items())),
            "scripts": dict(sorted(self.scripts.items())),
            "tokens": dict(sorted(self.tokens.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Profile:
        """Raises: DataError if `value` is not what `to_json` gave."""
        try:
            return cls(
                int(value["capacity"]),
                int(value["documents"]),
                int(value["characters"]),
                int(value["total"]),
                _counter(value["tokens"]),
                int(value["short"]),
                Counter({int(bucket): count for bucket, count in _counter(value["lengths"]).items()}),
                _counter(value["languages"]),
                _counter(value["scripts"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"this is no profile of a set of texts: {error!r}", mend="make it again from the set's texts"
            ) from error


def _counter(value: Mapping[str, Any]) -> Counter[str]:
    return Counter({str(name): int(count) for name, count in value.items()})


def profile(texts: Iterable[str], capacity: int = CAPACITY) -> Profile:
    """The profile of a set of texts; some 10 MB/s a core on English, 6 on Japanese."""
    made = Profile(capacity)
    for text in texts:
        made.add(text)
    return made


def profile_tokens(text: str) -> list[str]:
    """Case-folded words, and pairs of characters where no spaces are written, cut where the script changes.

    A lone character between others of another script is a token by itself, as 年 is in `2011年`.
    """
    folded = text.casefold()
    if _HAS_UNSPACED.search(folded) is None:
        return _WORD.findall(folded)
    tokens: list[str] = []
    for run in _RUN.finditer(folded):
        found = run.group()
        if run.lastgroup is None or len(found) == 1:
            tokens.append(found)
        else:
            tokens += [found[n : n + 2] for n in range(len(found) - 1)]
    return tokens


_WORD = re.compile(rf"[^\W{UNSPACED}]+")
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")


def _run_pattern() -> re.Pattern[str]:
    ranges: dict[str, str] = {}
    for place in range(0, len(UNSPACED), 3):
        script = script_of(UNSPACED[place]).name
        ranges[script] = ranges.get(script, "") + UNSPACED[place : place + 3]
    return re.compile("|".join([_WORD.pattern, *(f"(?P<{name}>[{chars}]+)" for name, chars in ranges.items())]))


_RUN = _run_pattern()


def compare(profile: Profile, reference: Profile, top: int = 20) -> dict[str, Any]:
    """How a set differs from a reference set. JSON-serialisable.

    Args:
        profile: of the set.
        reference: of the set it is compared with.
        top: how many over- and under-represented tokens are named, at the most.

    Returns:
        A mapping of

        - `documents`, `tokens`, `distinct`: `{"set": n, "reference": n}`, the sizes of the samples;
        - `divergence`: the Jensen-Shannon divergence of the token distributions, 0 (alike) to 1 (no token in common);
        - `floor`: about what it would be between two samples of these sizes from one source;
        - `over`, `under`: tokens that the set has more or less of, the surest first, each with its `z` score and how
          often it is found in a million tokens of the `set` and of the `reference`;
        - `lengths`: for each, `p5` to `p95` of the documents' characters, to within 4.5%;
        - `languages` (shares of documents), `scripts` (shares of characters): `{name: {"set", "reference"}}`.
    """
    ours, theirs = profile.tokens, reference.tokens
    over, under = _strongest(profile, reference, top)
    return {
        "documents": _both(profile.documents, reference.documents),
        "tokens": _both(profile.total, reference.total),
        "distinct": _both(len(ours), len(theirs)),
        "divergence": divergence(profile, reference),
        "floor": _floor(profile, reference),
        "over": over,
        "under": under,
        "lengths": _both(_quantiles(profile.lengths), _quantiles(reference.lengths)),
        "languages": _shares(profile.languages, reference.languages),
        "scripts": _shares(profile.scripts, reference.scripts),
    }


def divergence(profile: Profile, reference: Profile) -> float | None:
    """Jensen-Shannon divergence of two token distributions in bits, in [0, 1]; None where one has no token.

    `JSD(P, Q) = (KL(P, M) + KL(Q, M)) / 2` with `M = (P + Q) / 2` and logarithms to base 2 (Lin 1991,
    https://doi.org/10.1109/18.61115). Forgotten tokens count together as one.
    """
    if not profile.total or not reference.total:
        return None
    ours, theirs = profile.tokens, reference.tokens
    pairs = [(ours[token] / profile.total, theirs[token] / reference.total) for token in ours.keys() | theirs.keys()]
    pairs.append((1 - ours.total() / profile.total, 1 - theirs.total() / reference.total))
    bits = math.fsum(_half(p, q) + _half(q, p) for p, q in pairs)
    return min(max(bits, 0.0), 1.0)


def _half(p: float, q: float) -> float:
    return p * math.log2(2 * p / (p + q)) / 2 if p > 0 else 0.0


def _floor(profile: Profile, reference: Profile) -> float | None:
    """The divergence that chance alone gives: `(K - 1) (1/n + 1/m) / (8 ln 2)` for `K` distinct of `n` and `m` tokens.

    It is the first-order bias of the three entropies (Miller 1955), good where tokens are many times more than distinct
    ones, and too high where they are not. Words come in bursts, so two real samples of a source differ by more.
    """
    if not profile.total or not reference.total:
        return None
    distinct = len(profile.tokens.keys() | reference.tokens.keys())
    return min(1.0, (distinct - 1) * (1 / profile.total + 1 / reference.total) / (8 * math.log(2)))


def _strongest(profile: Profile, reference: Profile, top: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tokens by the z score of their log-odds ratio with an informative Dirichlet prior.

    Monroe, Colaresi and Quinn (2008), "Fightin' Words", equations 16, 20 and 22, https://doi.org/10.1093/pan/mpn018.
    The prior is both sets' tokens together, scaled to a tenth of the smaller set. A token that one set has forgotten is
    taken to have been there as often as it may have been.
    """
    n, m = profile.total, reference.total
    if not n or not m:
        return [], []
    prior = _PRIOR_SHARE * min(n, m)
    scores: list[tuple[float, str]] = []
    for token in profile.tokens.keys() | reference.tokens.keys():
        y = profile.tokens.get(token, profile.short)
        x = reference.tokens.get(token, reference.short)
        alpha = prior * (y + x) / (n + m)
        ours, theirs = y + alpha, x + alpha
        # A set of one single token has no odds.
        if ours < n + prior and theirs < m + prior:
            ratio = math.log(ours / (n + prior - ours)) - math.log(theirs / (m + prior - theirs))
            scores.append((ratio / math.sqrt(1 / ours + 1 / theirs), token))

    def row(score: tuple[float, str]) -> dict[str, Any]:
        z, token = score
        per_million = _both(1e6 * profile.tokens[token] / n, 1e6 * reference.tokens[token] / m)
        return {"token": token, "z": z, **per_million}

    over = nlargest(top, (score for score in scores if score[0] > _SIGNIFICANT))
    under = nlargest(top, ((-z, token) for z, token in scores if z < -_SIGNIFICANT))
    return [row(score) for score in over], [row((-z, token)) for z, token in under]


def _bucket(length: int) -> int:
    return math.floor(_PER_OCTAVE * math.log2(length)) if length else -1


def _quantiles(lengths: Mapping[int, int]) -> dict[str, int]:
    """Length at each quantile: the geometric middle of the bucket that it falls into."""
    total = sum(lengths.values())
    found: dict[str, int] = {}
    for quantile in _QUANTILES if total else ():
        seen = 0
        for bucket in sorted(lengths):
            seen += lengths[bucket]
            if seen >= quantile * total:
                middle = round(2 ** ((bucket + 0.5) / _PER_OCTAVE)) if bucket >= 0 else 0
                found[f"p{round(100 * quantile)}"] = middle
                break
    return found


def _shares(ours: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """The share each name has in both, the set's most frequent first."""
    n, m = sum(ours.values()) or 1, sum(theirs.values()) or 1
    rows = {name: _both(ours.get(name, 0) / n, theirs.get(name, 0) / m) for name in ours.keys() | theirs.keys()}
    return dict(sorted(rows.items(), key=lambda item: (-item[1]["set"], -item[1]["reference"], item[0])))


def _both(ours: _T, theirs: _T) -> dict[str, _T]:
    return {"set": ours, "reference": theirs}

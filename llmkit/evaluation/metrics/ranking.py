"""Metrics of ranked lists. A list holds distinct keys, best first; keys that are not relevant may be anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence


def recall_at_k(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """The share of the relevant keys that are among the first k."""
    found = set(ranked[:k]) & set(relevant)
    return len(found) / len(set(relevant))


def reciprocal_rank(ranked: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """1 / the rank of the first relevant key, 0 if there is none (Voorhees, TREC-8, 1999)."""
    wanted = set(relevant)
    return next((1 / rank for rank, key in enumerate(ranked, start=1) if key in wanted), 0.0)


def ndcg_at_k(ranked: Sequence[Hashable], gains: Mapping[Hashable, float], k: int) -> float:
    """Discounted gain of the first k over that of the ideal order (Järvelin and Kekäläinen, 2002).

    The gain is linear in the grade and the discount log2(rank + 1), as in trec_eval and BEIR.
    """
    ideal = _dcg(sorted(gains.values(), reverse=True)[:k])
    return _dcg([gains.get(key, 0.0) for key in ranked[:k]]) / ideal


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))

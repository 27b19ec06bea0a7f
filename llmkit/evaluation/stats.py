"""Standard errors, intervals and tests for metrics of items, on their own or paired, independent or clustered.

Standard errors are those of a ratio of sums, by linearisation (Cochran, Sampling Techniques, 1977, ch. 6), summed
within clusters (Liang and Zeger, 1986; recommended for language models by Miller, arXiv:2411.00640). For a plain mean
of independent items that is the sample standard deviation over sqrt(n).

Intervals are 95% bootstrap percentile intervals over clusters. Percentiles survive a monotone change of scale, so the
interval of a perplexity is exactly the exponential of the loss's. They are a little too short for few items, which
is mended by Hesterberg's expansion of the levels (arXiv:1411.5279, section 4.5: "expanded percentile interval").
Two cases that resampling cannot handle are taken out: shares of yes and no, where a clean sweep would get an interval
of no width, have Wilson's score interval (Brown, Cai and DasGupta, 2001); and below `FEW` clusters, where no resample
leaves the range of the few values seen, the interval is Student's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from llmkit.evaluation.metrics.table import AS_IS, SHARE, Metric

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 5_000
"""With these the 2.5% tail of a bootstrap is known to within 0.2 percentage points (one standard deviation)."""
PERMUTATIONS, PERMUTATIONS_OF_A_QUANTILE = 9_999, 999
"""p-values are known to 0.0001; those of times, which take a sort each and are rarely close calls, to 0.001."""
FEW = 10
"""Fewer clusters are too few to resample: simulated 95% intervals of skewed data cover 86% at 6, 90% at 10."""
_CELLS = 4_000_000
"""Cells of an index matrix held in memory at once (32 MB)."""
_EXACT_SWAPS = 13
"""Up to this many clusters all 2**n swaps are enumerated."""


@dataclass(frozen=True)
class Sample:
    """The items' shares in one metric, in the order of the data.

    Attributes:
        values, weights: shape (items,); the metric is `scale(sum(values) / sum(weights))`, or a quantile of values.
        clusters: shape (items,); 0-based number of each item's cluster.
    """

    values: Floats
    weights: Floats
    clusters: Ints

    @property
    def n_clusters(self) -> int:
        return int(self.clusters.max()) + 1

    @property
    def independent(self) -> bool:
        return self.n_clusters == len(self.values)

    def per_cluster(self, values: Floats) -> Floats:
        return np.bincount(self.clusters, weights=values, minlength=self.n_clusters).astype(np.float64)


@dataclass(frozen=True)
class Summary:
    """A number with its standard error and 95% interval, both None for fewer than two clusters."""

    value: float
    stderr: float | None
    ci: tuple[float, float] | None


def sample_of(values: Sequence[float], weights: Sequence[float], clusters: Sequence[str]) -> Sample:
    """Arrays from records. Clusters are numbered in the order of their names, so that no figure depends on theirs."""
    _, numbers = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    return Sample(np.asarray(values, np.float64), np.asarray(weights, np.float64), numbers.astype(np.int64))


def value_of(sample: Sample, metric: Metric) -> float:
    """The metric over all items. May be infinite for an exponential of something large."""
    if metric.quantile is not None:
        return float(np.quantile(sample.values, metric.quantile))
    # The built-in sum, in the order of the data, is what lm-evaluation-harness uses: equal to the last digit.
    return metric.scale.apply(sum(sample.values.tolist()) / sum(sample.weights.tolist()))


def summarise(sample: Sample, metric: Metric, *, seed: int = 0) -> Summary:
    """The metric with its standard error and interval."""
    value = value_of(sample, metric)
    if sample.n_clusters < 2:
        return Summary(value, None, None)
    draws = replicates(sample, metric, seed=seed)
    plain = sample.independent and bool(np.all(sample.weights == 1))
    if metric.quantile is not None:
        stderr = float(np.std(draws, ddof=1))
    elif plain and metric.scale is AS_IS:
        stderr = mean_stderr(sample.values.tolist())
    else:
        stderr = _norm(influence(sample, metric))
    if metric.bounds == SHARE and _yes_or_no(sample):
        ci = wilson_interval(value, effective_size(sample, value, stderr))
    else:
        ci = interval(draws, value, stderr, sample.n_clusters)
    low, high = metric.bounds
    return Summary(value, stderr, (max(low, ci[0]), min(high, ci[1])))


def summarise_difference(candidate: Sample, baseline: Sample, metric: Metric, *, seed: int = 0) -> Summary:
    """Candidate minus baseline on the same items in the same order, by resampling both alike."""
    value = value_of(candidate, metric) - value_of(baseline, metric)
    if candidate.n_clusters < 2:
        return Summary(value, None, None)
    draws = replicates(candidate, metric, seed=seed) - replicates(baseline, metric, seed=seed)
    if metric.quantile is not None:
        stderr = float(np.std(draws, ddof=1))
    else:
        stderr = _norm(influence(candidate, metric) - influence(baseline, metric))
    return Summary(value, stderr, interval(draws, value, stderr, candidate.n_clusters))


def mean_stderr(values: Sequence[float]) -> float:
    """Sample standard deviation over sqrt(n), with the operations in lm-evaluation-harness's order."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1)) / math.sqrt(len(values))


def influence(sample: Sample, metric: Metric) -> Floats:
    """Shape (clusters,): how much each cluster moves a ratio metric, to first order. The sum is 0."""
    total = sample.weights.sum()
    ratio = sample.values.sum() / total
    slope = metric.scale.slope(float(ratio)) / float(total)
    return sample.per_cluster(sample.values - ratio * sample.weights) * slope


def replicates(sample: Sample, metric: Metric, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Shape (resamples,): the metric on clusters drawn with replacement.

    Two samples with the same clusters and seed are drawn alike, which is what pairs a candidate with its baseline.
    """
    if metric.quantile is not None:
        # Single items: what a quantile over whole documents would mean for a time is unclear.
        blocks = _draws(len(sample.values), resamples, seed)
        return np.concatenate([np.quantile(sample.values[block], metric.quantile, axis=1) for block in blocks])
    values, weights = sample.per_cluster(sample.values), sample.per_cluster(sample.weights)
    blocks = _draws(sample.n_clusters, resamples, seed)
    ratios = np.concatenate([values[block].sum(axis=1) / weights[block].sum(axis=1) for block in blocks])
    return np.array([metric.scale.apply(ratio) for ratio in ratios.tolist()])


def interval(draws: Floats, value: float, stderr: float, clusters: int) -> tuple[float, float]:
    """The 95% interval from bootstrap replicates: expanded percentiles, or Student's for few clusters."""
    t = student_quantile(0.5 + CONFIDENCE / 2, clusters - 1)
    if clusters < FEW:
        return value - t * stderr, value + t * stderr
    tail = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * t)
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(low), float(high)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95% score interval of a share that was seen in `n` independent trials."""
    z2 = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return centre - half, centre + half


def effective_size(sample: Sample, share: float, stderr: float) -> float:
    """How many independent trials a clustered share is worth (Kish's design effect); at most the items.

    Where no trial differs the design effect cannot be seen: then each cluster counts as one.
    """
    if sample.independent:
        return len(sample.values)
    if stderr == 0:
        return sample.n_clusters
    return min(float(len(sample.values)), share * (1 - share) / stderr**2)


def student_quantile(p: float, df: int) -> float:
    """Quantile of Student's t, p > 0.5: closed forms for 1 and 2 degrees of freedom, then Abramowitz and Stegun 26.7.5.

    Within 0.2% of the true value from 3 degrees on, for the 97.5% quantile.
    """
    if df == 1:
        return math.tan(math.pi * (p - 0.5))
    if df == 2:
        return (2 * p - 1) * math.sqrt(2 / (1 - (2 * p - 1) ** 2))
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(df) ** power for power, term in enumerate(terms, start=1))


def paired_test(candidate: Sample, baseline: Sample, metric: Metric, *, seed: int = 0) -> tuple[float, str]:
    """Two-sided p-value that the systems are exchangeable, and the name of the test.

    McNemar's exact test for independent yes-or-no items; else a permutation test that swaps the two systems within
    whole clusters.
    """
    if metric.bounds == SHARE and candidate.independent and _yes_or_no(candidate) and _yes_or_no(baseline):
        gained = int(np.sum(candidate.values > baseline.values))
        lost = int(np.sum(candidate.values < baseline.values))
        return mcnemar_exact(gained, lost), "McNemar, exact"
    return permutation_test(candidate, baseline, metric, seed=seed)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided p-value for `gained` against `lost` discordant pairs (binomial with one half)."""
    n = gained + lost
    log_all = math.lgamma(n + 1) - n * math.log(2)
    tail = sum(math.exp(log_all - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail)


def permutation_test(candidate: Sample, baseline: Sample, metric: Metric, *, seed: int = 0) -> tuple[float, str]:
    """Two-sided p-value from swapping the systems within clusters: all swaps if few, else a seeded sample of them.

    A sampled p-value counts the observed arrangement too, so it is never 0 (Phipson and Smyth, 2010).
    """
    observed = abs(value_of(candidate, metric) - value_of(baseline, metric))
    clusters = candidate.n_clusters
    exact = clusters <= _EXACT_SWAPS
    permutations = PERMUTATIONS if metric.quantile is None else PERMUTATIONS_OF_A_QUANTILE
    # Differences that are equal in exact arithmetic must count as equal, whatever the order of their sums.
    bar = observed * (1 - 1e-9)
    reached = total = 0
    for swaps in _all_swaps(clusters) if exact else _random_swaps(clusters, permutations, seed):
        reached += int(np.sum(np.abs(_swapped(candidate, baseline, metric, swaps)) >= bar))
        total += len(swaps)
    if exact:
        return reached / total, "permutation, exact"
    return (reached + 1) / (total + 1), f"permutation, {permutations:,} samples"


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm, 1979, "A Simple Sequentially Rejective Multiple Test Procedure").

    Rejecting those below a level keeps the chance of any false rejection below that level, whatever their dependence.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _swapped(candidate: Sample, baseline: Sample, metric: Metric, swaps: NDArray[np.bool_]) -> Floats:
    """Candidate minus baseline after each row of swaps, shape (rows, clusters)."""
    if metric.quantile is not None:
        mask = swaps[:, candidate.clusters]
        first = np.where(mask, baseline.values, candidate.values)
        second = np.where(mask, candidate.values, baseline.values)
        level = metric.quantile
        return np.asarray(np.quantile(first, level, axis=1) - np.quantile(second, level, axis=1))
    moves = swaps.astype(np.float64)
    sums = [
        (own.sum() + moves @ (other - own), other.sum() + moves @ (own - other))
        for own, other in (
            (candidate.per_cluster(candidate.values), baseline.per_cluster(baseline.values)),
            (candidate.per_cluster(candidate.weights), baseline.per_cluster(baseline.weights)),
        )
    ]
    (values, other_values), (weights, other_weights) = sums
    first = np.array([metric.scale.apply(ratio) for ratio in (values / weights).tolist()])
    second = np.array([metric.scale.apply(ratio) for ratio in (other_values / other_weights).tolist()])
    return first - second


def _yes_or_no(sample: Sample) -> bool:
    return bool(np.all(sample.weights == 1) and np.all(np.isin(sample.values, (0.0, 1.0))))


def _draws(n: int, resamples: int, seed: int) -> Iterator[Ints]:
    """Blocks of rows of n indices drawn with replacement, `resamples` rows in all."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // n)
    for start in range(0, resamples, rows):
        yield rng.integers(n, size=(min(rows, resamples - start), n))


def _random_swaps(n: int, permutations: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // n)
    for start in range(0, permutations, rows):
        yield rng.integers(2, size=(min(rows, permutations - start), n)).astype(np.bool_)


def _all_swaps(n: int) -> Iterator[NDArray[np.bool_]]:
    yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)


def _norm(parts: Floats) -> float:
    """Standard error from clusters' influences, with the small-sample factor G / (G - 1)."""
    return math.sqrt(len(parts) / (len(parts) - 1) * float(np.sum(parts**2)))

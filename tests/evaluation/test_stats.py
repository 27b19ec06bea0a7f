import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from llmkit.evaluation import stats
from llmkit.evaluation.metrics.table import BITS, EXP, METRICS, Metric
from llmkit.evaluation.stats import Sample, sample_of

MEAN = Metric("higher", (-math.inf, math.inf))


def sample(values, weights=None, clusters=None) -> Sample:
    n = len(values)
    return sample_of(values, weights or [1.0] * n, clusters or [f"{i:06d}" for i in range(n)])


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_the_stderr_of_a_mean_is_scipys_sem(values):
    assert stats.mean_stderr(values) == pytest.approx(scipy_stats.sem(values), rel=1e-9, abs=1e-9)


def test_the_linearised_stderr_of_independent_items_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=37)
    assert stats._norm(stats.influence(sample(values), MEAN)) == pytest.approx(scipy_stats.sem(values), rel=1e-12)


def test_items_of_one_document_count_as_one():
    values = list(np.random.default_rng(1).normal(size=20))
    doubled = sample(values * 2, clusters=[f"{i:02d}" for i in range(20)] * 2)
    assert stats.summarise(doubled, MEAN).stderr == pytest.approx(scipy_stats.sem(values), rel=1e-12)
    assert stats.summarise(doubled, MEAN).ci == pytest.approx(stats.summarise(sample(values), MEAN).ci)


def test_the_stderr_of_a_ratio_agrees_with_simulation():
    rng = np.random.default_rng(2)

    def draw():
        weights = rng.integers(5, 40, size=60).astype(float)
        return weights * 2 + rng.normal(size=60) * weights, weights

    ratios = [values.sum() / weights.sum() for values, weights in (draw() for _ in range(3000))]
    errors = [stats.summarise(sample(list(v), list(w)), METRICS["loss"]).stderr for v, w in (draw() for _ in range(20))]
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.08)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 15, 60, 500])
def test_students_quantile_agrees_with_scipy(df):
    assert stats.student_quantile(0.975, df) == pytest.approx(scipy_stats.t.ppf(0.975, df), rel=3e-3)


@given(st.integers(1, 500), st.data())
def test_wilsons_interval_agrees_with_scipy(n, data):
    k = data.draw(st.integers(0, n))
    theirs = scipy_stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert stats.wilson_interval(k / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_clean_sweep_of_three_items_is_not_certain():
    got = stats.summarise(sample([1.0, 1.0, 1.0]), METRICS["exact_match"])
    assert got.ci is not None and got.ci[0] < 0.5 and got.ci[1] == 1.0


def test_a_clean_sweep_within_few_documents_counts_the_documents():
    clusters = ["a"] * 50 + ["b"] * 50
    got = stats.summarise(sample([1.0] * 100, clusters=clusters), METRICS["exact_match"])
    assert got.ci is not None and got.ci[0] == pytest.approx(stats.wilson_interval(1.0, 2)[0])


def test_the_bootstrap_interval_agrees_with_scipys_percentile_interval_for_many_items():
    values = np.random.default_rng(3).exponential(size=400)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert stats.summarise(sample(values), MEAN).ci == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        draw = rng.exponential(size=40)
        low, high = stats.interval(
            stats.replicates(sample(draw), MEAN, seed=0, resamples=1000), draw.mean(), scipy_stats.sem(draw), 40
        )
        hits += low <= 1 <= high
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.parametrize(("scale", "apply"), [(EXP, math.exp), (BITS, lambda x: x / math.log(2))])
def test_the_interval_of_a_rescaled_ratio_is_the_rescaled_interval(scale, apply):
    rng = np.random.default_rng(6)
    data = sample(list(rng.uniform(20, 60, size=50)), list(rng.integers(10, 20, size=50).astype(float)))
    plain = stats.summarise(data, METRICS["loss"])
    scaled = stats.summarise(data, Metric("lower", (0, math.inf), scale=scale))
    assert plain.ci is not None and scaled.value == apply(plain.value)
    assert scaled.ci == pytest.approx(tuple(map(apply, plain.ci)), rel=1e-3)


def test_no_figure_depends_on_the_order_of_the_items():
    rng = np.random.default_rng(7)
    values, clusters = rng.normal(size=60), rng.integers(15, size=60).astype(str)
    order = rng.permutation(60)
    one = stats.summarise(sample(values, clusters=list(clusters)), MEAN)
    two = stats.summarise(sample(values[order], clusters=list(clusters[order])), MEAN)
    assert one.value == pytest.approx(two.value, abs=1e-12)
    assert one.ci == pytest.approx(two.ci, abs=1e-12)


def test_one_cluster_has_no_interval():
    assert stats.summarise(sample([0.1, 0.9], clusters=["a", "a"]), MEAN) == stats.Summary(0.5, None, None)


def test_a_quantile_is_numpys_and_its_interval_holds_it():
    values = np.random.default_rng(8).gamma(2, size=200)
    got = stats.summarise(sample(values), METRICS["latency_p95"])
    assert got.value == np.quantile(values, 0.95)
    assert got.ci is not None and got.ci[0] < got.value < got.ci[1]


def test_pairing_makes_a_small_constant_gain_certain():
    rng = np.random.default_rng(9)
    base = rng.uniform(size=100)
    got = stats.summarise_difference(sample(base + 0.02 + rng.normal(scale=0.001, size=100)), sample(base), MEAN)
    assert got.ci is not None and 0.019 < got.ci[0] < got.ci[1] < 0.021


def test_the_stderr_of_a_difference_of_means_is_that_of_the_items_differences():
    rng = np.random.default_rng(10)
    ours, theirs = rng.uniform(size=80), rng.uniform(size=80)
    got = stats.summarise_difference(sample(ours), sample(theirs), MEAN)
    assert got.stderr == pytest.approx(scipy_stats.sem(ours - theirs), rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_exact_test_is_scipys_binomial_test(gained, lost):
    expected = scipy_stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert stats.mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemars_test_is_exact_for_many_items_too():
    assert stats.mcnemar_exact(5200, 4800) == pytest.approx(scipy_stats.binomtest(5200, 10000).pvalue, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_the_exact_permutation_test_is_scipys(differences):
    # Whole numbers: there is no doubt which arrangements are as extreme as the one that was observed.
    theirs = [10] * len(differences)
    ours = [base + change for base, change in zip(theirs, differences, strict=True)]
    expected = scipy_stats.permutation_test(
        (ours, theirs),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    p_value, test = stats.permutation_test(sample(ours), sample(theirs), MEAN)
    assert test == "permutation, exact"
    assert p_value == pytest.approx(expected)


def test_the_sampled_permutation_test_agrees_with_the_t_test_on_plain_data():
    rng = np.random.default_rng(11)
    base = rng.normal(size=120)
    ours = base + rng.normal(loc=0.2, size=120)
    p_value, test = stats.permutation_test(sample(ours), sample(base), MEAN)
    assert "9,999" in test
    assert p_value == pytest.approx(scipy_stats.ttest_rel(ours, base).pvalue, abs=0.01)


def test_equal_systems_are_exchangeable_in_every_test():
    values = list(np.random.default_rng(12).uniform(size=30))
    assert stats.paired_test(sample(values), sample(values), METRICS["f1"])[0] == 1.0
    assert stats.paired_test(sample(values), sample(values), METRICS["latency_p95"])[0] == 1.0
    assert stats.paired_test(sample([1.0] * 30), sample([1.0] * 30), METRICS["f1"]) == (1.0, "McNemar, exact")


def test_yes_or_no_items_of_shared_documents_are_permuted_by_document():
    clusters = [str(i // 5) for i in range(40)]
    ours, theirs = [1.0] * 40, [0.0] * 5 + [1.0] * 35
    p_value, test = stats.paired_test(
        sample(ours, clusters=clusters), sample(theirs, clusters=clusters), METRICS["exact_match"]
    )
    assert (p_value, test) == (1.0, "permutation, exact")

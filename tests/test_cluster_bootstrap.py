"""Resampled means by both ways of drawing, and the intervals made of them."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from accord.maths import cluster_bootstrap
from accord.maths.cluster_bootstrap import (
    Sums,
    bca_interval,
    cluster_sums,
    percentile_interval,
    resampled_means,
)

ROUNDS = 4000


def test_sums_by_hand() -> None:
    sums = cluster_sums([1.0, 0.5, 0.0, 1.0], ["b", "a", "b", "c"], [1.0, 2.0, 3.0, 0.0])
    assert sums.total.tolist() == [1.0, 1.0]  # a: 2 x 0.5; b: 1 x 1 + 3 x 0; c has no weight
    assert sums.weight.tolist() == [2.0, 4.0]
    assert sums.mean == pytest.approx(2 / 6)


def test_resamples_vary_as_theory_says() -> None:
    # Of G equal weights the mean of a resample has the variance of the G values (with G below it), over G.
    value = np.repeat([0.0, 0.5, 1.0], [50, 60, 90])
    means = resampled_means(Sums(value, np.ones(200)), ROUNDS, 0)
    assert means.mean() == pytest.approx(0.6, abs=4 * value.std() / np.sqrt(200 * ROUNDS))
    assert means.std() == pytest.approx(value.std() / np.sqrt(200), rel=0.05)


@pytest.mark.parametrize("clusters", [300, 2 * cluster_bootstrap.BLOCK + 1])
def test_drawing_cluster_by_cluster(clusters: int) -> None:
    value = np.random.default_rng(1).random(clusters)  # no two alike
    means = resampled_means(Sums(value, np.ones(clusters)), 400, 0)
    assert len(means) == 400
    assert means.mean() == pytest.approx(value.mean(), abs=4 * value.std() / np.sqrt(400 * clusters))
    assert means.std() == pytest.approx(value.std() / np.sqrt(clusters), rel=0.15)


def test_every_cluster_is_as_likely() -> None:
    # What is drawn are the numbers of the clusters themselves; a block's first and last are as likely as its middle.
    generator = np.random.default_rng(0)
    places = cluster_bootstrap._places(cluster_bootstrap.BLOCK, 400_000, generator)
    assert (places.min(), places.max()) == (0, cluster_bootstrap.BLOCK - 1)
    share = np.bincount(places * 8 // cluster_bootstrap.BLOCK) / len(places)
    assert share == pytest.approx(np.full(8, 1 / 8), abs=0.003)


def test_both_ways_of_drawing_agree() -> None:
    generator = np.random.default_rng(2)
    kinds = np.array([[0.0, 1.0], [1.0, 2.0], [3.0, 3.0], [0.5, 1.0]])
    total, weight = kinds[generator.integers(4, size=400)].T
    sums = Sums(total, weight)
    one = resampled_means(sums, ROUNDS, 3)
    other = cluster_bootstrap._drawn(sums, ROUNDS, np.random.default_rng(4))
    assert one.std() == pytest.approx(other.std(), rel=0.05)
    assert np.quantile(one, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(other, [0.025, 0.5, 0.975]), abs=0.004)


def test_clusters_are_drawn_whole() -> None:
    # Two clusters of 1 and 3 verdicts: a resample has one of three means.
    means = resampled_means(cluster_sums([1, 0, 0, 0], [0, 1, 1, 1]), 200, 0)
    assert set(means.round(6)) == {1.0, 0.25, 0.0}


def test_a_seed_gives_the_same_again() -> None:
    sums = Sums(np.linspace(0, 1, 30), np.ones(30))
    assert (resampled_means(sums, 50, 7) == resampled_means(sums, 50, 7)).all()
    assert (resampled_means(sums, 50, 7) != resampled_means(sums, 50, 8)).any()


def test_percentiles_by_hand() -> None:
    samples = np.linspace(0, 1, 100_001)
    # 10 clusters: t_9(0.975) = 2.262157, times sqrt(10 / 9) = 2.384521; the normal's tail beyond that is 0.008551.
    assert percentile_interval(samples, 10) == pytest.approx((0.008551, 0.991449), abs=2e-5)
    assert percentile_interval(samples, 10**6) == pytest.approx((0.025, 0.975), abs=2e-5)


def test_bca_is_scipys() -> None:
    value = np.random.default_rng(5).exponential(size=400)
    sums = Sums(value, np.ones(400))
    found = bca_interval(resampled_means(sums, 20_000, 0), sums)
    expected = bootstrap((value,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert found == pytest.approx((expected.low, expected.high), abs=0.012)
    plain = percentile_interval(resampled_means(sums, 20_000, 0), 400)
    assert found.low > plain.low and found.high > plain.high  # skewed to the right


def test_of_one_cluster_nothing_is_known() -> None:
    one = cluster_sums([1, 0], [3, 3])
    means = resampled_means(one, 50, 0)
    assert np.isnan(percentile_interval(means, 1)).all() and np.isnan(bca_interval(means, one)).all()

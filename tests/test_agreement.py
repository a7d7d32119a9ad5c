"""Agreement of people, and correlations of clustered columns: by hand, against scipy, against published values."""

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from accord.maths.agreement import Votes, three_way, with_another, with_majority
from accord.maths.correlation import correlation, tau_b, within


def votes(*rows: tuple[int, int, int]) -> tuple[Votes, np.ndarray]:
    """(first, second, neither) of each pair, and a cluster each."""
    return Votes(*np.array(rows, dtype=float).T), np.arange(len(rows))


def test_people_by_hand() -> None:
    # 3 against 1 and one undecided: of 6 couples that decide 3 agree; of 10 couples 3. Then two who agree.
    found = votes((3, 1, 1), (0, 2, 0))
    assert with_another(*found).mean == pytest.approx((3 + 1) / (6 + 1))
    assert three_way(*found).mean == pytest.approx((3 + 1) / (10 + 1))


def test_the_majority_of_the_others_by_hand() -> None:
    # Each of the three sees 2 : 1 for the first, the one sees 3 : 0 against it.
    assert with_majority(*votes((3, 1, 1))).mean == pytest.approx(3 / 4)
    # Each of the two sees one against one and does not count; the third is against both others.
    assert with_majority(*votes((2, 1, 0))).mean == 0
    assert math.isnan(with_majority(*votes((1, 1, 3), (2, 0, 0))).mean)


def test_agreement_is_that_of_the_published_annotations(shared_data: Callable[[str], Path]) -> None:
    expected = json.loads(shared_data("stats_expected.json").read_text())["tulu1"]["agreement"]
    judged: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    with gzip.open(shared_data("tulu1_human_annotations.jsonl.gz"), "rt") as lines:
        for row in map(json.loads, lines):
            models = sorted((row["model_a"], row["model_b"]))
            better = {"a": row["model_a"], "b": row["model_b"]}.get(row["preference"][0])
            judged[row["instance_id"], *models][row["annotator"]] = models.index(better) if better else 2
    # The reference takes the first two people of each item.
    several = [list(one.values())[:2] for one in judged.values() if len(one) > 1]
    found = votes(*(tuple(said.count(kind) for kind in range(3)) for said in several))
    assert len(several) == expected["n_items_with_2plus"]
    assert three_way(*found).mean == pytest.approx(expected["percent_agreement_3way"], abs=1e-12)
    assert with_another(*found).mean == pytest.approx(expected["percent_agreement_nontie"], abs=1e-12)


def test_pearson_by_hand() -> None:
    # Deviations -1, 0, 1 and -1, 1, 0: r = 1 / sqrt(2 x 2).
    assert correlation([1, 2, 3], [0, 2, 1], [0, 1, 2]).mean == pytest.approx(0.5)
    # The same with the last row counted as two.
    weighted = correlation([1, 2, 3], [0, 2, 1], [0, 1, 2], weights=[1, 1, 2])
    assert weighted.mean == pytest.approx(np.corrcoef([1, 2, 3, 3], [0, 2, 1, 1])[0, 1])


def test_repeating_rows_within_their_cluster_adds_no_certainty() -> None:
    x, y = [1.0, 2.0, 4.0, 3.0], [0.0, 2.0, 1.0, 5.0]
    once = correlation(x, y, range(4))
    thrice = correlation(np.repeat(x, 3), np.repeat(y, 3), np.repeat(range(4), 3))
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert thrice.interval == pytest.approx(once.interval)


def test_the_interval_of_a_correlation_holds_the_truth() -> None:
    """0.6, in clusters of three whose rows share half of their variance."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        shared, own = generator.normal(size=(2, 80)), generator.normal(size=(2, 240))
        x, noise = shared.repeat(3, axis=1) + own
        low, high = correlation(x, 0.6 * x + 0.8 * noise, np.repeat(range(80), 3)).interval
        held += low <= 0.6 <= high
    assert 0.9 <= held / 300 <= 0.98


def test_what_does_not_vary_has_no_correlation() -> None:
    assert math.isnan(correlation([0.1] * 3, [1, 2, 3], range(3)).mean)
    assert math.isnan(correlation([], [], []).mean)
    whole = correlation([1, 2, 3], [2, 4, 6], range(3))
    assert whole.mean == pytest.approx(1) and math.isnan(whole.interval.low)


def test_within_takes_the_mean_of_the_cluster_away() -> None:
    assert within([1, 3, 10], ["a", "a", "b"]).tolist() == [-1, 1, 0]
    assert within([], []).tolist() == []


def test_tau_b_is_scipys() -> None:
    generator = np.random.default_rng(3)
    ranks, scores = generator.integers(0, 3, (6, 5)), generator.integers(0, 4, (6, 5))
    left, right = np.triu_indices(5, 1)
    said, told = (np.sign(column[:, left] - column[:, right]).reshape(-1) for column in (ranks, scores))
    found = tau_b((said * told).astype(float), said != 0, told != 0, np.repeat(np.arange(6), len(left)))
    expected = [kendalltau(a, b).statistic for a, b in zip(ranks, scores, strict=True)]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert math.isnan(tau_b(np.zeros(1), np.array([True]), np.array([False]), np.array([0]))[0])

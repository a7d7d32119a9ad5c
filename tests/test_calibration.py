"""Calibration, Brier score, AUC with its error, confusion: by hand, and how often the intervals hold the truth."""

import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from accord.maths.calibration import Confusion, auc, auc_interval, brier, calibration, confusion
from accord.maths.statistics import wilson

SAID = [0.1, 0.3, 0.6, 0.8, 0.9]
HAPPENED = [0, 1, 1, 1, 0]
scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)


def test_two_bins_by_hand() -> None:
    # Said 0.2 and 2.3/3, happened 1/2 and 2/3: the error is 2/5 x 0.3 + 3/5 x 0.1.
    found = calibration(SAID, HAPPENED, bins=2)
    assert (found.low.tolist(), found.high.tolist(), found.count.tolist()) == ([0, 0.5], [0.5, 1], [2, 3])
    assert found.probability.tolist() == pytest.approx([0.2, 2.3 / 3])
    assert found.frequency.tolist() == pytest.approx([1 / 2, 2 / 3])
    assert found.ece == pytest.approx(0.18)
    assert found.interval.tolist() == [pytest.approx(wilson(1, 2)), pytest.approx(wilson(2, 3))]


def test_by_chance_by_hand() -> None:
    # One bin of 0.5, 0.9: the mean's variance is (0.25 + 0.09) / 4; of a normal the mean distance is sqrt(2/pi) sd.
    found = calibration([0.5, 0.9], [1, 1], bins=1)
    assert found.ece_by_chance == pytest.approx(math.sqrt(2 / math.pi * 0.34 / 4))


def test_by_chance_is_the_error_of_what_is_calibrated() -> None:
    generator = np.random.default_rng(0)
    seen, told = [], []
    for _ in range(60):
        said = generator.random(400)
        found = calibration(said, generator.random(400) < said)
        seen.append(found.ece)
        told.append(found.ece_by_chance)
    assert np.mean(seen) == pytest.approx(np.mean(told), rel=0.08)


def test_a_bin_holds_its_lower_edge_and_the_last_one_both() -> None:
    assert calibration([0.0, 0.5, 1.0], [0, 0, 1], bins=2).count.tolist() == [1, 2]


def test_a_weight_is_as_many_rows() -> None:
    once = calibration(SAID, HAPPENED, [1, 2, 3, 1, 2], bins=3)
    repeated = calibration(np.repeat(SAID, [1, 2, 3, 1, 2]), np.repeat(HAPPENED, [1, 2, 3, 1, 2]), bins=3)
    assert once.ece == pytest.approx(repeated.ece)
    assert once.frequency.tolist() == pytest.approx(repeated.frequency.tolist())


def test_a_pair_told_from_both_sides_has_the_same_error() -> None:
    """Of two completions the probability that the first is better, once in each order, or that of the favoured one."""
    generator = np.random.default_rng(1)
    first, won = generator.random(200), generator.random(200) < 0.5
    both = calibration([*first, *(1 - first)], [*won, *~won], bins=20)
    right = np.where(first > 0.5, won, ~won)
    folded = calibration(np.maximum(first, 1 - first), right, between=(0.5, 1.0))
    assert folded.ece == pytest.approx(both.ece)


def test_a_cluster_is_one_answer() -> None:
    once = calibration(SAID, HAPPENED, bins=2).interval
    thrice = calibration(np.repeat(SAID, 3), np.repeat(HAPPENED, 3), bins=2, clusters=np.repeat(range(5), 3)).interval
    assert thrice == pytest.approx(once)


def test_what_is_empty_is_null_in_json() -> None:
    found = calibration([0.05, 0.95], [0, 1])
    assert math.isnan(found.frequency[5]) and found.interval[5].tolist() == [0, 1]
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [one["count"] for one in written["bins"]] == [1, 1]
    assert written["bins"][0]["frequency"] == 0 and written["ece"] == pytest.approx(0.05)
    assert calibration([], []).to_json() == {"ece": None, "ece_by_chance": None, "bins": []}


@pytest.mark.parametrize(
    ("said", "happened", "weights", "what"),
    [
        ([1.2], [1], None, r"0\.\.1"),
        ([0.4], [2], None, r"0\.\.1"),
        ([math.nan], [1], None, "NaN"),
        ([0.4], [1], [-1], "negative"),
        ([0.4, 0.5], [1], None, "shape"),
    ],
)
def test_what_is_no_probability_is_refused(said: object, happened: object, weights: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        calibration(said, happened, weights)  # type: ignore[arg-type]


def test_brier_by_hand() -> None:
    assert brier([0.8, 0.4], [1, 1]) == pytest.approx((0.04 + 0.36) / 2)
    assert brier([0.8, 0.4], [1, 1], [3, 1]) == pytest.approx((3 * 0.04 + 0.36) / 4)
    assert math.isnan(brier([], []))


def test_auc_by_hand() -> None:
    # Positives 3, 1 against negatives 1, 0: three wins and a tie of four.
    assert auc([3, 1, 1, 0], [True, True, False, False]) == 0.875
    # The tie of weight 2 x 1, of 3 x 2 in all: (1 + 1) x 1 + 2 x (1/2 + 1) = 5.
    assert auc([3, 1, 1, 0], [1, 1, 0, 0], [1, 2, 1, 1]) == pytest.approx(5 / 6)
    assert math.isnan(auc([1, 2], [True, True])) and math.isnan(auc([], []))


@given(scored)
def test_auc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    sides = [[score for score, kind in rows if kind == side] for side in (True, False)]
    found = auc([score for score, _ in rows], [kind for _, kind in rows])
    pairs = [(a > b) + (a == b) / 2 for a, b in product(*sides)]
    assert found == pytest.approx(np.mean(pairs)) if pairs else math.isnan(found)


def test_delong_by_hand() -> None:
    # Placements 1, 3/4 of the positives and of the negatives: each side's variance is 1/32, over two each.
    found = auc_interval([3, 1, 1, 0], [1, 1, 0, 0])
    assert found.mean == 0.875
    assert found.standard_error == pytest.approx(math.sqrt(1 / 32))
    n = 0.875 * 0.125 * 32
    assert found.interval == pytest.approx(wilson(0.875 * n, n))


def test_repeating_rows_within_their_cluster_adds_no_certainty() -> None:
    score, kind = [3.0, 1.0, 1.0, 0.0, 2.0], [1, 1, 0, 0, 0]
    once = auc_interval(score, kind)
    thrice = auc_interval(np.repeat(score, 3), np.repeat(kind, 3), clusters=np.repeat(range(5), 3))
    assert thrice.mean == pytest.approx(once.mean)
    assert thrice.standard_error == pytest.approx(once.standard_error)


def test_wholly_apart_is_not_certainty() -> None:
    found = auc_interval([1, 2, 3, 4, 5], [0, 0, 0, 1, 1])
    assert found.mean == 1.0 and found.interval == pytest.approx(wilson(2, 2))
    assert all(map(math.isnan, auc_interval([1, 2, 3], [0, 0, 1]).interval))


def test_the_interval_of_an_auc_holds_the_truth() -> None:
    """Normals one apart: AUC = Phi(1 / sqrt 2). Rows of a cluster of three share half of their variance."""
    truth, generator = norm.cdf(1 / math.sqrt(2)), np.random.default_rng(2)
    held = 0
    for _ in range(400):
        cluster, kind = np.repeat(np.arange(40), 3), np.repeat(np.arange(40) % 2 == 0, 3)
        noise = generator.normal(size=40)[cluster] + generator.normal(size=120)
        low, high = auc_interval(kind + noise / math.sqrt(2), kind, cluster).interval
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.98


def test_confusion_by_hand() -> None:
    found = confusion([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0])
    assert found == Confusion(2, 1, 1, 2)
    assert (found.precision, found.recall, found.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert confusion([1, 0], [1, 1], [3, 1]) == Confusion(3, 0, 1, 0)


def test_a_label_that_nobody_says_has_no_precision() -> None:
    found = confusion([0, 0], [1, 0])
    assert math.isnan(found.precision) and found.recall == 0 and found.f1 == 0
    assert math.isnan(confusion([0], [0]).f1)

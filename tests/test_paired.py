"""Two models on the same prompts, how many prompts are needed, and who was shown first: by hand."""

import itertools
import math

import numpy as np
import pytest

from accord.maths import paired
from accord.maths.paired import mcnemar, paired_difference, sign_flip, sign_test
from accord.maths.position import both_orders, by_place, first_shown
from accord.maths.sample_size import detectable, half_width, n_for_half_width, n_to_detect, outcome_variance
from accord.maths.statistics import wilson


def every_sign(difference: list[float]) -> float:
    """p by definition: over all 2^n ways to give signs."""
    sums = [sum(sign * d for sign, d in zip(signs, difference, strict=True))
            for signs in itertools.product((-1, 1), repeat=len(difference))]  # fmt: skip
    seen = abs(sum(difference))
    return sum(abs(one) >= seen - 1e-9 for one in sums) / len(sums)


def test_a_paired_difference_by_hand() -> None:
    found = paired_difference([1.0, 0.5, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0])
    assert (found.n, found.difference) == (4, 0.375)
    # Differences 1, 0, 1/2, 0: squares about 0.375 sum to 0.6875; sd = sqrt(0.6875 / 3), over 2.
    assert found.standard_error == pytest.approx(math.sqrt(0.6875 / 3) / 2)
    assert found.p == pytest.approx(0.5)  # of the signs of 1 and 1/2 those of +- 3/2
    assert found.test == "sign flips, all"


def test_pairing_leaves_out_what_both_find_hard() -> None:
    hard = np.repeat([0.0, 1.0], 50)
    other = hard.copy()
    other[:5] = 0.5
    found = paired_difference(other, hard)
    assert found.standard_error < 0.02 < hard.std() / 10


def test_mcnemar_by_hand() -> None:
    first, second = np.array([1.0] * 6 + [0.0] + [1.0] * 4), np.array([0.0] * 6 + [1.0] + [1.0] * 4)
    # 6 to 1: 2 (C(7, 0) + C(7, 1)) / 2^7
    assert mcnemar(first, second) == pytest.approx(16 / 128)
    found = paired_difference(first, second)
    assert (found.p, found.test) == (pytest.approx(16 / 128), "McNemar")
    assert sign_flip(first - second)[0] == pytest.approx(16 / 128)


def test_the_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 0) == sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(423, 351) == pytest.approx(0.010662746512553778, abs=1e-12)  # scipy, on Tulu's left and right


@pytest.mark.parametrize("seed", range(6))
def test_counted_signs_are_all_signs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    difference = generator.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 1.0], size=11).tolist()
    p, how = sign_flip(difference)
    assert how == "sign flips, all"
    assert p == pytest.approx(every_sign(difference), abs=1e-12)


def test_drawn_signs_come_near_all_signs() -> None:
    difference = [0.31, -0.12, 0.44, 0.27, -0.05, 0.18, 0.22, -0.09, 0.4, 0.13]
    expected = every_sign(difference)
    p, how = sign_flip(difference, rounds=20_000)
    assert how == "sign flips, 20,000"
    assert p == pytest.approx(expected, abs=5 * math.sqrt(expected / 20_000))


def test_very_many_signs_are_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    difference = np.random.default_rng(0).normal(0.06, 1, size=2000)
    drawn, _ = sign_flip(difference, rounds=40_000)
    monkeypatch.setattr(paired, "DRAWN", 1000)
    p, how = sign_flip(difference)
    assert how == "sign flips, normal"
    assert p == pytest.approx(drawn, abs=0.004)


def test_without_any_difference() -> None:
    assert sign_flip([0.0, 0.0])[0] == 1.0
    assert sign_flip([])[0] == 1.0


def test_sample_sizes() -> None:
    assert half_width(805) == pytest.approx(0.0345, abs=5e-5)  # the 3.5 points of AlpacaEval's 805
    assert n_for_half_width(0.01) == 9604  # (1.959964 / 0.01)^2 / 4 = 9603.6
    assert outcome_variance(0.5, ties=1 / 3) == pytest.approx(1 / 6)
    assert half_width(805, outcome_variance(0.5, 1 / 3)) == pytest.approx(0.0345 * math.sqrt(2 / 3), abs=5e-5)
    assert n_to_detect(0.05) == 785  # ((1.959964 + 0.841621) / 0.05)^2 / 4 = 784.9
    assert detectable(n_to_detect(0.05)) == pytest.approx(0.05, abs=1e-5)


def test_a_judge_that_likes_what_is_first() -> None:
    outcome = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.5])
    shown = np.array([1, 1, -1, -1, 1, 1])
    found = first_shown(outcome, shown)
    assert (found.wins, found.losses, found.ties) == (3, 2, 1)
    assert found.share == 0.6 and found.p == 1.0
    assert first_shown(outcome, np.zeros(6, dtype=int)).wins == 0
    again = first_shown(np.tile(outcome, 4), np.tile(shown, 4), np.tile(np.arange(6), 4))
    assert (again.wins, again.losses, again.p) == (12, 8, 1.0)  # the same prompts again say nothing new
    assert again.interval == pytest.approx(wilson(3, 5))


def test_win_rates_by_place() -> None:
    outcome, shown = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0]), np.array([1, 1, 1, -1, -1, -1])
    found = by_place(outcome, shown, np.arange(6), np.ones(6))
    assert found is not None
    assert (found.first, found.second) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    # sd^2 = 1/3 each, over 3: errors of 1/3, together sqrt(2) / 3
    assert found.standard_error == pytest.approx(math.sqrt(2) / 3)
    assert by_place(outcome, np.ones(6, dtype=int), np.arange(6), np.ones(6)) is None


def test_both_orders_by_hand() -> None:
    nan = math.nan
    orders = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 1.0], [1.0, nan], [0.9, 0.2], [0.1, 0.4]])
    found = both_orders(orders)
    assert found is not None
    assert found.n == 7
    assert (found.consistent, found.first, found.second, found.unsure) == pytest.approx((3 / 7, 2 / 7, 1 / 7, 1 / 7))
    assert both_orders(np.full((3, 2), nan)) is None

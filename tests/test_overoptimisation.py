"""Reward against distance: Gao's curves on points that lie on them, knees by hand, and errors that hold the truth."""

import math

import numpy as np
import pytest
import torch

from accord.maths.best_of_n import expected_best_of_n, expected_of_best_of_n
from accord.maths.overoptimisation import Curve, TooFew, coefficients, fit, knee, resampled_columns

E = math.e


def test_the_forms_by_hand() -> None:
    # d = 2: 2 (3 - 0.5 x 2) = 4; d = e^2 = 7.389: d (3 - 0.5 x 2) = 2 d.
    assert Curve("best_of_n", 3.0, 0.5).gain([4.0]) == pytest.approx([4.0])
    assert Curve("trained", 3.0, 0.5).gain([E**4]) == pytest.approx([2 * E**2])


def test_the_peaks_by_hand() -> None:
    # d (3 - d / 2) has the derivative 3 - d, 0 at d = 3; d (1 - b ln d) has 1 - b ln d - b, 0 at d = exp(1 / b - 1).
    assert Curve("best_of_n", 3.0, 0.5).peak == pytest.approx(9.0)
    assert Curve("trained", 1.0, 0.5).peak == pytest.approx(E**2)
    assert Curve("best_of_n", 3.0, -0.5).peak is None and Curve("best_of_n", -3.0, 0.5).peak is None
    assert Curve("trained", 1.0, -0.1).peak is None and Curve("trained", 1.0, 1e-3).peak is None


@pytest.mark.parametrize("form", ["best_of_n", "trained"])
def test_points_on_a_curve_give_it_back_without_error(form: str) -> None:
    kl = np.array([0.0, 0.3, 1.0, 2.5, 7.0])
    d = np.sqrt(kl)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = d * (0.7 - 0.2 * (d if form == "best_of_n" else np.log(d)))
    gain[0] = 0.0
    same = np.tile(kl, (50, 1)), np.tile(gain, (50, 1))
    found = fit(kl, gain, *same, form)
    assert (found.curve.a, found.curve.b) == pytest.approx((0.7, 0.2))
    assert (found.a_error, found.b_error, found.scatter) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.points == 4  # that without distance says nothing


def test_least_squares_by_hand() -> None:
    # d = 1, 2, 3 and gains 1, 1, 1: of X = [d, -d^2] X'X = [[14, -36], [-36, 98]], X'y = [6, -14], determinant 76.
    a, b = coefficients([1.0, 4.0, 9.0], [1.0, 1.0, 1.0], "best_of_n")
    assert (a, b) == pytest.approx(((98 * 6 - 36 * 14) / 76, (36 * 6 - 14 * 14) / 76))


def test_the_error_of_trained_points_counts_their_scatter() -> None:
    """As above with ln d for d, at d = 1, e, e^2, and resamples that are all the same: the scatter alone is left."""
    kl, gain = np.array([1.0, E**2, E**4]), np.array([1.0, 1.0, 1.0])
    same = np.tile(kl, (10, 1)), np.tile(gain, (10, 1))
    d = np.array([1.0, E, E**2])
    design = np.stack([d, -d * np.array([0.0, 1.0, 2.0])], 1)
    number, squares, *_ = np.linalg.lstsq(design, gain, rcond=None)
    errors = np.sqrt(squares[0] / 1 * np.diag(np.linalg.inv(design.T @ design)))
    found = fit(kl, gain, *same, "trained")
    assert (found.curve.a, found.curve.b) == pytest.approx(tuple(number))
    assert (found.a_error, found.b_error) == pytest.approx(tuple(errors))
    assert fit(kl, gain, *same, "best_of_n").a_error == pytest.approx(0, abs=1e-12)  # all of the same samples


def test_errors_of_the_resamples_are_those_of_the_truth() -> None:
    """Prompts whose gains are a curve and noise: over 200 worlds, a is as far off as its error says."""
    kl, noise = np.array([0.2, 0.7, 1.6, 2.7]), 0.5
    draw, off = np.random.default_rng(0), []
    truth = Curve("best_of_n", 1.0, 0.3)
    for seed in range(200):
        prompts = truth.gain(kl) + noise * draw.standard_normal((60, 1)) + noise * draw.standard_normal((60, 4))
        draws = resampled_columns(prompts, 200, seed)
        found = fit(kl, prompts.mean(0), np.tile(kl, (200, 1)), draws, "best_of_n")
        off.append((found.curve.a - 1.0) / found.a_error)
    assert np.mean(off) == pytest.approx(0, abs=0.25)
    assert np.std(off) == pytest.approx(1.0, abs=0.15)


def test_too_few_points_make_no_curve() -> None:
    draws = np.ones((5, 3))
    with pytest.raises(TooFew, match="2 points away from the reference"):
        fit([0.0, 1.0, 4.0], [0.0, 1.0, 1.0], draws, draws, "trained")
    with pytest.raises(TooFew, match="1 points"):
        fit([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], draws, draws, "trained")


def test_a_knee_by_hand() -> None:
    """Two prompts. Of point 1 gold is greatest; at 2 the proxy is 1 higher and gold 2 and 3 lower, at 3 it is 9 lower,
    and so is the proxy."""
    gold = np.array([[0.0, 5.0, 3.0, -4.0], [0.0, 5.0, 2.0, -4.0]])
    proxy = np.array([[0.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 0.0]])
    found = knee([0.0, 1.0, 2.0, 3.0], proxy, gold)
    assert (found.place, found.later) == (1, 2)
    assert found.gold is not None and found.proxy is not None
    assert (found.gold.mean, found.proxy.mean) == (-2.5, 1.0)
    # Standard error 0.5, and Student's t of 1 degree of freedom at 1 - 0.05 / (2 x 6): 1 / tan(pi 0.05 / 12).
    half = 0.5 / math.tan(math.pi * 0.05 / 12)
    assert tuple(found.gold.interval) == pytest.approx((-2.5 - half, -2.5 + half))
    assert not found.sure  # two prompts say little


def test_a_knee_is_sure_where_many_prompts_say_the_same() -> None:
    draw = np.random.default_rng(1)
    gold = np.array([0.0, 1.0, 0.5, 0.2]) + 0.3 * draw.standard_normal((100, 4))
    proxy = np.array([0.0, 1.0, 1.5, 2.0]) + 0.3 * draw.standard_normal((100, 4))
    kl = np.array([0.0, 1.0, 4.0, 9.0])
    found = knee(kl, proxy, gold)
    assert (found.place, found.later, found.sure) == (1, 3, True)  # of the sure ones that with the least gold
    back = [2, 0, 3, 1]  # the order in which points are given does not matter
    assert knee(kl[back], proxy[:, back], gold[:, back])[:2] == (3, 2)
    assert not knee(kl, -proxy, gold).sure  # the proxy falls, too: nothing is exploited
    assert knee(kl, proxy, proxy) == (3, None, None, None)  # gold rises to the end


def test_of_noise_alone_a_sure_knee_is_rare() -> None:
    """Six points that are all the same but for noise, whose proxies rise: in at most 5 % of worlds, but for chance."""
    draw, false = np.random.default_rng(2), 0
    for _ in range(400):
        noise = draw.standard_normal((40, 6))
        false += knee(np.arange(6), np.arange(6) + 0.1 * noise, draw.standard_normal((40, 6))).sure
    assert false <= 30  # 20 and 2.3 standard deviations


def test_resamples_go_together_and_spread_as_the_mean_does() -> None:
    values = np.random.default_rng(3).standard_normal((50, 1))
    draws = resampled_columns(np.hstack([values, 2 * values + 1]), 4000, 0)
    assert draws[:, 1] == pytest.approx(2 * draws[:, 0] + 1)
    assert draws[:, 0].std() == pytest.approx(values.std() / math.sqrt(50), rel=0.05)
    assert draws[:, 0].mean() == pytest.approx(values.mean(), abs=0.01)
    assert (draws == resampled_columns(np.hstack([values, 2 * values + 1]), 4000, 0)).all()


def test_what_the_best_of_n_has_besides_by_hand() -> None:
    # Rewards 1, 2, 3 with golds 10, 0, 4: of the pairs the best are 2, 3, 3, whose golds are 0, 4, 4.
    rewards, gold = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([4.0, 10.0, 0.0])
    assert expected_of_best_of_n(rewards, gold, 1).item() == pytest.approx(14 / 3)
    assert expected_of_best_of_n(rewards, gold, 2).item() == pytest.approx(8 / 3)
    assert expected_of_best_of_n(rewards, gold, 3).item() == pytest.approx(4.0)
    # Of equal rewards each is the best as often: of 5, 5, 1 with golds 1, 3, 7 the pairs have (1 + 3) / 2 each time.
    tied = expected_of_best_of_n(torch.tensor([[5.0, 5.0, 1.0]]), torch.tensor([[1.0, 3.0, 7.0]]), 2)
    torch.testing.assert_close(tied, torch.tensor([2.0], dtype=torch.float64))


def test_of_the_rewards_themselves_it_is_the_expected_best() -> None:
    rewards = torch.randint(0, 5, (20, 9), generator=torch.Generator().manual_seed(0)).double()
    for n in (1, 2, 5, 9):
        torch.testing.assert_close(expected_of_best_of_n(rewards, rewards, n), expected_best_of_n(rewards, n))

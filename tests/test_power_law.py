"""Power laws: published numbers by hand, known laws found again, and how often intervals hold the truth."""

import numpy as np
import pytest
from scipy.optimize import minimize

from accord.maths.power_law import Fit, Law, TooFew, by_residuals, by_runs, fit

CHINCHILLA = Law(1.69, (406.4, 410.7), (0.34, 0.28))  # Hoffmann et al. 2022, Eq. 10 with the numbers of section D.3
ONE = Law(1.7, (400.0,), (0.34,))
SIZES = np.geomspace(1e6, 1e9, 10)[:, None]
GRID = np.array([(n, d) for n in np.geomspace(1e7, 1e9, 5) for d in np.geomspace(2e8, 2e10, 5)])


def test_the_loss_of_chinchilla_by_hand() -> None:
    # 406.4 exp(-0.34 ln 7e10) = 406.4 exp(-8.49041); 410.7 exp(-0.28 ln 1.4e12) = 410.7 exp(-7.83090)
    assert CHINCHILLA.loss((70e9, 1.4e12)) == pytest.approx(1.69 + 0.08349 + 0.16316, abs=2e-5)
    assert CHINCHILLA.loss([(70e9, 1.4e12), (1e30, 1e30)]).shape == (2,)


def test_the_best_use_of_compute_by_hand() -> None:
    """G = (0.34 406.4 / (0.28 410.7))^(1/0.62) = 1.3447; N = G (C/6)^(0.28/0.62), D = (C/6) / N."""
    n, d = CHINCHILLA.optimum(5.88e23)
    assert n == pytest.approx(3.249e10, rel=1e-3) and d == pytest.approx(3.016e12, rel=1e-3)
    assert 6 * n * d == pytest.approx(5.88e23)
    for other in (0.8, 1.25):  # whatever else the compute is spent on
        assert CHINCHILLA.loss((n, d)) < CHINCHILLA.loss((other * n, d / other))


def test_a_law_without_noise_is_found_again() -> None:
    found = fit(SIZES, ONE.loss(SIZES))
    assert found.law.floor == pytest.approx(1.7, rel=1e-3)
    assert found.law.coefficient == pytest.approx((400.0,), rel=1e-2)
    assert found.law.exponent == pytest.approx((0.34,), rel=1e-3)
    assert found.scatter < 1e-5 and not any(found.edge)


def test_a_law_of_both_without_noise_is_found_again() -> None:
    found = fit(GRID, CHINCHILLA.loss(GRID))
    assert found.law.floor == pytest.approx(1.69, rel=1e-3)
    assert found.law.exponent == pytest.approx((0.34, 0.28), rel=2e-3)
    assert found.law.coefficient == pytest.approx((406.4, 410.7), rel=2e-2)


def noisy(law: Law, sizes: np.ndarray, seed: int, scatter: float = 0.005) -> np.ndarray:
    return law.loss(sizes) * np.exp(scatter * np.random.default_rng(seed).standard_normal(len(sizes)))


def huber(theta: np.ndarray, sizes: np.ndarray, loss: np.ndarray, delta: float) -> float:
    """Eq. 3 of Hoffmann et al. written out, over delta^2."""
    e, a, alpha = theta
    size = np.abs(np.log(np.exp(e) + np.exp(a - alpha * np.log(sizes[:, 0]))) - np.log(loss)) / delta
    return float(np.where(size <= 1, size**2 / 2, size - 0.5).sum())


@pytest.mark.parametrize("delta", [1e-3, 1.0])
def test_no_search_of_scipys_goes_lower(delta: float) -> None:
    loss = noisy(ONE, SIZES, 3)
    found = fit(SIZES, loss, delta=delta)
    ends = []
    for start in ((0.5, 6.0, 0.34), (0.0, 4.0, 0.2), (-1.0, 3.0, 0.1), tuple(_plain(found))):
        options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-10, "fatol": 1e-12}
        ends.append(minimize(huber, start, (SIZES, loss, delta), "Nelder-Mead", options=options).fun)
    assert found.value == pytest.approx(huber(np.array(_plain(found)), SIZES, loss, delta), rel=1e-6)
    assert found.value <= min(ends) * (1 + 1e-5)


def _plain(found: Fit) -> tuple[float, float, float]:
    return np.log(found.law.floor), np.log(found.law.coefficient[0]), found.law.exponent[0]


def test_a_run_that_went_wrong_weighs_little() -> None:
    loss = ONE.loss(SIZES)
    loss[4] *= 1.3
    assert fit(SIZES, loss).law.exponent[0] == pytest.approx(0.34, rel=0.01)
    assert abs(fit(SIZES, loss, delta=10.0).law.exponent[0] - 0.34) > 0.02  # squares


def test_what_the_runs_do_not_show_ends_at_its_bound() -> None:
    line = Law(1e-9, (20.0,), (0.1,))
    found = fit(SIZES, line.loss(SIZES))
    assert found.law.exponent[0] == pytest.approx(0.1, rel=1e-2) and found.law.floor < 0.01


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (SIZES[:3], "3 runs, and a law of 3 parameters needs 4 or more"),
        (np.repeat([[1e6], [1e7]], 4, axis=0), "2 different sizes"),
        (GRID[:5], "5 runs, and a law of 5 parameters needs 6 or more"),
        (np.geomspace((1e6, 2e7), (1e9, 2e10), 8), "cannot be told apart"),
    ],
)
def test_runs_that_determine_no_law_are_refused(sizes: np.ndarray, said: str) -> None:
    with pytest.raises(TooFew, match=said):
        fit(sizes, np.linspace(3, 2, len(sizes)))


def test_intervals_hold_the_truth() -> None:
    """Ten runs that lie 0.5 % about a law: the loss of a model ten times as large as the largest, and the exponent."""
    held = np.zeros(2)
    for seed in range(25):
        loss = noisy(ONE, SIZES, 100 + seed)
        laws = by_residuals(fit(SIZES, loss), SIZES, 50, seed)
        for place, (values, truth) in enumerate(
            [
                ([float(law.loss((1e10,))) for law in laws], 1.7 + 400 / 1e10**0.34),
                ([law.exponent[0] for law in laws], 0.34),
            ]
        ):
            low, high = np.quantile(values, [0.025, 0.975])
            held[place] += low <= truth <= high
    assert (held >= 0.85 * 25).all(), held


def test_resampled_runs_hold_the_truth_where_there_are_many() -> None:
    sizes = np.repeat(np.geomspace(1e6, 1e9, 12), 4)[:, None]
    held = 0
    for seed in range(12):
        loss = noisy(ONE, sizes, 500 + seed)
        laws = by_runs(fit(sizes, loss), sizes, loss, 50, seed)
        low, high = np.quantile([law.exponent[0] for law in laws], [0.025, 0.975])
        held += low <= 0.34 <= high
    assert held >= 0.8 * 12


def test_resamples_are_a_pure_function_of_the_seed() -> None:
    loss = noisy(ONE, SIZES, 9)
    best, told = fit(SIZES, loss), list[int]()
    one = by_residuals(best, SIZES, 20, 4, advance=told.append)
    assert one == by_residuals(best, SIZES, 20, 4) != by_residuals(best, SIZES, 20, 5)
    assert by_runs(best, SIZES, loss, 10, 4) == by_runs(best, SIZES, loss, 10, 4)
    assert told == [20]

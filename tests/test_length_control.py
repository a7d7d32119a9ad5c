"""The regression of length-controlled win rates: by hand, against another minimiser, and in worlds that are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from accord.maths.difficulty import MOST, SPREAD, Joint, Several, TooMany, estimate
from accord.maths.length_control import (
    RIDGE,
    Held,
    Lengths,
    Weights,
    bootstrapped,
    controlled_win_rate,
    fit,
    from_samples,
    length_term,
    refitted,
    resampled_clusters,
    sandwiched,
)


def world(n: int, theta: float, phi: float, psi: float, seed: int = 0, *, copies: int = 1) -> Lengths:
    """n verdicts with ties of none, on n / copies instructions; lengths drawn, the longer the likelier to win."""
    generator = np.random.default_rng(seed)
    cluster = np.arange(n) // copies
    gamma = generator.normal(0, 1.2, size=n // copies)[cluster]
    lengths = np.tanh(generator.normal(-0.4, 1, size=n))
    outcome = (generator.random(n) < expit(theta + phi * lengths + psi * gamma)).astype(float)
    return Lengths(outcome, lengths, gamma, np.ones(n), cluster)


def test_the_length_term_by_hand() -> None:
    # dl = -10, 0, 10: sd 10 with n - 1 below it
    assert length_term(np.array([110.0, 50.0, 0.0]), np.array([100.0, 50.0, 10.0])) == pytest.approx(
        [-0.7615942, 0.0, 0.7615942]
    )
    assert length_term(np.array([3.0, 4.0]), np.array([2.0, 3.0])).tolist() == [0.0, 0.0]
    assert length_term(np.array([3.0]), np.array([2.0])).tolist() == [0.0]


def test_without_length_and_difficulty_it_is_the_win_rate() -> None:
    outcome = np.array([1.0, 1.0, 0.5, 0.0, 1.0, 0.25])
    data = Lengths(outcome, np.zeros(6), np.zeros(6), np.ones(6), np.arange(6))
    best = fit(data)
    assert best.phi == best.psi == 0
    assert controlled_win_rate(best, data.difficulty) == pytest.approx(outcome.mean(), abs=2e-4)  # the ridge


def test_the_fit_is_another_minimisers() -> None:
    generator = np.random.default_rng(3)
    held = Held(np.tanh(generator.normal(size=40)), generator.normal(size=40), generator.random(40), np.full(40, 0.1))
    data = replace(world(120, 0.4, -1.1, 0.8), held=held)

    def loss(place: np.ndarray) -> float:
        theta, phi, psi = place
        own = theta + phi * data.lengths + psi * data.difficulty
        other = phi * held.lengths + psi * held.difficulty  # no theta
        each = -data.outcome * np.log(expit(own)) - (1 - data.outcome) * np.log(expit(-own))
        more = -held.outcome * np.log(expit(other)) - (1 - held.outcome) * np.log(expit(-other))
        return float(each.sum() + 0.1 * more.sum() + RIDGE / 2 * (place @ place))

    expected = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    assert fit(data) == pytest.approx(tuple(expected), abs=1e-5)


def test_only_longer_is_not_better() -> None:
    data = world(20_000, theta=0.0, phi=-1.5, psi=0.0)
    assert data.outcome.mean() > 0.57  # its answers are longer, and long ones win
    assert controlled_win_rate(fit(data), np.zeros(1)) == pytest.approx(0.5, abs=0.02)


def test_a_model_that_wins_everything_has_a_finite_fit() -> None:
    data = replace(world(50, 0.0, 0.0, 0.0), outcome=np.ones(50))
    best = fit(data)
    assert np.isfinite(best).all()
    assert 0.97 < controlled_win_rate(best, data.difficulty) < 1


def test_fits_together_are_fits_one_by_one() -> None:
    held = Held(np.array([0.5, -0.5]), np.array([1.0, 2.0]), np.array([0.3, 0.8]), np.array([0.1, 0.1]))
    data = replace(world(60, 0.5, -1.0, 0.9, copies=2), held=held)
    data = replace(data, outcome=np.where(np.arange(60) < 50, 1.0, data.outcome))  # some resamples win everything
    times = np.concatenate(list(resampled_clusters(30, 40, 0, 7)))
    assert times.shape == (40, 30) and (times.sum(1) == 30).all()
    gamma = data.difficulty + np.linspace(0, 1, 40)[:, None]
    best = fit(data)
    together, shifted = refitted(data, times, best), refitted(data, times, best, gamma)
    for row, counts in enumerate(times):
        weight = data.weights_of(counts)
        own = weight[:60]
        assert together[row] == pytest.approx(controlled_win_rate(fit(data, weight), data.difficulty, own), abs=1e-6)
        other = replace(data, difficulty=gamma[row])
        assert shifted[row] == pytest.approx(controlled_win_rate(fit(other, weight), gamma[row], own), abs=1e-6)
    assert np.isnan(refitted(data, np.zeros((1, 30), dtype=np.int64), best)).all()


def test_the_sandwich_is_what_refits_say() -> None:
    data = world(600, 0.5, -1.0, 0.9, copies=2)
    best = fit(data)
    by_refits = bootstrapped(data, best, 400, 0)
    without = sandwiched(data, best)
    assert without.standard_error == pytest.approx(by_refits.standard_error, rel=0.1)
    assert without.interval == pytest.approx(by_refits.interval, abs=0.01)
    assert by_refits.win_rate == without.win_rate


def test_instructions_are_drawn_whole() -> None:
    data = world(300, 0.5, -1.0, 0.9)
    again = Lengths(*(np.repeat(part, 4) for part in (data.outcome, data.lengths, data.difficulty, data.weight)),
                    np.repeat(data.cluster, 4))  # fmt: skip
    once, four = (sandwiched(one, fit(one)).standard_error for one in (data, again))
    assert four == pytest.approx(once, rel=0.02)  # the same verdict four times adds nothing


def several(models: int, instructions: int, seed: int = 0) -> tuple[Several, np.ndarray]:
    generator = np.random.default_rng(seed)
    gamma = generator.normal(0, SPREAD, size=instructions)
    model, instruction = np.divmod(np.arange(models * instructions), instructions)
    lengths = np.tanh(generator.normal(size=len(model)))
    theta = generator.normal(size=models)
    outcome = (generator.random(len(model)) < expit(theta[model] - lengths + gamma[instruction])).astype(float)
    return Several(model, instruction, lengths, outcome, np.ones(len(model))), gamma


def test_the_joint_fit_is_another_minimisers() -> None:
    data, _ = several(3, 7)

    def loss(place: np.ndarray) -> float:
        theta, phi, gamma = place[:3], place[3:6], place[6:]
        logit = theta[data.model] + phi[data.model] * data.lengths + gamma[data.instruction]
        each = -data.outcome * np.log(expit(logit)) - (1 - data.outcome) * np.log(expit(-logit))
        return float(each.sum() + gamma @ gamma / 2 / SPREAD**2 + RIDGE / 2 * (theta @ theta + phi @ phi))

    expected = minimize(loss, np.zeros(13), method="BFGS", options={"gtol": 1e-9}).x
    found = estimate(data)
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-4)


def test_difficulties_are_found_again() -> None:
    data, gamma = several(20, 300)
    assert np.corrcoef(estimate(data).gamma, gamma)[0, 1] > 0.85


def test_an_instruction_that_counts_twice_is_two_of_them() -> None:
    data, _ = several(4, 12)
    times = np.ones(12, dtype=np.int64)
    times[0], times[5] = 2, 0
    kept = data.instruction != 5
    twice = np.flatnonzero(data.instruction == 0)
    rows = np.r_[np.flatnonzero(kept), twice]
    instruction = np.r_[data.instruction[kept], np.full(len(twice), 5)]
    copied = Several(data.model[rows], instruction, data.lengths[rows], data.outcome[rows], np.ones(len(rows)))
    one, other = estimate(data, times), estimate(copied)
    assert one.theta == pytest.approx(other.theta, abs=1e-7)
    assert one.phi == pytest.approx(other.phi, abs=1e-7)
    assert other.gamma[0] == pytest.approx(other.gamma[5], abs=1e-7)
    assert np.isfinite(one.gamma).all()


def test_a_fit_goes_on_from_another() -> None:
    data, _ = several(4, 12)
    found = estimate(data)
    again = estimate(data, start=Joint(found.theta + 1, found.phi, found.gamma))
    assert np.concatenate(again) == pytest.approx(np.concatenate(found), abs=1e-6)


def test_too_many_for_a_table() -> None:
    many = np.array([0, MOST // 2])
    with pytest.raises(TooMany, match="2 models times"):
        estimate(Several(np.array([0, 1]), many, np.zeros(2), np.ones(2), np.ones(2)))


def test_weights_that_others_have_published() -> None:
    # sigma(0) and sigma(1) with psi 0.5 and difficulties -2 and 0
    assert controlled_win_rate(Weights(1.0, -9.0, 0.5), np.array([-2.0, 0.0])) == pytest.approx((0.5 + 0.7310586) / 2)


def test_few_instructions_of_many_are_few() -> None:
    """The same refits say less where the model answered 4 of the 100 instructions that were drawn from."""
    every = replace(world(100, 0.5, -1.0, 0.9, copies=1), cluster=np.arange(100))
    few = replace(every, outcome=every.outcome[:4], lengths=every.lengths[:4], difficulty=every.difficulty[:4])
    few = replace(few, weight=every.weight[:4], cluster=np.array([3, 40, 41, 99]))
    samples = np.linspace(0, 1, 10_001)
    # Student's t of 3 degrees and 97.5 % is 3.182446, times sqrt(4 / 3): 3.674772 of a normal are 0.000119.
    assert from_samples(few, fit(few), samples, 0.95, "").interval.low == pytest.approx(0.000119, abs=1e-4)
    assert from_samples(every, fit(every), samples, 0.95, "").interval.low == pytest.approx(0.023, abs=1e-3)

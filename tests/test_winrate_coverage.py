"""Judgements whose truth is known, 2,000 times over, 200 where models are refitted: how often intervals hold it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from accord.evaluate.intervals import interval_of
from accord.evaluate.verdicts import Floats, Ints, Verdicts
from accord.maths.length_control import Lengths, bootstrapped, fit, sandwiched
from accord.stages.winrate_options import WinRateOptions

REPETITIONS = 2000
Simulated = tuple[Floats, Ints]


def verdicts(outcome: Floats, cluster: Ints) -> Verdicts:
    nothing = np.zeros(len(outcome), dtype=np.int64)
    unknown = np.full(len(outcome), np.nan)
    orders = np.full((len(outcome), 2), np.nan)
    ones = np.ones(len(outcome))
    return Verdicts("m", "b", outcome, cluster, ones, unknown, unknown, nothing, orders, nothing, nothing, unknown)


def without_ties(generator: np.random.Generator) -> Simulated:
    """200 prompts, one verdict each; truth 0.7."""
    return (generator.random(200) < 0.7).astype(float), np.arange(200)


def with_ties(generator: np.random.Generator) -> Simulated:
    """200 prompts; P(win) 0.55, P(tie) 0.3: truth 0.7."""
    drawn = generator.random(200)
    return np.where(drawn < 0.55, 1.0, np.where(drawn < 0.85, 0.5, 0.0)), np.arange(200)


def chances(generator: np.random.Generator) -> Simulated:
    """200 prompts, and the judge says how likely it is: a beta distribution of mean 0.7."""
    return generator.beta(1.4, 0.6, size=200), np.arange(200)


def clusters(generator: np.random.Generator) -> Simulated:
    """60 prompts of 1 to 8 verdicts, ties among them, 270 in all on average; each prompt has a win rate of its own."""
    sizes = generator.integers(1, 9, size=60)
    cluster = np.repeat(np.arange(60), sizes)
    rate = generator.beta(2.8, 1.2, size=60)[cluster]  # mean 0.7, whatever the size
    tie = np.minimum(rate, 1 - rate) * 0.5
    drawn = generator.random(len(cluster))
    return np.where(drawn < rate - tie / 2, 1.0, np.where(drawn < rate + tie / 2, 0.5, 0.0)), cluster


CASES: list[tuple[str, str, Callable[[np.random.Generator], Simulated]]] = [
    ("wilson", "wilson", without_ties),
    ("auto", "wilson", without_ties),
    ("auto", "bootstrap", with_ties),
    ("bca", "bca", with_ties),
    ("auto", "bootstrap", chances),
    ("auto", "cluster", clusters),
    ("bootstrap", "bootstrap", clusters),
    ("bca", "bca", clusters),
]


@pytest.mark.parametrize(("asked", "method", "simulate"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_95_percent_intervals_hold_the_truth(
    asked: str, method: str, simulate: Callable[[np.random.Generator], Simulated]
) -> None:
    generator = np.random.default_rng(0)
    held, below = 0, 0
    for repetition in range(REPETITIONS):
        options = WinRateOptions(interval=asked, rounds=400, seed=repetition)  # type: ignore[arg-type]
        (low, high), name = interval_of(verdicts(*simulate(generator)), options)
        assert name == method
        held += low <= 0.7 <= high
        below += high < 0.7
    assert 0.93 <= held / REPETITIONS <= 0.97
    assert below < 0.05 * REPETITIONS


def judged(generator: np.random.Generator) -> Lengths:
    """200 verdicts on 100 instructions of known difficulty; longer answers win more often."""
    cluster = np.repeat(np.arange(100), 2)
    gamma = generator.normal(0, 1.2, size=100)[cluster]
    lengths = np.tanh(generator.normal(-0.5, 1, size=200))
    outcome = (generator.random(200) < expit(0.4 - 1.2 * lengths + 0.8 * gamma)).astype(float)
    return Lengths(outcome, lengths, gamma, np.ones(200), cluster)


def test_length_controlled_intervals_hold_the_truth() -> None:
    truth = expit(0.4 + 0.8 * np.random.default_rng(1).normal(0, 1.2, size=1_000_000)).mean()
    plain = expit(0.4 - 1.2 * np.tanh(np.random.default_rng(2).normal(-0.5, 1, size=1_000_000))).mean()
    assert plain - truth > 0.05  # what its length is worth
    generator = np.random.default_rng(0)
    held = np.zeros(2)
    for repetition in range(200):
        data = judged(generator)
        best = fit(data)
        for place, found in enumerate((bootstrapped(data, best, 150, repetition), sandwiched(data, best))):
            held[place] += found.interval.low <= truth <= found.interval.high
    assert (held >= 0.90 * 200).all() and (held <= 0.99 * 200).all()

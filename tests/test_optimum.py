"""The exact optimum: by hand, and the laws that make it the optimum."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.maths.best_of_n import kl_best_of_n
from accord.maths.optimum import (
    best_of_n,
    expected_reward,
    frontier,
    implicit_reward,
    kl,
    log_partition,
    objective,
    objective_gradient,
    optimum,
)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REFERENCE, REWARD = drawn(0, 3, 6).log_softmax(-1), drawn(1, 3, 6)
LN2 = math.log(2.0)


def test_by_hand() -> None:
    """Halves and quarters, rewards that are multiples of ln 2: Z = 1/2 + 1/4 2 + 1/4 4 = 2 at beta = 1."""
    reference, reward = double(0.5, 0.25, 0.25).log(), double(0, LN2, 2 * LN2)
    best = optimum(reference, reward, beta=1.0)
    torch.testing.assert_close(best.exp(), double(0.25, 0.25, 0.5))
    assert log_partition(reference, reward, beta=1.0).item() == pytest.approx(LN2)
    assert expected_reward(best, reward).item() == pytest.approx(0.25 * LN2 + 0.5 * 2 * LN2)
    # 1/4 log(1/2) + 1/4 log 1 + 1/2 log 2
    assert kl(best, reference).item() == pytest.approx(0.25 * LN2)
    assert objective(best, reference, reward, beta=1.0).item() == pytest.approx(LN2)  # beta log Z
    # At the reference: E[r] = 3/4 ln 2, so that the gradient is pi_ref (r - 3/4 ln 2).
    slope = objective_gradient(reference, reference, reward, beta=1.0)
    torch.testing.assert_close(slope, double(-0.375, 0.0625, 0.3125) * LN2)


def test_beta_halved_is_the_reward_doubled() -> None:
    reference, reward = double(0.5, 0.5).log(), double(0, LN2)
    torch.testing.assert_close(optimum(reference, reward, beta=0.5).exp(), double(0.2, 0.8))  # 1 : 4


def test_equation_11_gives_the_reward_back() -> None:
    log_z = log_partition(REFERENCE, REWARD, beta=0.3)
    back = implicit_reward(optimum(REFERENCE, REWARD, beta=0.3), REFERENCE, log_z, beta=0.3)
    torch.testing.assert_close(back, REWARD)


def test_no_policy_is_better_than_the_optimum() -> None:
    """The objective is beta log Z - beta KL(pi || pi*), for any policy."""
    most = 0.3 * log_partition(REFERENCE, REWARD, beta=0.3)
    best = optimum(REFERENCE, REWARD, beta=0.3)
    for seed in range(20):
        policy = drawn(seed + 2, 3, 6).log_softmax(-1)
        reached = objective(policy, REFERENCE, REWARD, beta=0.3)
        assert (reached < most).all()
        torch.testing.assert_close(reached, most - 0.3 * kl(policy, best))


def test_the_gradient_is_the_derivative() -> None:
    logits = drawn(2, 3, 6)

    def total(z: Tensor) -> Tensor:
        return objective(z.log_softmax(-1), REFERENCE, REWARD, beta=0.3).sum()

    exact = objective_gradient(logits.log_softmax(-1), REFERENCE, REWARD, beta=0.3)
    torch.testing.assert_close(exact, torch.func.grad(total)(logits))
    at_best = objective_gradient(optimum(REFERENCE, REWARD, beta=0.3), REFERENCE, REWARD, beta=0.3)
    torch.testing.assert_close(at_best, torch.zeros_like(at_best))


def test_a_completion_that_cannot_occur() -> None:
    reference, reward = double(0.5, 0.5, 0.0).log(), double(0.0, LN2, 9.0)
    best = optimum(reference, reward, beta=1.0)
    torch.testing.assert_close(best.exp(), double(1 / 3, 2 / 3, 0))
    assert kl(best, reference).isfinite() and objective(best, reference, reward, beta=1.0).isfinite()
    assert objective_gradient(best, reference, reward, beta=1.0).abs().max() < 1e-15
    assert kl(double(0.5, 0.25, 0.25).log(), reference).item() == math.inf
    torch.testing.assert_close(best_of_n(reference, reward, 2).exp(), double(0.25, 0.75, 0))


def test_the_frontier_bends_as_it_must() -> None:
    """From the reference (beta large) to the best completion (beta small); its slope is beta; nothing lies above it."""
    betas = torch.logspace(2, -1, 400, dtype=torch.float64)
    found = frontier(REFERENCE[0], REWARD[0], betas)
    assert (found.kl.diff() > 0).all() and (found.reward.diff() > 0).all()
    between = (betas[1:] * betas[:-1]).sqrt()
    torch.testing.assert_close(found.reward.diff() / found.kl.diff(), between, rtol=1e-3, atol=0)
    policies = 2 * drawn(3, 50, 6)
    for policy in policies.log_softmax(-1):
        spent, gained = kl(policy, REFERENCE[0]), expected_reward(policy, REWARD[0])
        assert (gained <= found.reward + betas * (spent - found.kl) + 1e-12).all()


def counted(reference: Tensor, reward: Tensor, n: int) -> Tensor:
    """All S^n ways to draw n: the first of the best of each takes its chance."""
    total = torch.zeros_like(reference)
    for way in itertools.product(range(len(reward)), repeat=n):
        best = max(way, key=lambda y: reward[y].item())  # max takes the first of several
        total[best] += reference[list(way)].exp().prod()
    return total


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 9))
def test_best_of_n_is_the_count_of_all_ways_with_ties(rewards: list[float], n: int, seed: int) -> None:
    reference = drawn(seed, len(rewards)).log_softmax(-1)
    exact = best_of_n(reference, double(*rewards), n).exp()
    torch.testing.assert_close(exact, counted(reference, double(*rewards), n))


def test_best_of_n_by_hand() -> None:
    # The best of 2 is the worst only if both are; the two that tie share 1 - 1/4 as 1 to 3.
    reference, reward = double(0.5, 0.125, 0.375).log(), double(0.0, 1.0, 1.0)
    torch.testing.assert_close(best_of_n(reference, reward, 2).exp(), double(0.25, 0.1875, 0.5625))
    torch.testing.assert_close(best_of_n(reference, reward, 1), reference)
    with pytest.raises(ValueError, match="best of 0"):
        best_of_n(reference, reward, 0)


def test_best_of_many_keeps_its_digits() -> None:
    reference, reward = double(1e-12, 1 - 2e-12, 1e-12).log(), double(2.0, 1.0, 0.0)
    many = best_of_n(reference, reward, 1000).exp()
    assert many[0].item() == pytest.approx(-math.expm1(1000 * math.log1p(-1e-12)), rel=1e-12)
    assert many.sum().item() == pytest.approx(1.0, rel=1e-12)


def test_its_kl_is_below_the_formula_and_near_it_where_completions_are_many() -> None:
    reference, reward = torch.full((2000,), -math.log(2000), dtype=torch.float64), drawn(4, 2000)
    for n in (1, 2, 8):
        exact = kl(best_of_n(reference, reward, n), reference).item()
        assert exact <= kl_best_of_n(n) + 1e-12
        assert exact == pytest.approx(kl_best_of_n(n), abs=2e-3)

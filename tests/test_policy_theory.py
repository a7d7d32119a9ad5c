"""What policy gradients and KL terms do in the mean: exact sums over completions that can be counted."""

from collections.abc import Callable

import pytest
import torch
from table_policy import (
    BETA,
    BEYOND,
    COMPLETIONS,
    MASK,
    OPTIMUM,
    PLACE,
    POLICY,
    REF_LOGP,
    REF_TOKENS,
    REFERENCE,
    REWARD,
    S,
    distance,
    in_groups,
    kl,
    less_the_mean,
    logp,
    mean_slope,
    next_token_kl,
    reached,
    slope,
    token_logp,
)
from torch import Tensor

from accord.maths.divergence import k1, k2, k3
from accord.maths.policy_gradient import (
    discounted_return,
    gae,
    leave_one_out,
    per_token_reward,
    ppo_clip,
    ppo_clip_sequence,
    reinforce,
)

SCORE_AT_END = per_token_reward(REWARD, torch.zeros(S, 3), MASK, beta=0.0)

Loss = Callable[[Tensor], Tensor]  # (B, V) logits -> (S,) or (S, T) losses of all completions


def expected_reward(logits: Tensor) -> Tensor:
    return (logp(logits).exp() * REWARD).sum()


def test_all_completions_are_counted() -> None:
    assert len(set(COMPLETIONS)) == S == 15
    assert logp(POLICY).exp().sum().item() == pytest.approx(1.0)
    assert distance(OPTIMUM, REFERENCE) > 0.1  # there is something to learn


# Estimates of the KL.


def test_k1_and_k3_have_the_kl_as_their_mean() -> None:
    exact, chance = kl(POLICY, REFERENCE).item(), logp(POLICY).exp()
    assert exact > 0.1
    for estimate in (k1, k3):
        whole = estimate(logp(POLICY), REF_LOGP)
        by_token = estimate(token_logp(POLICY), REF_TOKENS).sum(-1)
        assert (chance * whole).sum().item() == pytest.approx(exact)
        assert (chance * by_token).sum().item() == pytest.approx(exact)


KL_LOSSES: dict[str, tuple[Loss, Callable[[Tensor], Tensor]]] = {
    # loss of a completion -> what its expected gradient is the gradient of
    "k2 of the whole": (lambda z: k2(logp(z), REF_LOGP), lambda z: kl(z, REFERENCE)),
    "k3 of the whole": (lambda z: k3(logp(z), REF_LOGP), lambda z: kl(REFERENCE, z)),
    "k1": (lambda z: k1(logp(z), REF_LOGP), lambda z: 0.0 * z.sum()),
    "k2 by token": (
        lambda z: k2(token_logp(z), REF_TOKENS),
        lambda z: (reached(z).detach() * next_token_kl(z, REFERENCE)).sum(),
    ),
    "k3 by token": (
        lambda z: k3(token_logp(z), REF_TOKENS),
        lambda z: (reached(z).detach() * next_token_kl(REFERENCE, z)).sum(),
    ),
}


@pytest.mark.parametrize("name", KL_LOSSES)
def test_what_a_kl_term_in_the_loss_descends(name: str) -> None:
    loss, function = KL_LOSSES[name]
    torch.testing.assert_close(mean_slope(loss, POLICY), slope(function, POLICY), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in KL_LOSSES if name != "k2 of the whole"])
def test_only_k2_of_the_whole_descends_the_kl(name: str) -> None:
    exact = slope(lambda z: kl(z, REFERENCE), POLICY)
    assert (mean_slope(KL_LOSSES[name][0], POLICY) - exact).norm() > 0.1 * exact.norm()


def test_the_kl_in_the_reward_descends_the_kl() -> None:
    """-beta k1 at every token, each token answering for those after it."""
    terms = k1(token_logp(POLICY), REF_TOKENS)
    reward = per_token_reward(torch.zeros(S), terms, MASK, beta=BETA)
    ahead = discounted_return(reward, MASK, gamma=1.0)
    found = mean_slope(lambda z: reinforce(token_logp(z), ahead), POLICY)
    torch.testing.assert_close(found, slope(lambda z: BETA * kl(z, REFERENCE), POLICY), rtol=1e-9, atol=1e-12)


# Estimates of the gradient of the expected reward.

ANY_VALUE = torch.linspace(-1, 2, 7, dtype=torch.float64)[PLACE]
TRUE_VALUE = ((BEYOND * logp(POLICY).exp()) @ REWARD / (BEYOND * logp(POLICY).exp()).sum(-1))[PLACE]
OLD_TOKENS, OLD_LOGP = token_logp(POLICY), logp(POLICY)


def advantage(value: Tensor, lam: float) -> Tensor:
    return gae(SCORE_AT_END, value, MASK, gamma=1.0, lam=lam)


ESTIMATORS: dict[str, Loss] = {
    "reinforce": lambda z: reinforce(logp(z), REWARD),
    "reinforce with a baseline": lambda z: reinforce(logp(z), REWARD - 0.7),
    "reinforce by token": lambda z: reinforce(token_logp(z), discounted_return(SCORE_AT_END, MASK, gamma=1.0)),
    "any critic, lambda 1": lambda z: reinforce(token_logp(z), advantage(ANY_VALUE, 1.0)),
    "the true critic, lambda 0.5": lambda z: reinforce(token_logp(z), advantage(TRUE_VALUE, 0.5)),
    "the true critic, lambda 0": lambda z: reinforce(token_logp(z), advantage(TRUE_VALUE, 0.0)),
    "ppo by token": lambda z: ppo_clip(token_logp(z), OLD_TOKENS, advantage(ANY_VALUE, 1.0)),
    "ppo by sequence": lambda z: ppo_clip_sequence(logp(z), OLD_LOGP, REWARD - 0.7),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_mean_of_an_estimator_is_the_exact_gradient(name: str) -> None:
    exact = slope(expected_reward, POLICY)
    assert exact.norm() > 0.1
    torch.testing.assert_close(-mean_slope(ESTIMATORS[name], POLICY), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["reinforce", "any critic, lambda 1", "ppo by token", "ppo by sequence"])
def test_sampled_estimators_are_within_their_error(name: str) -> None:
    """4,000 samples: each of 21 components within 4.5 standard errors, those measured on the samples themselves."""
    drawn = torch.multinomial(logp(POLICY).exp(), 4000, replacement=True, generator=torch.Generator().manual_seed(0))
    each = torch.stack(  # (S, B, V)
        [slope(lambda z, y=y: -ESTIMATORS[name](z)[y].sum(), POLICY) for y in range(S)]
    )[drawn]
    error = each.std(0) / 4000**0.5
    assert error.max() < 0.1
    assert ((each.mean(0) - slope(expected_reward, POLICY)).abs() <= 4.5 * error + 1e-12).all()


def group_slope(of: Callable[[Tensor], Tensor], k: int) -> Tensor:
    weight = in_groups(of, REWARD, k, POLICY)
    return slope(lambda z: (weight * -reinforce(logp(z), torch.ones(S))).sum(), POLICY)


@pytest.mark.parametrize("k", [2, 3])
def test_leave_one_out_is_unbiased_and_the_groups_own_mean_shrinks(k: int) -> None:
    exact = slope(expected_reward, POLICY)
    torch.testing.assert_close(group_slope(leave_one_out, k), exact, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(group_slope(less_the_mean, k), (k - 1) / k * exact, rtol=1e-9, atol=1e-12)


def test_off_policy_the_sequence_ratio_is_exact_and_the_token_ratio_near() -> None:
    """Samples of another policy, no clip: importance sampling, Eq. 16's second step."""
    wide = {"cliprange": 1e6}
    exact = slope(expected_reward, POLICY)
    for size, off in ((0.2, 0.107), (0.1, 0.053), (0.02, 0.0106)):
        other = POLICY + size * (REFERENCE - POLICY)
        sequence = mean_slope(lambda z, o=other: ppo_clip_sequence(logp(z), logp(o), REWARD, **wide), POLICY, other)
        token = mean_slope(
            lambda z, o=other: ppo_clip(token_logp(z), token_logp(o), REWARD[:, None].expand(S, 3), **wide),
            POLICY,
            other,
        )
        torch.testing.assert_close(-sequence, exact, rtol=1e-9, atol=1e-12)
        assert ((-token - exact).norm() / exact.norm()).item() == pytest.approx(off, rel=0.01)

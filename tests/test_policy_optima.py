"""Where policy gradients end: their expected steps, summed over completions that can be counted, against Eq. 10."""

from collections.abc import Callable

import pytest
import torch
from table_policy import (
    BETA,
    MASK,
    OPTIMUM,
    PLACE,
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
    optimum,
    reached,
    remaining_value,
    slope,
    token_logp,
)
from torch import Tensor

from accord.maths.divergence import k1, k2, k3
from accord.maths.policy_gradient import (
    gae,
    group_advantage,
    leave_one_out,
    per_token_reward,
    ppo_clip,
    ppo_clip_sequence,
    reinforce,
    value_loss,
)

LENGTHS, ONE = MASK.sum(-1), torch.ones(S)
Loss = Callable[[Tensor], Tensor]  # (B, V) logits -> (S,) or (S, T) losses of all completions


def natural(gradient: Tensor, logits: Tensor) -> Tensor:
    """The gradient over how likely each token is: with these steps a table comes to its end in few of them."""
    return gradient / (reached(logits)[:, None] * logits.softmax(-1))


def ended(gradient: Callable[[Tensor], Tensor], rate: float = 0.7) -> Tensor:
    """(B, V) where the expected steps lead to from the reference: until nothing moves."""
    logits = REFERENCE.clone()
    for _ in range(1000):
        step = rate * natural(gradient(logits), logits)
        logits = logits - step
        if step.abs().max() < 1e-7:
            return logits
    raise AssertionError(f"still moving by {step.abs().max():.1e}")


def whole_reward(z: Tensor) -> Tensor:
    """(S,) r - beta log(pi / pi_ref), the KL of the whole completion in its reward."""
    return REWARD - BETA * k1(logp(z), REF_LOGP)


def grouped(
    of: Callable[[Tensor], Tensor], kl_loss: Loss, k: int = 3, over: Tensor = ONE, unit: float = 1.0
) -> Callable[[Tensor], Tensor]:
    """Advantages of groups of k, each divided by `over`, and beta times a KL term in the loss."""

    def gradient(z: Tensor) -> Tensor:
        weight = in_groups(of, REWARD * unit, k, z) / over
        rewarded = slope(lambda free: (weight * reinforce(logp(free), torch.ones(S))).sum(), z)
        return rewarded + BETA * mean_slope(kl_loss, z)

    return gradient


def k2_whole(z: Tensor) -> Tensor:
    return k2(logp(z), REF_LOGP)


def k2_tokens(z: Tensor) -> Tensor:
    return k2(token_logp(z), REF_TOKENS)


def k3_tokens(z: Tensor) -> Tensor:
    return k3(token_logp(z), REF_TOKENS)


def test_reinforce_ends_in_the_optimum() -> None:
    end = ended(lambda z: mean_slope(lambda free: reinforce(logp(free), whole_reward(z)), z))
    assert abs(distance(OPTIMUM, end)) < 1e-12


@pytest.mark.parametrize("k", [2, 3])
def test_leave_one_out_with_k2_ends_in_the_optimum(k: int) -> None:
    assert abs(distance(OPTIMUM, ended(grouped(leave_one_out, k2_whole, k)))) < 1e-12


def test_the_groups_own_mean_ends_in_the_optimum_of_a_larger_beta() -> None:
    end = ended(grouped(less_the_mean, k2_whole, 3))
    assert abs(distance(optimum(REFERENCE, REWARD, BETA * 3 / 2), end)) < 1e-12
    assert distance(OPTIMUM, end) > 0.01


def published(k: int, unit: float = 1.0) -> Callable[[Tensor], Tensor]:
    """GRPO, Shao et al. 2024, Eq. 3 and 4: (r - mean) / std less k3 by token, a mean over each completion's tokens."""
    return grouped(group_advantage, lambda z: k3_tokens(z) / LENGTHS[:, None], k, over=LENGTHS, unit=unit)


ELSEWHERE = {  # how they step, KL(pi* || pi) at the end, KL(pi || pi_ref) there
    "the group's own mean, K = 2": (grouped(less_the_mean, k2_whole, 2), 0.157, 0.176),
    "the group's own mean, K = 3": (grouped(less_the_mean, k2_whole, 3), 0.069, 0.306),
    "k2 by token": (grouped(leave_one_out, k2_tokens), 0.147, 1.056),
    "k3 by token": (grouped(leave_one_out, k3_tokens), 0.127, 0.792),
    "both over the length": (grouped(leave_one_out, lambda z: k2_whole(z) / LENGTHS, over=LENGTHS), 0.026, 0.786),
    "all but k2 over the length": (grouped(leave_one_out, k2_whole, over=LENGTHS), 0.266, 0.118),
    "over the spread": (grouped(group_advantage, k2_whole), 0.030, 0.651),
    "GRPO as published, K = 2": (published(2), 0.123, 0.350),
    "GRPO as published, K = 3": (published(3), 0.153, 0.694),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_ends_elsewhere(name: str) -> None:
    """The numbers of docs/policy_gradient.md. At pi* they are 0 and 0.653."""
    gradient, far, gone = ELSEWHERE[name]
    end = ended(gradient)
    assert distance(OPTIMUM, end) == pytest.approx(far, abs=6e-4)
    assert kl(end, REFERENCE).item() == pytest.approx(gone, abs=6e-4)
    assert distance(OPTIMUM, REFERENCE) == pytest.approx(0.653, abs=5e-4)


def test_grpo_as_published_ends_in_one_place_whatever_the_unit_of_rewards() -> None:
    """A tenth of the rewards is a tenth of what moves pi* from the reference."""
    end, of_tenths = ended(published(2)), ended(published(2, unit=0.1))
    assert abs(distance(logp(end).exp(), of_tenths)) < 1e-5
    near = optimum(REFERENCE, REWARD / 10, BETA)
    assert distance(near, REFERENCE) < 0.02 < 0.2 < distance(near, of_tenths)


def ppo_round(z: Tensor, critic: Tensor, epochs: int, rate: float) -> tuple[Tensor, Tensor]:
    """(B, V) logits, (B,) values -> both after epochs on the samples of one policy, told by token as in a rollout."""
    sampler, old, held = z, token_logp(z), critic[PLACE]
    reward = per_token_reward(REWARD, k1(old, REF_TOKENS), MASK, beta=BETA)
    gain = gae(reward, held, MASK, gamma=1.0, lam=0.95)
    for _ in range(epochs):
        step = mean_slope(lambda free: ppo_clip(token_logp(free), old, gain), z, sampler)
        free = critic.clone().requires_grad_()
        misses = torch.where(MASK, value_loss(free[PLACE], held, gain + held), 0.0).sum(-1)
        (fall,) = torch.autograd.grad((logp(sampler).exp() * misses).sum(), free)
        z, critic = z - rate * natural(step, z), critic - rate * fall / reached(sampler)
    return z, critic


def test_ppo_with_a_critic_ends_in_the_optimum() -> None:
    z, critic = REFERENCE, torch.zeros(7, dtype=torch.float64)
    bound = 0
    for _ in range(60):
        before = token_logp(z)
        z, critic = ppo_round(z, critic, epochs=4, rate=0.3)
        bound += ((token_logp(z) - before).exp() > 1.2).sum().item()
    assert bound > 10  # it went through the clip on its way
    assert abs(distance(OPTIMUM, z)) < 1e-12
    torch.testing.assert_close(critic, remaining_value(REFERENCE, REWARD, BETA), rtol=1e-6, atol=1e-6)


def test_ppo_by_sequence_ends_in_the_optimum() -> None:
    z = REFERENCE
    for _ in range(60):
        sampler, old, gain = z, logp(z), whole_reward(z)
        for _ in range(4):
            step = mean_slope(lambda free, o=old, a=gain: ppo_clip_sequence(logp(free), o, a), z, sampler)
            z = z - 0.3 * natural(step, z)
    assert abs(distance(OPTIMUM, z)) < 1e-12

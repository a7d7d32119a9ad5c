"""Pair losses: a value by hand for each row of the table, then laws that hold for them all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jacrev

from accord.maths.preference import PAIR_LOSSES, Pair, dpo, gradient_weight, hyperparameters, implicit_reward

# One pair whose numbers are easy: log-ratios 3 - 1 = 2 of the chosen, -4 + 1 = -3 of the rejected, so h = 5.
POLICY = Pair(torch.tensor([-7.0]), torch.tensor([-14.0]))
REFERENCE = Pair(torch.tensor([-9.0]), torch.tensor([-11.0]))
LENGTH = Pair(torch.tensor([4.0]), torch.tensor([5.0]))

BY_HAND = {
    # beta h = ln 3 with beta = ln 3 / 5, and sigma(ln 3) = 3/4.
    "sigmoid": ({"beta": math.log(3.0) / 5}, math.log(4 / 3)),
}


def pairs(*rows: tuple[float, float]) -> Pair:
    columns = torch.tensor(rows, dtype=torch.float64)
    return Pair(columns[:, 0], columns[:, 1])


def test_every_loss_has_a_value_by_hand() -> None:
    assert BY_HAND.keys() == PAIR_LOSSES.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name: str) -> None:
    hyper, expected = BY_HAND[name]
    loss = PAIR_LOSSES[name].loss(POLICY, REFERENCE, LENGTH, **hyper)
    assert loss.tolist() == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_loss_at_the_start_is_what_the_row_says(name: str) -> None:
    row, hyper = PAIR_LOSSES[name], hyperparameters(name)
    assert row.loss(POLICY, POLICY, LENGTH, **hyper).item() == pytest.approx(row.at_start(**hyper), rel=1e-6)


def test_dpo_starts_at_log_2() -> None:
    assert PAIR_LOSSES["sigmoid"].at_start(beta=0.1) == math.log(2.0)
    assert dpo(POLICY, POLICY, LENGTH, beta=7.0).item() == pytest.approx(math.log(2.0))


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_gradient_against_finite_differences(name: str) -> None:
    policy = pairs((-7.0, -14.0), (-30.0, -2.0), (-5.5, -5.0))
    reference = pairs((-9.0, -11.0), (-10.0, -10.0), (-5.0, -5.0))
    length = pairs((4.0, 5.0), (9.0, 2.0), (3.0, 3.0))

    def summed(chosen: Tensor, rejected: Tensor) -> Tensor:
        total: Tensor = PAIR_LOSSES[name].loss(Pair(chosen, rejected), reference, length, **hyperparameters(name)).sum()
        return total

    assert torch.autograd.gradcheck(summed, (policy.chosen.requires_grad_(), policy.rejected.requires_grad_()))


def test_dpo_gradient_is_equation_13() -> None:
    # h = 5 with beta = ln 3 / 5: the weight is sigma(-ln 3) = 1/4, so -beta/4 on the chosen, +beta/4 on the rejected.
    beta = math.log(3.0) / 5
    chosen, rejected = POLICY.chosen.clone().requires_grad_(), POLICY.rejected.clone().requires_grad_()
    loss = dpo(Pair(chosen, rejected), REFERENCE, LENGTH, beta=beta).sum()
    chosen_gradient, rejected_gradient = torch.autograd.grad(loss, (chosen, rejected))
    assert gradient_weight(POLICY, REFERENCE, beta=beta).item() == pytest.approx(0.25)
    assert chosen_gradient.item() == pytest.approx(-beta / 4)
    assert rejected_gradient.item() == pytest.approx(beta / 4)


def test_implicit_rewards() -> None:
    reward = implicit_reward(POLICY, REFERENCE, LENGTH, beta=0.5)
    assert (reward.chosen.item(), reward.rejected.item()) == (1.0, -1.5)


def test_the_weight_is_high_where_the_reward_is_wrong() -> None:
    swapped_policy, swapped_reference = Pair(*POLICY[::-1]), Pair(*REFERENCE[::-1])
    right, wrong = (
        gradient_weight(POLICY, REFERENCE, beta=1.0),
        gradient_weight(swapped_policy, swapped_reference, beta=1.0),
    )
    assert right.item() < 0.01 < 0.99 < wrong.item()
    assert (right + wrong).item() == pytest.approx(1.0)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_shifting_policy_and_reference_alike_changes_nothing(chosen: float, rejected: float) -> None:
    shift = Pair(torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected], dtype=torch.float64))
    moved = [Pair(p.chosen + shift.chosen, p.rejected + shift.rejected) for p in (POLICY, REFERENCE)]
    assert dpo(moved[0], moved[1], LENGTH).item() == pytest.approx(dpo(POLICY, REFERENCE, LENGTH).item(), rel=1e-6)


def test_dpo_stays_finite_far_away() -> None:
    policy, reference = pairs((-1e4, 0.0), (0.0, -1e4)), pairs((0.0, 0.0), (0.0, 0.0))
    assert dpo(policy, reference, policy, beta=1.0).tolist() == pytest.approx([1e4, 0.0])


def test_hyperparameters_are_read_from_the_signature() -> None:
    assert hyperparameters("sigmoid") == {"beta": 0.1}


def test_dpo_ends_in_the_optimum() -> None:
    """Equations 10 and 11 on four completions: every pair, weighted with its exact Bradley-Terry probability."""
    beta, reward = 0.5, torch.tensor([1.0, 0.0, -0.5, 0.3], dtype=torch.float64)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    unnormalised = reference * torch.exp(reward / beta)
    z = unnormalised.sum()
    winner, loser = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    probability = torch.exp(reward[winner]) / (torch.exp(reward[winner]) + torch.exp(reward[loser]))

    # Newton's method; the Hessian does not see a common shift of the logits, so its pseudo-inverse.
    logits = torch.zeros(4, dtype=torch.float64)

    def expected_loss(logits: Tensor) -> Tensor:
        logp, logref = logits.log_softmax(-1), reference.log()
        sides = Pair(logp[winner], logp[loser]), Pair(logref[winner], logref[loser])
        return (probability * dpo(*sides, sides[0], beta=beta)).sum()

    for _ in range(20):
        logits = logits - torch.linalg.pinv(jacrev(grad(expected_loss))(logits)) @ grad(expected_loss)(logits)
    logp = logits.log_softmax(-1)
    torch.testing.assert_close(logp.exp(), unnormalised / z, rtol=1e-6, atol=1e-8)
    learnt = implicit_reward(Pair(logp, logp), Pair(reference.log(), reference.log()), Pair(logp, logp), beta=beta)
    torch.testing.assert_close(learnt.chosen + beta * z.log(), reward, rtol=1e-6, atol=1e-6)

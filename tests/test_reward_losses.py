"""The losses of reward models: values by hand, gradients, symmetries, and what one is of another."""

import math
from itertools import combinations, permutations

import losses_page
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.maths.pair import hyperparameters
from accord.maths.reward import REWARD_LOSSES, bradley_terry, centring, davidson, plackett_luce, smoothed
from accord.maths.surrogates import SURROGATES

LN2, LN3 = math.log(2), math.log(3)
PAIRS = [name for name, row in REWARD_LOSSES.items() if row.of == "pairs"]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# gap, target, margin -> the loss. sigma(ln 3) = 3/4, sigma(-ln 3) = 1/4.
BY_HAND = {
    "bradley_terry": [
        (0.0, 1.0, 0.0, LN2),
        (LN3, 1.0, 0.0, math.log(4 / 3)),
        (LN3, 0.0, 0.0, math.log(4)),
        (LN3, 0.5, 0.0, math.log(4 / 3) / 2 + math.log(4) / 2),
        (2 * LN3, 1.0, LN3, math.log(4 / 3)),  # LLaMA-2's: -log sigma(r_w - r_l - m)
        (0.0, 1.0, LN3, math.log(4)),
        (0.0, 0.75, LN3, math.log(4)),  # either side is short of the margin
    ],
    "hinge": [
        (0.25, 1.0, 0.0, 0.75),
        (2.0, 1.0, 0.0, 0.0),
        (2.0, 0.0, 0.0, 3.0),
        (2.0, 1.0, 1.5, 0.5),
        (0.5, 0.5, 0.0, (0.5 + 1.5) / 2),
    ],
    "exponential": [
        (LN2, 1.0, 0.0, 0.5),
        (LN2, 0.0, 0.0, 2.0),
        (LN2, 1.0, LN3, 1.5),
        (LN2, 0.25, 0.0, 0.25 * 0.5 + 0.75 * 2),
    ],
    # nu = 1: e^(g/2) : 1 : e^(-g/2) = 2 : 1 : 1/2 at g = 2 ln 2.
    "davidson": [
        (0.0, 1.0, 0.0, LN3),
        (0.0, 0.5, 0.0, LN3),
        (2 * LN2, 1.0, 0.0, math.log(3.5 / 2)),
        (2 * LN2, 0.5, 0.0, math.log(3.5)),
        (2 * LN2, 0.0, 9.0, math.log(3.5 / 0.5)),  # it has no margins
    ],
}


def values(name: str, gap: Tensor, target: Tensor, margin: Tensor, **hyper: float) -> Tensor:
    row = REWARD_LOSSES[name]
    found: Tensor = row.loss(gap, target, margin, **(hyperparameters(row.loss) | hyper))
    return found


def test_every_pair_loss_has_values_by_hand() -> None:
    assert list(BY_HAND) == PAIRS


@pytest.mark.parametrize("name", PAIRS)
def test_value_by_hand(name: str) -> None:
    gap, target, margin, expected = (column(*numbers) for numbers in zip(*BY_HAND[name], strict=True))
    torch.testing.assert_close(values(name, gap, target, margin), expected)


@pytest.mark.parametrize("name", PAIRS)
def test_either_side_may_be_first(name: str) -> None:
    gap, target, margin = column(0.3, -1.2, 2.0), column(1.0, 0.5, 0.0), column(0.0, 0.7, 1.0)
    torch.testing.assert_close(values(name, gap, target, margin), values(name, -gap, 1 - target, margin))


@pytest.mark.parametrize("name", PAIRS)
def test_a_win_pulls_the_rewards_apart_and_a_tie_pulls_them_together(name: str) -> None:
    zero = column(0.0)

    def slope(gap: float, target: float) -> float:
        at = column(gap).requires_grad_()
        (found,) = torch.autograd.grad(values(name, at, column(target), zero).sum(), at)
        return found.item()

    assert slope(0.2, 1.0) < 0 < slope(0.2, 0.0)
    assert slope(1.5, 0.5) > 0 > slope(-1.5, 0.5)


@pytest.mark.parametrize("name", PAIRS)
def test_gradient_against_finite_differences(name: str) -> None:
    target, margin = column(1.0, 1.0, 0.5, 0.8, 0.0), column(0.0, 0.7, 0.0, 0.0, 0.2)
    gap = column(0.3, -1.1, 0.4, 2.5, 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda at: values(name, at, target, margin), [gap])


@pytest.mark.parametrize("name", PAIRS)
def test_float32_stays_finite_far_away(name: str) -> None:
    gap = torch.tensor([1e4, -1e4, 300.0, -300.0], requires_grad=True)
    for target in (0.0, 0.5, 1.0):
        loss = values(name, gap, torch.full((4,), target), torch.zeros(4))
        (gradient,) = torch.autograd.grad(loss.sum(), gap)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all() and gradient.isfinite().all()


def test_label_smoothing_by_hand() -> None:
    """eps = 0.1: 9/10 of -log sigma(ln 3), 1/10 of -log sigma(-ln 3)."""
    target = smoothed(column(1.0, 0.0, 0.5), 0.1)
    assert target.tolist() == pytest.approx([0.9, 0.1, 0.5])
    found = bradley_terry(column(LN3), target[:1], column(0.0))
    assert found.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_centring_by_hand() -> None:
    assert centring(column(2.0, -1.0), column(-0.5, 1.0)).tolist() == [2.25, 0.0]


@given(st.floats(-30, 30), st.floats(0.01, 50))
def test_davidson_gives_three_outcomes_that_sum_to_one(gap: float, nu: float) -> None:
    targets, same = column(1.0, 0.5, 0.0), column(gap, gap, gap)
    win, tie, loss = davidson(same, targets, column(0, 0, 0), tie_strength=nu).neg().exp().tolist()
    assert win + tie + loss == pytest.approx(1.0)
    assert math.log(win) - math.log(loss) == pytest.approx(gap)  # rewards keep Bradley and Terry's meaning
    assert tie == pytest.approx(nu * math.sqrt(win * loss), rel=1e-6)


def test_davidson_without_ties_is_bradley_terry() -> None:
    gap, target = column(-3.0, 0.4, 7.0), column(1.0, 1.0, 0.0)
    found = davidson(gap, target, column(0, 0, 0), tie_strength=1e-12)
    torch.testing.assert_close(found, bradley_terry(gap, target, column(0, 0, 0)))


def test_plackett_luce_by_hand() -> None:
    """Exponentials 4, 2 and 1: 4/7 x 2/3, turned round 1/7 x 2/6; a place without a completion may hold anything."""
    rewards = torch.tensor([[2 * LN2, LN2, 0.0], [2 * LN2, LN2, 0.0], [3 * LN2, 0.0, math.nan]])
    found = plackett_luce(rewards, torch.tensor([[1, 2, 3], [3, 2, 1], [1, 2, 0]]))
    expected = [-math.log(4 / 7 * 2 / 3), -math.log(1 / 7 * 2 / 6), -math.log(8 / 9)]
    assert found.tolist() == pytest.approx(expected)
    every = torch.tensor(list(permutations([1, 2, 3])))
    assert plackett_luce(rewards[:1].expand(6, 3), every).neg().exp().sum().item() == pytest.approx(1.0)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_plackett_luce_of_two_is_bradley_terry(one: float, other: float) -> None:
    found = plackett_luce(column(one, other)[None], torch.tensor([[1, 2]]))
    torch.testing.assert_close(found, bradley_terry(column(one - other), column(1.0), column(0.0)))


def test_plackett_luce_gradient_against_finite_differences() -> None:
    ranks = torch.tensor([[2, 1, 3, 2], [1, 2, 0, 0]])
    rewards = torch.tensor([[0.5, -0.2, 1.0, 0.3], [1.0, 2.0, 9.0, 9.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda at: plackett_luce(at, ranks), [rewards])
    (gradient,) = torch.autograd.grad(plackett_luce(rewards, ranks).sum(), rewards)
    assert gradient[1, 2:].tolist() == [0.0, 0.0]


def test_all_pairs_of_a_group_by_hand() -> None:
    """Equation 6 with K = 3: the mean over three pairs, of rewards ln 3, 0 and -ln 3 in this order."""
    rewards = column(LN3, 0.0, -LN3)
    gaps = torch.stack([rewards[i] - rewards[j] for i, j in combinations(range(3), 2)])
    found = bradley_terry(gaps, torch.ones_like(gaps), torch.zeros_like(gaps)).mean()
    # sigma(ln 3) twice, and sigma(2 ln 3) = 9/10.
    assert found.item() == pytest.approx((2 * math.log(4 / 3) + math.log(10 / 9)) / 3)


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_bound_the_zero_one_loss(name: str) -> None:
    margin = torch.linspace(-3, 3, 61, dtype=torch.float64)
    scale = LN2 if name == "logistic" else 1.0
    assert (SURROGATES[name](margin) / scale >= (margin <= 0).double() - 1e-12).all()


@pytest.mark.parametrize("name", REWARD_LOSSES)
def test_every_loss_says_its_formula_and_where_it_ends(name: str) -> None:
    row = REWARD_LOSSES[name]
    for text in (losses_page.formula(row.loss), row.optimum, row.source):
        assert 3 < len(text) < 200

"""Plackett-Luce on implicit rewards: values by hand, DPO as its smallest case, ties, absent completions."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.maths.gap_losses import dpo
from accord.maths.pair import Pair, hyperparameters
from accord.maths.ranking import RANKING_LOSSES, plackett_luce

LN2 = math.log(2)
# With beta = ln 2 the exponentials of the rewards are 4, 2 and 1, and those of the second ranking 8 and 1.
POLICY = torch.tensor([[-3.0, -4.0, -5.0], [-2.0, -7.0, math.nan]])
REFERENCE = torch.tensor([[-5.0, -5.0, -5.0], [-5.0, -7.0, math.nan]])
LENGTH = torch.ones(2, 3)


def loss_of(ranks: list[list[int]], beta: float = LN2) -> list[float]:
    found: list[float] = plackett_luce(POLICY, REFERENCE, LENGTH, torch.tensor(ranks), beta=beta).tolist()
    return found


def test_value_by_hand() -> None:
    # 4/7 * 2/3, then 8/9; the third place of the second ranking holds nothing.
    assert loss_of([[1, 2, 3], [1, 2, 0]]) == pytest.approx([-math.log(4 / 7 * 2 / 3), -math.log(8 / 9)])
    # 1/7 * 2/6, the order turned round; 1/9.
    assert loss_of([[3, 2, 1], [2, 1, 0]]) == pytest.approx([-math.log(1 / 7 * 2 / 6), -math.log(1 / 9)])


def test_tied_completions_are_not_compared() -> None:
    # 4 and 2 tied above 1: 4/5 * 2/3. All tied: nothing is said. 1 tied with 4 below 2: 2/7.
    assert loss_of([[1, 1, 2], [1, 1, 0]]) == pytest.approx([-math.log(4 / 5 * 2 / 3), 0.0])
    assert loss_of([[7, 3, 7], [5, 9, 0]]) == pytest.approx([-math.log(2 / 7), -math.log(8 / 9)])


def test_probabilities_of_all_rankings_sum_to_one() -> None:
    policy, reference = POLICY[:1].expand(6, 3), REFERENCE[:1].expand(6, 3)
    ranks = torch.tensor(list(permutations([1, 2, 3])))
    assert plackett_luce(policy, reference, LENGTH, ranks, beta=0.7).neg().exp().sum().item() == pytest.approx(1.0)


@given(*[st.floats(-20, 20)] * 4)
def test_two_completions_are_dpo(chosen: float, rejected: float, above: float, below: float) -> None:
    policy, reference = (torch.tensor([row], dtype=torch.float64) for row in ((chosen, rejected), (above, below)))
    found = plackett_luce(policy, reference, LENGTH, torch.tensor([[1, 2]]), beta=0.3)
    sides = [Pair(row[:, 0], row[:, 1]) for row in (policy, reference)]
    torch.testing.assert_close(found, dpo(*sides, sides[0], beta=0.3))


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_order_of_the_places_does_not_matter(name: str) -> None:
    row, ranks = RANKING_LOSSES[name], torch.tensor([[1, 2, 3], [2, 1, 0]])
    order = [2, 0, 1]
    before = row.loss(POLICY, REFERENCE, LENGTH, ranks, **hyperparameters(row.loss))
    after = row.loss(*(part[:, order] for part in (POLICY, REFERENCE, LENGTH, ranks)), **hyperparameters(row.loss))
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_loss_at_the_start_is_what_the_row_says(name: str) -> None:
    # One of three and one of two; three places of which two tie at the top: one of two, twice.
    row, ranks = RANKING_LOSSES[name], torch.tensor([[1, 2, 3], [1, 2, 0], [1, 1, 2]])
    hyper, policy = hyperparameters(row.loss), torch.tensor([[-3.0, -4.0, -5.0]]).expand(3, 3)
    found = row.loss(policy, policy, policy, ranks, **hyper)
    assert found.tolist() == pytest.approx([math.log(6), math.log(2), math.log(4)])
    assert row.at_start(ranks, **hyper).tolist() == pytest.approx(found.tolist())


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_gradient_against_finite_differences(name: str) -> None:
    row, ranks = RANKING_LOSSES[name], torch.tensor([[2, 1, 3, 2], [1, 2, 0, 0]])
    reference = torch.tensor([[-5.0, -6.0, -4.0, -7.0], [-3.0, -2.0, 0.0, 0.0]], dtype=torch.float64)

    def loss(policy: Tensor) -> Tensor:
        found: Tensor = row.loss(policy, reference, reference, ranks, **hyperparameters(row.loss))
        return found

    assert torch.autograd.gradcheck(loss, [(reference * 1.7).requires_grad_()])


def test_what_stands_in_absent_places_has_no_gradient() -> None:
    policy = POLICY.clone().requires_grad_()
    loss = plackett_luce(policy, REFERENCE, LENGTH, torch.tensor([[1, 2, 3], [1, 2, 0]]), beta=LN2)
    (gradient,) = torch.autograd.grad(loss.sum(), policy)
    assert gradient.isfinite().all()
    assert gradient[1].tolist() == pytest.approx([-LN2 / 9, LN2 / 9, 0.0])


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_float32_stays_finite_far_away(name: str) -> None:
    policy = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    for ranks in ([1, 2, 3], [3, 2, 1], [2, 1, 1]):
        loss = RANKING_LOSSES[name].loss(policy, torch.zeros(1, 3), policy, torch.tensor([ranks]), beta=1.0)
        (gradient,) = torch.autograd.grad(loss.sum(), policy)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all() and gradient.isfinite().all()


def test_reward_is_the_scaled_log_ratio() -> None:
    reward = RANKING_LOSSES["plackett_luce"].reward(
        POLICY, REFERENCE, LENGTH, torch.tensor([[1, 2, 3], [1, 2, 0]]), beta=0.5
    )
    assert reward.tolist() == [[1.0, 0.5, 0.0], [1.5, 0.0, 0.0]]

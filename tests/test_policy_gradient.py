"""Advantages, whitening and the losses of policy gradients: worked by hand, and their laws."""

import math

import pytest
import torch
from torch import Tensor

from accord.maths.policy_gradient import (
    approx_kl,
    clipped,
    discounted_return,
    explained_variance,
    gae,
    group_advantage,
    leave_one_out,
    moving_mean,
    per_token_reward,
    ppo_clip,
    ppo_clip_sequence,
    reinforce,
    scale_to_unit,
    value_clipped,
    value_loss,
    whiten,
)

NAN = math.nan


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def upto(*lengths: int, width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


# Two rows of lengths 3 and 1; the padding holds what must not matter.
MASK = upto(3, 1, width=4)
REWARD = rows([1.0, 0.0, 2.0, NAN], [3.0, 9.0, NAN, 9.0])
VALUE = rows([0.5, 1.0, -1.0, NAN], [2.0, 7.0, 7.0, NAN])


def random_rows(seed: int, *lengths: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), width)
    reward, value = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return reward, value, upto(*lengths, width=width)


def test_gae_by_hand() -> None:
    # gamma 0.5, lambda 0.5: delta = (1 + 0.5 - 0.5, 0 - 0.5 - 1, 2 + 1) = (1, -1.5, 3) and 3 - 2;
    # A_2 = 3, A_1 = -1.5 + 3 / 4, A_0 = 1 - 0.75 / 4.
    expected = rows([0.8125, -0.75, 3.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(gae(REWARD, VALUE, MASK, gamma=0.5, lam=0.5), expected)


def test_returns_by_hand() -> None:
    expected = rows([1.0 + 0.0 + 0.25 * 2.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(discounted_return(REWARD, MASK, gamma=0.5), expected)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_lambda_1_is_the_monte_carlo_return_minus_the_value(gamma: float) -> None:
    reward, value, mask = random_rows(0, 5, 3, 1, width=6)
    advantage = gae(reward, value, mask, gamma=gamma, lam=1.0)
    for row, length in enumerate((5, 3, 1)):
        for t in range(length):
            total = sum(gamma ** (s - t) * reward[row, s].item() for s in range(t, length))
            assert advantage[row, t].item() == pytest.approx(total - value[row, t].item())


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_lambda_0_is_the_td_error(gamma: float) -> None:
    reward, value, mask = random_rows(1, 5, 3, 1, width=6)
    advantage = gae(reward, value, mask, gamma=gamma, lam=0.0)
    for row, length in enumerate((5, 3, 1)):
        for t in range(length):
            following = value[row, t + 1].item() if t + 1 < length else 0.0
            assert advantage[row, t].item() == pytest.approx(
                reward[row, t].item() + gamma * following - value[row, t].item()
            )


def test_gae_is_the_weighted_mean_of_all_n_step_advantages() -> None:
    """Schulman et al. 2016, Eq. 16, first line: (1 - lam) sum_n lam^(n-1) A^(n), the rest of the weight on the last."""
    reward, value, mask = random_rows(2, 4, width=4)
    gamma, lam = 0.9, 0.7
    steps = [
        sum(gamma**i * reward[0, i].item() for i in range(n))
        + (gamma**n * value[0, n].item() if n < 4 else 0.0)
        - value[0, 0].item()
        for n in (1, 2, 3, 4)
    ]
    expected = (1 - lam) * sum(lam ** (n - 1) * steps[n - 1] for n in (1, 2, 3)) + lam**3 * steps[3]
    assert gae(reward, value, mask, gamma=gamma, lam=lam)[0, 0].item() == pytest.approx(expected)


def test_the_reward_of_tokens_by_hand() -> None:
    kl = rows([0.5, -1.0, 2.0, NAN], [0.25, NAN, NAN, NAN], [NAN, NAN, NAN, NAN])
    reward = per_token_reward(torch.tensor([10.0, -4.0, 7.0]).double(), kl, upto(3, 1, 0, width=4), beta=0.1)
    expected = rows([-0.05, 0.1, 9.8, 0.0], [-4.025, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(reward, expected)


def test_the_score_of_a_full_row_is_at_its_end() -> None:
    reward = per_token_reward(torch.ones(1), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), beta=0.1)
    assert reward.tolist() == [[0.0, 0.0, 1.0]]


def test_leave_one_out_by_hand() -> None:
    # 6 - (0 + 3) / 2, 0 - (6 + 3) / 2, 3 - (6 + 0) / 2
    assert leave_one_out(rows([6.0, 0.0, 3.0])).tolist() == [[4.5, -4.5, 0.0]]


def test_group_advantages_by_hand() -> None:
    # Mean 3, squares of deviations 9 + 9 + 0, over K - 1 = 2: the spread is 3.
    assert group_advantage(rows([6.0, 0.0, 3.0]), epsilon=0.0).tolist() == [[1.0, -1.0, 0.0]]
    assert group_advantage(rows([6.0, 0.0, 3.0]), epsilon=3.0).tolist() == [[0.5, -0.5, 0.0]]
    assert group_advantage(torch.full((1, 3), 0.1)).tolist() == [[0.0, 0.0, 0.0]]
    scaled = group_advantage(rows([60.0, 0.0, 30.0]) + 7, epsilon=0.0)  # neither unit nor origin count
    torch.testing.assert_close(scaled, rows([1.0, -1.0, 0.0]))


@pytest.mark.parametrize("advantage", [leave_one_out, group_advantage])
def test_a_completion_alone_has_no_others(advantage: object) -> None:
    with pytest.raises(ValueError, match="at least 2 completions of a prompt, not 1"):
        advantage(torch.zeros(3, 1))  # type: ignore[operator]


def test_the_moving_mean_by_hand() -> None:
    assert moving_mean(torch.tensor(2.0), torch.tensor(12.0), decay=0.9).item() == pytest.approx(3.0)


def test_whitening_by_hand() -> None:
    # Mean 2, biased variance (1 + 4 + 1 + 4) / 4 = 5 / 2 of the four that count.
    x, mask = rows([1.0, 4.0, NAN], [3.0, 0.0, 100.0]), upto(2, 2, width=3)
    root = math.sqrt(2.5)
    expected = rows([-1 / root, 2 / root, 0.0], [1 / root, -2 / root, 0.0])
    torch.testing.assert_close(whiten(x, mask, epsilon=0.0), expected)
    torch.testing.assert_close(scale_to_unit(x, mask, epsilon=0.0), torch.where(mask, expected + 2, 0.0))


def test_whitened_entries_have_mean_0_and_variance_1() -> None:
    x, _, mask = random_rows(3, 5, 3, 1, width=6)
    counted = whiten(7 * x + 100, mask)[mask]
    assert counted.mean().item() == pytest.approx(0.0, abs=1e-9)
    assert counted.var(correction=0).item() == pytest.approx(1.0, rel=1e-6)
    scaled = scale_to_unit(7 * x + 100, mask)[mask]
    assert scaled.mean().item() == pytest.approx((7 * x + 100)[mask].mean().item())
    assert scaled.var(correction=0).item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("value", [0.1, -123.4])
def test_equal_entries_have_nothing_to_whiten(value: float) -> None:
    x, mask = torch.full((7, 13), value), upto(*range(1, 8), width=13)
    assert whiten(x, mask).abs().max().item() == 0.0
    torch.testing.assert_close(scale_to_unit(x, mask), torch.where(mask, x, 0.0))
    assert whiten(x, torch.zeros_like(mask)).abs().max().item() == 0.0


def test_padding_changes_nothing() -> None:
    """Another column of padding, whatever stands in it, and rows in another order."""
    reward, value, mask = random_rows(4, 5, 2, width=5)
    order = torch.tensor([1, 0])

    def padded(x: Tensor, filling: float) -> Tensor:
        return torch.cat([torch.where(mask, x, filling), torch.full((2, 1), filling)], dim=1)[order]

    wider = upto(2, 5, width=6)
    for function in (
        lambda r, v, m: gae(r, v, m, gamma=0.9, lam=0.8),
        lambda r, v, m: discounted_return(r, m, gamma=0.9),
        lambda r, v, m: whiten(r, m),
        lambda r, v, m: scale_to_unit(r, m),
        lambda r, v, m: per_token_reward(torch.zeros(2), r, m, beta=0.3),
    ):
        plain = function(reward, value, mask)
        for filling in (NAN, 1e6):
            again = function(padded(reward, filling), padded(value, filling), wider)
            torch.testing.assert_close(again[order][:, :5], plain, rtol=1e-12, atol=1e-12)
            assert (again[~wider] == 0).all()


def test_padding_has_no_gradient() -> None:
    value = torch.where(MASK, VALUE, 5.0).requires_grad_()
    gae(REWARD, value, MASK, gamma=0.5, lam=0.5).sum().backward()
    assert value.grad is not None and (value.grad[~MASK] == 0).all() and value.grad.isfinite().all()


def test_reinforce_by_hand() -> None:
    logp = torch.tensor([0.5, 0.25]).log().requires_grad_()
    loss = reinforce(logp, torch.tensor([2.0, -4.0]))
    assert loss.tolist() == pytest.approx([2 * math.log(2), -4 * math.log(4)])
    loss.sum().backward()
    assert logp.grad is not None and logp.grad.tolist() == [-2.0, 4.0]


# ratio, advantage, loss, d loss / d log pi, clipped; eps = 0.25
PPO = [
    (1.0, 2.0, -2.0, -2.0, False),
    (1.2, 2.0, -2.4, -2.4, False),
    (1.5, 2.0, -2.5, 0.0, True),  # 1.25 * 2
    (0.5, 2.0, -1.0, -1.0, False),  # worse than before: no clip holds it there
    (0.5, -2.0, 1.5, 0.0, True),  # 0.75 * -2
    (0.8, -2.0, 1.6, 1.6, False),
    (1.5, -2.0, 3.0, 3.0, False),
    (1.5, 0.0, 0.0, 0.0, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "slope", "binds"), PPO)
def test_ppo_clip_by_hand(ratio: float, advantage: float, loss: float, slope: float, binds: bool) -> None:
    old = torch.tensor([-1.0], dtype=torch.float64)
    logp = (old + math.log(ratio)).requires_grad_()
    for function in (ppo_clip, ppo_clip_sequence):
        found = function(logp, old, torch.tensor([advantage]).double(), cliprange=0.25)
        assert found.item() == pytest.approx(loss)
        (gradient,) = torch.autograd.grad(found.sum(), logp)
        assert gradient.item() == pytest.approx(slope)
    assert clipped(logp, old, torch.tensor([advantage]), cliprange=0.25).tolist() == [binds]


def test_at_ratio_1_ppo_is_reinforce() -> None:
    logp = torch.randn(9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    advantage = torch.linspace(-2, 2, 9)
    (clip,) = torch.autograd.grad(ppo_clip(logp, logp.detach(), advantage).sum(), logp)
    (plain,) = torch.autograd.grad(reinforce(logp, advantage).sum(), logp)
    torch.testing.assert_close(clip, plain)


def test_no_ratio_is_too_large() -> None:
    logp, old = torch.tensor([0.0, 0.0]).requires_grad_(), torch.tensor([-500.0, -500.0])
    loss = ppo_clip(logp, old, torch.tensor([-1.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and logp.grad is not None and logp.grad.isfinite().all()
    assert loss[0] > 1e17 and loss[1] == 0


def test_ratios_of_half_precision_are_float32() -> None:
    logp, old = torch.tensor([-5.0]).bfloat16(), torch.tensor([-5.0009765625])
    assert ppo_clip(logp, old, torch.ones(1)).item() == pytest.approx(-math.exp(0.0009765625), rel=1e-6)
    assert approx_kl(logp, old).item() == pytest.approx(0.5 * 0.0009765625**2, rel=1e-3)


def test_approx_kl_by_hand() -> None:
    assert approx_kl(torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.25]).log()).tolist() == pytest.approx(
        [0.5 * math.log(2) ** 2, 0.0]
    )


# value, old, target, loss, d loss / d value, clipped; eps = 0.5
CRITIC = [
    (1.25, 1.0, 2.0, 0.5 * 0.75**2, -0.75, False),
    (3.0, 1.0, 2.0, 0.5 * 1.0, 1.0, False),  # held at 1.5, it would be nearer
    (2.5, 1.0, 2.0, 0.5 * 0.25, 0.25, False),  # as near: both halves of the maximum share the gradient
    (2.2, 1.0, 2.0, 0.5 * 0.25, 0.0, True),
    (-1.0, 1.0, 2.0, 0.5 * 9.0, -3.0, False),
    (0.0, 1.0, -3.0, 0.5 * 3.5**2, 0.0, True),  # held at 0.5
]


@pytest.mark.parametrize(("value", "old", "target", "loss", "slope", "binds"), CRITIC)
def test_value_loss_by_hand(value: float, old: float, target: float, loss: float, slope: float, binds: bool) -> None:
    v, before, aim = (torch.tensor([x], dtype=torch.float64) for x in (value, old, target))
    found = value_loss(v.requires_grad_(), before, aim, cliprange_value=0.5)
    assert found.item() == pytest.approx(loss)
    assert torch.autograd.grad(found, v)[0].item() == pytest.approx(slope)
    assert value_clipped(v, before, aim, cliprange_value=0.5).tolist() == [binds]


def test_explained_variance_by_hand() -> None:
    target, mask = rows([1.0, 3.0, NAN]), upto(2, width=3)
    assert explained_variance(target, target, mask).item() == 1.0
    assert explained_variance(target + 5, target, mask).item() == 1.0  # a constant error
    assert explained_variance(torch.zeros(1, 3), target, mask).item() == 0.0
    # Errors 1 - 3 and 3 - 1: variance 4 beside 1.
    assert explained_variance(rows([3.0, 1.0, 0.0]), target, mask).item() == -3.0


def test_nothing_to_explain_is_nan() -> None:
    constant = torch.full((1, 3), 0.1, dtype=torch.float64)  # whose mean is not 0.1 to the last digit
    value = torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    assert explained_variance(value, constant, everywhere).isnan()
    assert explained_variance(value, value, ~everywhere).isnan()

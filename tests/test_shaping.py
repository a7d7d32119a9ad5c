"""From scores to advantages: every choice worked out by hand."""

import math

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from accord.data.ranges import Ranges
from accord.training.shaping import Round, Settings, Shaping, Spread, advantages

SCORE = torch.tensor([2.0, -1.0, 4.0], dtype=torch.float64)
ENDED = torch.tensor([True, False, True])


def round_of(
    reward: list[float], lengths: list[int], *, samples: int, kl: float = 0.0, value: float = 0.0, beta: float = 0.0
) -> Round:
    """Of prompts with so many samples each."""
    groups = [tiny.group(2, lengths[start : start + samples]) for start in range(0, len(lengths), samples)]
    ranges = Ranges.of_groups(groups)
    tokens = int(ranges.end[-1])
    rewards = torch.tensor(reward, dtype=torch.float64)
    return Round(ranges, rewards, torch.full((tokens,), kl), torch.full((tokens,), value), beta)


def close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


# ---- the reward of a sample ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shaping", "expected"),
    [
        (Shaping(), [2.0, -1.0, 4.0]),
        (Shaping("subtract", 3.0), [2.0, -4.0, 4.0]),
        (Shaping("replace", 3.0), [2.0, -3.0, 4.0]),
        (Shaping("mask", 3.0), [2.0, -1.0, 4.0]),  # left out of the loss, not of the rewards
        (Shaping(clip=2.5), [2.0, -1.0, 2.5]),
        (Shaping("subtract", 3.0, clip=2.5), [2.0, -2.5, 2.5]),
    ],
    ids=str,
)
def test_cut_samples_and_bounds(shaping: Shaping, expected: list[float]) -> None:
    spread = Spread()
    assert shaping.reward(SCORE, ENDED, spread).tolist() == expected
    assert spread == Spread()  # nothing is kept that is not asked for
    assert SCORE.tolist() == [2.0, -1.0, 4.0]


def test_rewards_are_divided_by_the_spread_of_all_so_far() -> None:
    spread, shaping = Spread(), Shaping("replace", 1.0, scaled=True)
    first = shaping.reward(SCORE, ENDED, spread)  # 2, -1, 4: mean 5/3, variance 38/9
    close(first, [2 / math.sqrt(38 / 9), -1 / math.sqrt(38 / 9), 4 / math.sqrt(38 / 9)])
    second = shaping.reward(torch.tensor([0.0], dtype=torch.float64), torch.tensor([True]), spread)
    assert second.item() == 0.0 and spread.count == 4
    assert (spread.mean, spread.std) == pytest.approx((5 / 4, np.std([2, -1, 4, 0])))


def test_bounds_hold_for_what_was_scaled() -> None:
    big = torch.tensor([100.0, -100.0], dtype=torch.float64)
    found = Shaping(scaled=True, clip=0.5).reward(big, torch.tensor([True, True]), Spread())
    assert found.tolist() == [0.5, -0.5]


def test_a_running_spread_is_that_of_all_numbers_at_once() -> None:
    """Far from 0, where sums of squares would have no digits left."""
    numbers = 1e5 + np.random.default_rng(0).normal(size=1000)
    spread = Spread()
    for part in np.split(numbers, [1, 2, 30, 700]):
        spread.add(torch.from_numpy(part))
    assert (spread.count, spread.mean) == (1000, pytest.approx(numbers.mean(), rel=1e-12))
    assert spread.std == pytest.approx(numbers.std(), rel=1e-9)


def test_equal_rewards_are_divided_by_1() -> None:
    """Whatever rounding makes of 0.1 + 0.1 + 0.1."""
    spread = Spread()
    equal = torch.full((3,), 0.1, dtype=torch.float64)
    assert Shaping(scaled=True).reward(equal, torch.ones(3, dtype=torch.bool), spread).tolist() == [0.1] * 3
    equal[1] += 1e-9  # a model's, computed in another micro-batch
    assert Shaping(scaled=True).reward(equal, torch.ones(3, dtype=torch.bool), spread).tolist() == equal.tolist()


# ---- advantages ----------------------------------------------------------------------------------------------------


def test_the_kl_of_a_sample_is_taken_off_its_reward() -> None:
    """Two prompts with two samples of 1, 2, 3 and 1 tokens, 0.5 nats each, beta 2."""
    given = round_of([3.0, 1.0, 0.0, 4.0], [1, 2, 3, 1], samples=2, kl=0.5, beta=2.0)
    assert given.whole.tolist() == [2.0, -1.0, -3.0, 3.0]
    assert given.by_prompt.tolist() == [[2.0, -1.0], [-3.0, 3.0]]


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_less_the_others_by_hand(name: str) -> None:
    given = round_of([3.0, 1.0, 2.0, 5.0, 5.0, 5.0], [1, 2, 1, 1, 1, 3], samples=3)
    found = advantages(name, given, Settings(), math.nan)
    close(found.advantage, [1.5, -1.5, -1.5, 0.0, 0, 0, 0, 0, 0])
    assert found.advantage.dtype == torch.float32 and math.isnan(found.explained) and math.isnan(found.baseline)
    assert not found.target.any()


def test_equal_rewards_are_no_advantage_to_the_last_bit() -> None:
    """0.1 + 0.1 + 0.1 is not 0.3: Adam would make steps of what rounding leaves."""
    given = round_of([0.1, 0.1, 0.1, 0.7, 0.7, 0.7], [1] * 6, samples=3)
    for name in ("rloo", "grpo", "published_grpo"):
        assert not advantages(name, given, Settings(), math.nan).advantage.any()


def test_published_grpo_divides_by_the_spread() -> None:
    given = round_of([3.0, 1.0, 200.0, 0.0], [1, 1, 1, 1], samples=2)
    found = advantages("published_grpo", given, Settings(), math.nan)
    small = 1 / (math.sqrt(2) + 1e-4)  # mean 2, spread sqrt(2)
    close(found.advantage, [small, -small, 100 / (100 * math.sqrt(2) + 1e-4), -100 / (100 * math.sqrt(2) + 1e-4)])


def test_reinforce_takes_off_the_mean_of_earlier_rounds() -> None:
    settings = Settings(decay=0.8)
    first = advantages("reinforce", round_of([4.0, 1.0, 1.0], [1, 1, 2], samples=1), settings, math.nan)
    close(first.advantage, [3.0, -1.5, -1.5, -1.5])  # in the first round: less the mean of the others
    assert first.baseline == 2.0
    second = advantages("reinforce", round_of([3.0, 7.0, 2.0], [1, 1, 1], samples=1), settings, first.baseline)
    close(second.advantage, [1.0, 5.0, 0.0])
    assert second.baseline == pytest.approx(0.8 * 2 + 0.2 * 4)


def test_reinforce_with_one_sample_in_its_first_round() -> None:
    found = advantages("reinforce", round_of([4.0], [2], samples=1), Settings(), math.nan)
    close(found.advantage, [4.0, 4.0])
    assert found.baseline == 4.0


def test_ppo_by_hand() -> None:
    """Rewards 1 and 0 at the ends of 2 and 1 tokens, 0.5 nats a token, beta 1: -0.5, 0.5 and -0.5; all values 1.

    gamma 0.5, lambda 0.5: delta = -0.5 + 0.5 - 1 = -1 and 0.5 - 1 = -0.5; A = -1 + 0.25 (-0.5), -0.5; and -1.5.
    """
    given = round_of([1.0, 0.0], [2, 1], samples=1, kl=0.5, value=1.0, beta=1.0)
    found = advantages("ppo", given, Settings(gamma=0.5, lam=0.5), math.nan)
    close(found.advantage, [-1.125, -0.5, -1.5])
    close(found.target, [-0.125, 0.5, -0.5])
    assert found.explained == pytest.approx(0.0)  # constant values explain nothing


def test_ppos_targets_are_taken_before_advantages_are_whitened() -> None:
    given = round_of([1.0, 0.0], [2, 1], samples=1, kl=0.5, value=1.0, beta=1.0)
    plain = advantages("ppo", given, Settings(), math.nan)
    white = advantages("ppo", given, Settings(whiten_advantages=True), math.nan)
    assert torch.equal(white.target, plain.target)
    assert float(white.advantage.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(white.advantage.var(correction=0)) == pytest.approx(1.0, rel=1e-5)
    close(white.advantage, ((plain.advantage - plain.advantage.mean()) / plain.advantage.std(correction=0)).tolist())


def test_ppos_whitened_rewards_keep_their_mean() -> None:
    """Rewards of the three tokens: 0, 3 and 6, mean 3, variance 6; lambda 1 without values: the sums to the end."""
    given = round_of([3.0, 6.0], [2, 1], samples=1)
    found = advantages("ppo", given, Settings(lam=1.0, whiten_rewards=True), math.nan)
    low, middle, high = 3 - 3 / math.sqrt(6), 3.0, 3 + 3 / math.sqrt(6)
    close(found.advantage, [low + middle, middle, high])


def test_any_algorithms_advantages_may_be_whitened() -> None:
    given = round_of([3.0, 1.0, 2.0, 9.0], [1, 4, 2, 1], samples=2)
    for name in ("reinforce", "rloo", "grpo", "published_grpo"):
        found = advantages(name, given, Settings(whiten_advantages=True), math.nan).advantage
        assert float(found.mean()) == pytest.approx(0.0, abs=1e-6)
        assert float(found.var(correction=0)) == pytest.approx(1.0, rel=1e-4)

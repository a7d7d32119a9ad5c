"""From scores of samples to what the policy learns from: shaping, and the advantage of every token.

G prompts with K samples each: C = G K completions in the order of their groups, N tokens. Everything is computed over
the whole round, never over a micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from accord.data.ranges import Ranges
from accord.maths.policy_gradient import (
    explained_variance,
    gae,
    group_advantage,
    leave_one_out,
    moving_mean,
    per_token_reward,
    scale_to_unit,
    whiten,
)
from accord.training.rollout import mask_of, padded

SAME = 1e-6  # relative; what is closer differs by rounding


@dataclass
class Spread:
    """Count, mean and sum of squared deviations of all numbers so far. Chan et al. 1979."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, new: Tensor) -> None:
        """(n,)"""
        count, mean = len(new), float(new.mean())
        total, gap = self.count + count, mean - self.mean
        self.squares += float((new - mean).square().sum()) + gap * gap * self.count * count / total
        self.mean += gap * count / total
        self.count = total

    @property
    def std(self) -> float:
        """1 as long as all were the same but for rounding."""
        found = math.sqrt(self.squares / self.count) if self.count else 0.0
        return found if found > SAME * abs(self.mean) else 1.0


class Shaping(NamedTuple):
    """What becomes of scores. penalty: of a sample that was cut."""

    missing_eos: Literal["score", "subtract", "replace", "mask"] = "score"
    penalty: float = 1.0
    scaled: bool = False
    clip: float | None = None

    def reward(self, score: Tensor, ended: Tensor, spread: Spread) -> Tensor:
        """(C,) float64, (C,) bool -> (C,): cut samples first, then the spread of all so far, then the bounds."""
        reward = score
        if self.missing_eos == "subtract":
            reward = score - self.penalty * (~ended)
        if self.missing_eos == "replace":
            reward = torch.where(ended, score, -self.penalty)
        if self.scaled:
            spread.add(reward)
            reward = reward / spread.std
        return reward if self.clip is None else reward.clamp(-self.clip, self.clip)


class Round(NamedTuple):
    """What advantages are made of. kl (N,): log pi - log pi_ref of each token, beta: its coefficient in the rewards."""

    ranges: Ranges
    reward: Tensor  # (C,)
    kl: Tensor  # (N,)
    value: Tensor  # (N,)
    beta: float  # 0 where the KL is a term of the loss

    @property
    def samples(self) -> int:
        """K."""
        return len(self.reward) // len(self.ranges.first)

    @property
    def whole(self) -> Tensor:
        """(C,) r - beta log(pi(y|x) / pi_ref(y|x)): what equation 9 is the mean of."""
        kl = torch.zeros_like(self.reward).index_add_(0, self.ranges.owner, self.kl.double())
        return self.reward - self.beta * kl

    @property
    def by_prompt(self) -> Tensor:
        """(G, K)"""
        return self.whole.reshape(-1, self.samples)

    def spread(self, advantage: Tensor) -> Tensor:
        """(C,) or (G, K) -> (N,): every token has its sample's."""
        return advantage.reshape(-1)[self.ranges.owner].float()


class Advantages(NamedTuple):
    """(N,) float32. target: what the values should be. baseline: of the rounds to come."""

    advantage: Tensor
    target: Tensor
    baseline: float
    explained: float  # the share of the returns' variance that the values explain; NaN where there is none


class Settings(NamedTuple):
    """Of PPO's critic and REINFORCE's baseline."""

    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = False
    decay: float = 0.9


def ppo(given: Round, settings: Settings, baseline: float) -> Advantages:
    """GAE of per-token rewards; the values' targets are taken before advantages are whitened."""
    mask, value = mask_of(given.ranges), padded(given.value, given.ranges)
    reward = per_token_reward(given.reward.float(), padded(given.kl, given.ranges), mask, beta=given.beta)
    if settings.whiten_rewards:
        reward = scale_to_unit(reward, mask)
    advantage = gae(reward, value, mask, gamma=settings.gamma, lam=settings.lam)
    target = advantage + value
    explained = float(explained_variance(value, target, mask))
    return Advantages(advantage[mask], target[mask], baseline, explained)


def reinforce(given: Round, settings: Settings, baseline: float) -> Advantages:
    """Rewards less the mean of earlier rounds; in the first, which has none, less that of the round's other samples."""
    whole = given.whole
    if math.isnan(baseline):
        advantage = leave_one_out(whole[None]) if len(whole) > 1 else whole
        return _without_values(given, advantage, float(whole.mean()))
    new = moving_mean(torch.tensor(baseline, dtype=torch.float64), whole.mean(), decay=settings.decay)
    return _without_values(given, whole - baseline, float(new))


def rloo(given: Round, settings: Settings, baseline: float) -> Advantages:
    """Rewards less the mean of the prompt's other samples; unbiased GRPO has the same."""
    return _without_values(given, leave_one_out(given.by_prompt), baseline)


def published_grpo(given: Round, settings: Settings, baseline: float) -> Advantages:
    """Rewards less their group's mean, over its spread."""
    return _without_values(given, group_advantage(given.by_prompt), baseline)


def _without_values(given: Round, advantage: Tensor, baseline: float) -> Advantages:
    return Advantages(given.spread(advantage), torch.zeros_like(given.kl), baseline, math.nan)


ADVANTAGES: dict[str, Callable[[Round, Settings, float], Advantages]] = {
    "ppo": ppo,
    "reinforce": reinforce,
    "rloo": rloo,
    "grpo": rloo,
    "published_grpo": published_grpo,
}


def advantages(name: str, given: Round, settings: Settings, baseline: float) -> Advantages:
    """By a row of ADVANTAGES; whitened over all tokens of the round where that is asked for."""
    found = ADVANTAGES[name](given, settings, baseline)
    if settings.whiten_advantages:
        every = torch.ones_like(found.advantage, dtype=torch.bool)
        found = found._replace(advantage=whiten(found.advantage, every).float())
    return found

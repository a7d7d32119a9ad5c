"""Samples of the policy, what judges say of them, and what the engine says: all that a round of online DPO is made of.

C samples with N tokens in all, in the order of their prompts. Log-probabilities are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.errors import IntegrityError
from accord.models.layout import ROUNDING
from accord.models.logprobs import LanguageModel
from accord.stages.reward_sources import Rewards
from accord.stages.rl_rollouts import Answers, Cut, Writer, log_probabilities, with_entropy
from accord.stages.rl_rounds import Clock
from accord.training.rollout import summed, swept


class Scored(NamedTuple):
    """Samples, and what was said of each: nothing, where people are to judge them."""

    answers: Answers
    score: Tensor | None  # (C,) float64
    sources: Mapping[str, Tensor]  # name -> (C,), those that are only watched too
    watched: Mapping[str, Tensor]


class Passed(NamedTuple):
    """What the engine says of every token (N,), at the temperature of the sampling but for `anchor`."""

    ranges: Ranges
    old: Tensor  # under the policy that sampled
    entropy: Tensor
    start: Tensor  # under the reference that the run has
    anchor: Tensor  # under what the loss holds the policy to, at temperature 1


@dataclass(frozen=True)
class Sampler:
    """Everything that rounds are made with, and no state. each_round: the loss's reference is the policy itself."""

    writer: Writer
    reference: LanguageModel
    rewards: Rewards | None
    watched: Rewards | None
    cut: Cut
    each_round: bool
    own: bool = False  # the reference is the policy as the run began

    def sampled(self, prompts: Sequence[TokenGroup], draw: int, clock: Clock) -> Scored:
        """draw: says which random streams are drawn from, besides the seed of the run."""
        with clock("sampling"):
            answers = self.writer.write(prompts, draw)
        self.writer.tell("scoring", 0, len(answers.samples))
        with clock("scoring"):
            rewarded = self.rewards.of(answers.texts) if self.rewards else None
            watched = self.watched.of(answers.texts).by_source if self.watched else {}
        sources = {**(rewarded.by_source if rewarded else {}), **watched}
        return Scored(answers, rewarded.total if rewarded else None, sources, watched)

    def passed(self, groups: Sequence[TokenGroup], clock: Clock) -> Passed:
        """Forward passes over all samples, without gradients."""
        policy, reference = self.writer.policy, self.reference
        ranges, temperature = Ranges.of_groups(groups), self.writer.sampling.temperature
        with clock("forward passes"):
            old, entropy = swept(policy, self.cut(policy, groups), ranges, with_entropy(temperature))
            (start,) = swept(reference, self.cut(reference, groups), ranges, log_probabilities(temperature))
            anchor = old if self.each_round else start
            if temperature != 1:
                holds = policy if self.each_round else reference
                (anchor,) = swept(holds, self.cut(holds, groups), ranges, log_probabilities(1.0))
        return Passed(ranges, old, entropy, start, anchor)


def figures_of(scored: Scored, passed: Passed, beta: float) -> dict[str, Tensor]:
    """(C,) float64 each; names as those of PPO. beta: of the loss, 0 where it holds the policy to nothing."""
    kl = summed(passed.old - passed.start, passed.ranges)
    of_score = {}
    if scored.score is not None:
        of_score = {
            "objective/scores": scored.score,
            "objective/non_score_reward": -beta * kl,
            "objective/rlhf_reward": scored.score - beta * kl,
        }
    return {
        **of_score,
        "objective/kl": kl,
        "objective/entropy": summed(passed.entropy, passed.ranges),
        "completions/mean_length": passed.ranges.length.double(),
        "completions/ended": scored.answers.ended.double(),
        **{f"rewards/{name}": column for name, column in scored.sources.items()},
    }


def gap(scored: Scored, passed: Passed) -> float:
    """The largest difference of a token's log-probability, sampler to engine."""
    own = torch.cat([torch.from_numpy(one.logp) for one in scored.answers.samples])
    return float((own - passed.old).abs().max())


def check_start(passed: Passed, dtype: torch.dtype) -> None:
    """Before the first step, with the policy itself as reference, every log-ratio is 0 but for rounding.

    IntegrityError where it is not. dtype: of the computation.
    """
    difference, (largest, mean) = (passed.old - passed.start).abs(), ROUNDING[dtype]
    if len(difference) and (difference.max() > largest or difference.mean() > mean):
        raise IntegrityError(
            f"policy and reference are the same model, and differ by {difference.max():.2g} nats in a token",
            where="step 0",
            fix="the model does not give the same numbers twice; tell us which one it is",
        )

"""Policy gradients as an objective: equations 15 to 17 on the samples of a rollout.

C completions and N tokens of a micro-batch. The loss is summed; what it is divided by says whether it is a mean over
samples or over tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from accord.data.batches import Batch
from accord.maths.divergence import k2, k3
from accord.maths.entropy import entropy_bonus
from accord.maths.likelihood import sum_by_owner
from accord.maths.policy_gradient import (
    approx_kl,
    clipped,
    log_ratio,
    ppo_clip,
    ppo_clip_sequence,
    reinforce,
    value_clipped,
    value_loss,
)
from accord.models.critic import Critic, values
from accord.models.logprobs import CompletionLogprobs, LanguageModel, logprobs
from accord.models.output import Want
from accord.training.objectives import Measured, group_of_completion
from accord.training.rollout import Rollout, Samples, Tokens

Aggregate = Literal["sequence_sum", "sequence_mean", "token_mean"]
KlLoss = Literal["none", "k2", "k3"]


class Terms(NamedTuple):
    """What a policy gradient is made of."""

    temperature: float = 1.0
    cliprange: float | None = 0.2  # None: plain REINFORCE
    ratio: Literal["token", "sequence"] = "token"
    aggregate: Aggregate = "sequence_sum"
    kl_loss: KlLoss = "none"  # k2 of whole samples, or k3 of tokens as published GRPO has it
    beta: float = 0.0  # its coefficient
    entropy_coef: float = 0.0
    vf_coef: float = 0.1
    cliprange_value: float = 0.2
    once: bool = False  # one step learns from a round: the policy that sampled is the one that the step begins with


class Heard(NamedTuple):
    """What a micro-batch says of the policy beside the one that sampled. gap: nats, of a token, sampler to engine."""

    kl: float  # the sum of its tokens' approximate KL
    tokens: float
    gap: float = 0.0


class PolicyObjective:
    """The policy's part of a step. trunk: a value head that reads the policy's own hidden states.

    value_share: of a trunk's value loss, the step's weight over its tokens, so that it is a mean over tokens whatever
    the policy's loss is a mean over. heard: is told of each micro-batch.
    """

    def __init__(
        self,
        rollout: Rollout,
        terms: Terms,
        *,
        trunk: nn.Linear | None = None,
        value_share: float = 0.0,
        heard: Callable[[Heard], None] = lambda heard: None,
    ) -> None:
        self.rollout, self.terms, self.trunk, self.value_share, self.heard = rollout, terms, trunk, value_share, heard

    def weight(self, batch: Batch) -> float:
        return weight_of(self.rollout, batch, self.terms.aggregate)

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        terms = self.terms
        want: tuple[Want, ...] = ("entropy",) if terms.entropy_coef or terms.once else ()
        made = logprobs(model, batch, temperature=terms.temperature, want=want, head=self.trunk)
        tokens, (samples, sources) = self.rollout.tokens_of(batch), self.rollout.samples_of(batch)
        gap = 0.0
        if terms.once:
            gap = float((made.token.token.detach() - tokens.old).abs().max()) if len(tokens.old) else 0.0
            tokens = as_begun(made, tokens)
            kl = sum_by_owner(tokens.old - tokens.reference, batch.owner, batch.completions)
            samples = samples._replace(kl=kl)
        policy, penalty = surrogate(made, tokens, batch.owner, terms), kl_penalty(made, tokens, batch.owner, terms)
        loss = policy + terms.beta * penalty
        total = (loss * samples.counts).sum()
        if terms.entropy_coef:
            assert made.token.entropy is not None
            bonus = entropy_bonus(made.token.token, made.token.entropy)
            total = total - terms.entropy_coef * (per_sample(bonus, batch.owner, made, terms) * samples.counts).sum()
        figures = self._figures(made.token.token.detach(), tokens)
        if self.trunk is not None:
            assert made.value is not None
            extra, of_critic = value_part(made.value, tokens, terms)
            total = total + terms.vf_coef * self.value_share * (extra * samples.counts[batch.owner]).sum()
            figures |= of_critic
        counts = samples.counts[batch.owner]
        self.heard(Heard(float((figures["policy/approxkl_avg"] * counts).sum()), float(counts.sum()), gap))
        rows, only = by_completion(figures, made.length, samples.counts, batch)
        losses = {"loss": loss, "loss/policy_avg": policy}
        if terms.kl_loss != "none":
            losses["loss/kl_avg"] = penalty
        for name, each in losses.items():
            rows[name], only[name] = self._mean(each.detach(), made.length, samples.counts)
        rows |= told(samples, sources, tokens, batch)
        weight = torch.ones_like(samples.counts)
        return Measured(total, rows, weight, group_of_completion(batch), only, routing=made.routing)

    def _mean(self, loss: Tensor, length: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(C,) each: the losses of samples, and the weights by which their mean is the step's loss."""
        if self.terms.aggregate != "token_mean":
            return loss, counts
        return loss / length.clamp(min=1), counts * length

    def _figures(self, logp: Tensor, tokens: Tokens) -> dict[str, Tensor]:
        """(N,) each."""
        ratio = log_ratio(logp, tokens.old).exp()
        figures = {"policy/approxkl_avg": approx_kl(logp, tokens.old), "val/ratio": ratio}
        if self.terms.cliprange is not None and self.terms.ratio == "token":
            bound = clipped(logp, tokens.old, tokens.advantage, cliprange=self.terms.cliprange)
            figures["policy/clipfrac_avg"] = bound.float()
        return figures


def surrogate(made: CompletionLogprobs, tokens: Tokens, owner: Tensor, terms: Terms) -> Tensor:
    """(C,) minus what the samples are worth, by the ratio of tokens or of whole samples. owner: (N,) of tokens."""
    if terms.ratio == "sequence" and terms.cliprange is not None:
        old = sum_by_owner(tokens.old, owner, len(made.sum))
        first = first_of(tokens.advantage, owner, len(made.sum))
        whole = ppo_clip_sequence(made.sum, old, first, cliprange=terms.cliprange)
        return whole / made.length.clamp(min=1) if terms.aggregate == "sequence_mean" else whole
    if terms.cliprange is None:
        each = reinforce(made.token.token, tokens.advantage)
    else:
        each = ppo_clip(made.token.token, tokens.old, tokens.advantage, cliprange=terms.cliprange)
    return per_sample(each, owner, made, terms)


def kl_penalty(made: CompletionLogprobs, tokens: Tokens, owner: Tensor, terms: Terms) -> Tensor:
    """(C,) the KL's share in the loss: k2 of a whole sample, whose gradient is the KL's, or k3 of each token."""
    if terms.kl_loss == "k2":
        whole = k2(made.sum, sum_by_owner(tokens.reference, owner, len(made.sum)))
        return whole / made.length.clamp(min=1) if terms.aggregate == "sequence_mean" else whole
    if terms.kl_loss == "k3":
        return per_sample(k3(made.token.token, tokens.reference), owner, made, terms)
    return torch.zeros_like(made.sum)


def per_sample(each: Tensor, owner: Tensor, made: CompletionLogprobs, terms: Terms) -> Tensor:
    """(N,) -> (C,) sums over each sample's tokens, or means where the terms say so."""
    total = sum_by_owner(each, owner, len(made.sum))
    return total / made.length.clamp(min=1) if terms.aggregate == "sequence_mean" else total


class CriticObjective:
    """The critic's part of a step, where it is a network of its own or an adapter: the mean over tokens."""

    def __init__(self, rollout: Rollout, terms: Terms, critic: Critic) -> None:
        self.rollout, self.terms, self.critic = rollout, terms, critic

    def weight(self, batch: Batch) -> float:
        return weight_of(self.rollout, batch, "token_mean")

    def __call__(self, model: LanguageModel, batch: Batch) -> Measured:
        with self.critic.acting(model) as own:
            value = values(own, batch, self.critic.head)
        tokens, (samples, _) = self.rollout.tokens_of(batch), self.rollout.samples_of(batch)
        loss, figures = value_part(value, tokens, self.terms)
        length = sum_by_owner(torch.ones_like(value), batch.owner, batch.completions)
        means, only = by_completion(figures, length, samples.counts, batch)
        total = (loss * samples.counts[batch.owner]).sum()
        return Measured(total, means, torch.ones_like(length), group_of_completion(batch), only)


def as_begun(made: CompletionLogprobs, tokens: Tokens) -> Tokens:
    """What only the step's own pass says of the policy as the step begins: ratios are 1, and have a gradient."""
    assert made.token.entropy is not None
    return tokens._replace(old=made.token.token.detach(), entropy=made.token.entropy.clamp(min=0))


def value_part(value: Tensor, tokens: Tokens, terms: Terms) -> tuple[Tensor, dict[str, Tensor]]:
    """(N,) the critic's loss, and its figures."""
    loss = value_loss(value, tokens.value, tokens.target, cliprange_value=terms.cliprange_value)
    bound = value_clipped(value.detach(), tokens.value, tokens.target, cliprange_value=terms.cliprange_value)
    return loss, {"loss/value_avg": loss.detach(), "val/clipfrac_avg": bound.float()}


def weight_of(rollout: Rollout, batch: Batch, aggregate: Aggregate) -> float:
    """What a micro-batch adds to the step's denominator: its samples, or their tokens; those left out count nothing."""
    places = rollout.ranges.completions(batch)
    counts = rollout.samples.counts[places]
    if aggregate == "token_mean":
        counts = counts * rollout.ranges.length[places]
    return float(counts.sum())


def by_completion(
    figures: dict[str, Tensor], length: Tensor, counts: Tensor, batch: Batch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(N,) each -> (C,) means over each sample's tokens, and the weights by which those make means over all tokens that
    are learnt from."""
    many = length.clamp(min=1)
    means = {name: sum_by_owner(each, batch.owner, batch.completions) / many for name, each in figures.items()}
    return means, {name: length * counts for name in means}


def first_of(column: Tensor, owner: Tensor, completions: int) -> Tensor:
    """(N,), (N,) the completion of each token -> (C,) each completion's first entry; 0 where it has none."""
    starts = torch.ones_like(owner, dtype=torch.bool)
    starts[1:] = owner[1:] != owner[:-1]
    return column.new_zeros(completions).index_copy_(0, owner[starts], column[starts])


def told(samples: Samples, sources: dict[str, Tensor], tokens: Tokens, batch: Batch) -> dict[str, Tensor]:
    """(C,) what is known of the samples since they were scored; names as TRL's PPO and GRPO have them."""
    penalty = samples.beta * samples.kl
    entropy = sum_by_owner(tokens.entropy, batch.owner, batch.completions)
    length = sum_by_owner(torch.ones_like(tokens.entropy), batch.owner, batch.completions)
    return {
        "objective/kl": samples.kl,
        "objective/entropy": entropy,
        "objective/scores": samples.score,
        "objective/non_score_reward": -penalty,
        "objective/rlhf_reward": samples.score - penalty,
        "completions/mean_length": length,
        "completions/ended": samples.ended,
        **{f"rewards/{name}": column for name, column in sources.items()},
    }

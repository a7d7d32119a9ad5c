"""Rounds of sampling: prompts -> samples -> scores -> advantages, and what of them survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from accord.data.batches import Batch
from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.models.critic import Critic, values
from accord.models.draw import Drawing
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.sample import Sampled, sample
from accord.models.stop_strings import StopStrings
from accord.records import Group
from accord.stages.reward_sources import Rewarded, Rewards
from accord.stages.rl_prompts import Prompts, answered, sampled_text
from accord.stages.rl_rounds import Clock
from accord.training.rollout import Read, Rollout, Samples, Tokens, sampled_group, summed, swept
from accord.training.shaping import Round, Settings, Shaping, Spread, advantages
from accord.training.step import mixed

Cut = Callable[[LanguageModel, Sequence[TokenGroup]], Iterable[Batch]]  # all of these groups, for this model


class Sampling(NamedTuple):
    """How samples are made. each: of each prompt."""

    each: int
    max_new_tokens: int
    temperature: float
    ends: frozenset[int]
    stop: StopStrings | None
    rows: int
    seed: int


class Roles(NamedTuple):
    """Who takes part in a run."""

    policy: LanguageModel
    reference: LanguageModel
    critic: Critic | None
    rewards: Rewards
    watched: Rewards | None  # what scores, too, and is not learnt from


class Answers(NamedTuple):
    """Samples of some prompts, and what they say."""

    groups: tuple[TokenGroup, ...]
    texts: tuple[Group, ...]
    samples: list[Sampled]

    @property
    def ended(self) -> Tensor:
        """(C,) bool."""
        return torch.tensor([one.ended for one in self.samples])


class Made(NamedTuple):
    """Samples of some prompts with their texts and scores."""

    groups: tuple[TokenGroup, ...]
    texts: tuple[Group, ...]
    samples: list[Sampled]
    rewarded: Rewarded
    watched: Mapping[str, Tensor]

    @property
    def ended(self) -> Tensor:
        """(C,) bool."""
        return torch.tensor([one.ended for one in self.samples])

    @property
    def sources(self) -> dict[str, Tensor]:
        """name -> (C,) float64, those that are not learnt from too."""
        return {**self.rewarded.by_source, **self.watched}


class Controls(NamedTuple):
    """What changes from round to round."""

    beta: float  # of the KL
    baseline: float  # of REINFORCE; NaN before the first round
    spread: Spread  # of all rewards so far


@dataclass(frozen=True)
class Writer:
    """Samples of the policy as tokens and as texts. tell: as Maker's."""

    policy: LanguageModel
    sampling: Sampling
    prompts: Prompts
    tokenizer: PreTrainedTokenizerBase
    tell: Callable[[str, int, int], None]

    def write(self, prompts: Sequence[TokenGroup], draw: int) -> Answers:
        """draw: says which random streams are drawn from, besides the seed of the run."""
        how, total, done = self.sampling, len(prompts) * self.sampling.each, 0

        def advance(samples: int, tokens: int) -> None:
            nonlocal done
            done += samples
            self.tell("sampling", done, total)

        found = sample(
            self.policy,
            [group.prompt for group in prompts],
            count=how.each,
            max_new_tokens=how.max_new_tokens,
            ends=how.ends,
            seed=mixed(how.seed, draw),
            drawing=Drawing(how.temperature),
            stop=how.stop,
            max_rows=how.rows,
            advance=advance,
        )
        groups = tuple(sampled_group(p, [one.ids for one in s]) for p, s in zip(prompts, found, strict=True))
        return Answers(groups, tuple(map(self.texts, groups)), [one for several in found for one in several])

    def texts(self, group: TokenGroup) -> Group:
        """What the samples of a prompt say."""
        how = self.sampling
        said = [sampled_text(self.tokenizer, group.prompt, one.ids, how.ends, how.stop) for one in group.completions]
        return answered(self.prompts.of(group), said)


@dataclass(frozen=True)
class Maker:
    """Makes rounds: everything it needs, and no state."""

    roles: Roles
    sampling: Sampling
    shaping: Shaping
    settings: Settings
    advantages: str  # a row of ADVANTAGES
    kl_in_rewards: bool
    once: bool  # one step learns from a round, and nothing before it asks what the policy says: its own pass does
    prompts: Prompts
    tokenizer: PreTrainedTokenizerBase
    cut: Cut
    tell: Callable[[str, int, int], None]  # what is being done, how far, of how many

    def sampled(self, prompts: Sequence[TokenGroup], draw: int, clock: Clock) -> Made:
        """draw: says which random streams are drawn from, besides the seed of the run."""
        writer = Writer(self.roles.policy, self.sampling, self.prompts, self.tokenizer, self.tell)
        with clock("sampling"):
            groups, texts, samples = writer.write(prompts, draw)
        self.tell("scoring", 0, len(samples))
        with clock("scoring"):
            rewarded = self.roles.rewards.of(texts)
            watched = self.roles.watched.of(texts).by_source if self.roles.watched else {}
        return Made(groups, texts, samples, rewarded, watched)

    def rollout(self, made: Made, controls: Controls, clock: Clock) -> tuple[Rollout, Figures]:
        """What is learnt from, and what it shows."""
        ranges = Ranges.of_groups(made.groups)
        own = torch.cat([torch.from_numpy(one.logp) for one in made.samples])
        with clock("forward passes"):
            old, entropy, reference, value = self._passes(made.groups, ranges, own)
        kl = summed(old - reference, ranges)
        reward = self.shaping.reward(made.rewarded.total, made.ended, controls.spread)
        beta = controls.beta if self.kl_in_rewards else 0.0
        found = advantages(
            self.advantages, Round(ranges, reward, old - reference, value, beta), self.settings, controls.baseline
        )
        counts = made.ended if self.shaping.missing_eos == "mask" else torch.ones_like(made.ended)
        samples = Samples(
            *(made.rewarded.total, reward, kl, made.ended.double(), counts.double()),
            torch.full_like(kl, controls.beta),
        )
        tokens = Tokens(old, reference, entropy, found.advantage, value, found.target)
        figures = Figures(found.baseline, found.explained, float((own - old).abs().max()), float(kl.mean()))
        return Rollout(made.groups, ranges, tokens, samples, made.sources), figures

    def _passes(
        self, groups: Sequence[TokenGroup], ranges: Ranges, own: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N,) each: old log-probabilities, entropies, those of the reference, values; by the engine that trains.

        own: (N,) the sampler's, which stand for the old ones until the only step, whose pass says them and entropies.
        """
        roles, temperature = self.roles, self.sampling.temperature
        if self.once:
            (ref,) = swept(roles.reference, self.cut(roles.reference, groups), ranges, log_probabilities(temperature))
            return own.float(), torch.zeros_like(ref), ref, torch.zeros_like(ref)
        trunk = roles.critic.head if roles.critic and roles.critic.model is None else None
        old, entropy, *on_trunk = swept(
            roles.policy, self.cut(roles.policy, groups), ranges, with_entropy(temperature, trunk)
        )
        (ref,) = swept(roles.reference, self.cut(roles.reference, groups), ranges, log_probabilities(temperature))
        if on_trunk:
            return old, entropy, ref, on_trunk[0]
        return old, entropy, ref, self._values(groups, ranges)

    def _values(self, groups: Sequence[TokenGroup], ranges: Ranges) -> Tensor:
        critic = self.roles.critic
        if critic is None or critic.model is None:
            return torch.zeros(int(ranges.end[-1]))

        def read(model: LanguageModel, batch: Batch) -> tuple[Tensor, ...]:
            return (values(model, batch, critic.head),)

        (found,) = swept(critic.model, self.cut(critic.model, groups), ranges, read)
        return found


def log_probabilities(temperature: float) -> Read:
    """Of each token, in nats."""

    def read(model: LanguageModel, batch: Batch) -> tuple[Tensor, ...]:
        return (logprobs(model, batch, temperature=temperature).token.token,)

    return read


def with_entropy(temperature: float, trunk: nn.Linear | None = None) -> Read:
    """Also the entropy of what each token was drawn from. trunk: a head, and what it says of the state before each."""

    def read(model: LanguageModel, batch: Batch) -> tuple[Tensor, ...]:
        made = logprobs(model, batch, temperature=temperature, want=("entropy",), head=trunk)
        assert made.token.entropy is not None
        value = (made.value,) if made.value is not None else ()
        return (made.token.token, made.token.entropy.clamp(min=0), *value)

    return read


class Figures(NamedTuple):
    """Of one round. gap: the largest difference of a token's log-probability, sampler to engine, in nats."""

    baseline: float
    explained: float
    gap: float
    kl: float  # nats a sample

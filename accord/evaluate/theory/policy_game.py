"""A policy gradient's expected step on a table: all K-tuples of samples, each with its chance, shaped by the product.

Rewards become advantages by a row of ADVANTAGES, and these a loss by the terms of `accord rl`: both are the functions
that train networks. G prompts, S completions, N tokens of all G S completions, M = S^K tuples of each prompt.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.ranges import Ranges
from accord.evaluate.theory.world import World, logits_of, logp, reached, token_logp
from accord.models.logprobs import CompletionLogprobs
from accord.models.output import TokenLogprobs
from accord.training.policy import Terms, kl_penalty, surrogate, value_part
from accord.training.rollout import Tokens
from accord.training.shaping import Round, Settings, advantages


class Rules(NamedTuple):
    """An algorithm of `accord rl` with everything that its options decide."""

    advantages: str  # a row of ADVANTAGES
    terms: Terms
    settings: Settings
    kl_in_rewards: bool
    beta: float
    samples: int  # K
    epochs: int  # how often a round is learnt from


class State(NamedTuple):
    """A policy, PPO's critic and REINFORCE's baseline."""

    logits: Tensor  # (G, B, V)
    value: Tensor  # (G, B)
    baseline: float = math.nan


class Flat(NamedTuple):
    """All completions of all prompts one after the other: C = G S of them, and where their tokens lie."""

    mask: Tensor  # (G, S, T)
    owner: Tensor  # (N,)
    length: Tensor  # (C,)
    place: Tensor  # (N,) in a flat (G, B)


class Tuples(NamedTuple):
    """All tuples of K completions of each prompt, told as a round of samples."""

    completion: Tensor  # (G M K,) in 0..C-1
    token: Tensor  # (their tokens,) in 0..N-1
    ranges: Ranges


def flat_of(world: World) -> Flat:
    prompts, completions = world.reward.shape
    mask = world.mask.expand(prompts, -1, -1)
    length = world.length.reshape(-1)
    place = world.place + world.taken.shape[0] * torch.arange(prompts)[:, None, None]
    return Flat(mask, torch.arange(prompts * completions).repeat_interleave(length), length, place[mask])


def tuples_of(world: World, samples: int) -> Tuples:
    prompts, completions = world.reward.shape
    one = torch.cartesian_prod(*[torch.arange(completions)] * samples).reshape(-1)
    completion = (one + completions * torch.arange(prompts)[:, None]).reshape(-1)
    every = world.length.reshape(-1)
    length = every[completion]
    start = (every.cumsum(0) - every)[completion]
    within = torch.arange(int(length.sum())) - (length.cumsum(0) - length).repeat_interleave(length)
    first = torch.arange(0, len(completion), samples)
    return Tuples(completion, start.repeat_interleave(length) + within, Ranges(length.cumsum(0), first))


class Game:
    """A world in which a policy learns by some rules."""

    def __init__(self, world: World, rules: Rules) -> None:
        self.world, self.rules, self.flat, self.tuples = world, rules, flat_of(world), tuples_of(world, rules.samples)
        self.reference_logits = logits_of(world, world.reference)
        self.reference = token_logp(world, self.reference_logits)[self.flat.mask]

    def start(self) -> State:
        """The policy is the reference."""
        return State(self.reference_logits, torch.zeros(self.reference_logits.shape[:2], dtype=torch.float64))

    def played(self, state: State, rate: float) -> State:
        """After one round: the epochs on its samples."""
        tokens, baseline = self.lesson(state)
        chance, reach = logp(self.world, state.logits).exp(), reached(self.world, logp(self.world, state.logits)).exp()
        logits, value = state.logits, state.value
        for _ in range(self.rules.epochs):
            policy_slope, value_slope = self._slopes(logits, value, tokens, chance.reshape(-1))
            # Over how likely each token and each beginning is: with these steps a table comes to its end in few.
            logits = logits - rate * policy_slope / (reach[..., None] * logits.softmax(-1))
            value = value - rate * value_slope / reach
        return State(logits, value, baseline)

    def lesson(self, state: State) -> tuple[Tokens, float]:
        """(N,) each: what the round says of every token in the mean over all tuples; and the next baseline."""
        tuples, rules, flat = self.tuples, self.rules, self.flat
        old = token_logp(self.world, state.logits)[flat.mask]
        kl, value = old - self.reference, state.value.reshape(-1)[flat.place]
        beta = rules.beta if rules.kl_in_rewards else 0.0
        reward = self.world.reward.reshape(-1)[tuples.completion]
        given = Round(tuples.ranges, reward, kl[tuples.token], value[tuples.token], beta)
        found = advantages(rules.advantages, given, rules.settings, state.baseline)
        share = self._chances_of_others(state)[tuples.ranges.owner]

        def mean(column: Tensor) -> Tensor:
            return torch.zeros(len(old), dtype=torch.float64).index_add_(0, tuples.token, share * column.double())

        tokens = Tokens(old, self.reference, torch.zeros_like(old), mean(found.advantage), value, mean(found.target))
        return tokens, found.baseline

    def _chances_of_others(self, state: State) -> Tensor:
        """(G M K,) how likely the other samples of a tuple are, over K: they sum to 1 for each completion."""
        whole = logp(self.world, state.logits).reshape(-1)[self.tuples.completion].reshape(-1, self.rules.samples)
        return ((whole.sum(-1, keepdim=True) - whole).exp() / self.rules.samples).reshape(-1)

    def _slopes(self, logits: Tensor, value: Tensor, tokens: Tokens, chance: Tensor) -> tuple[Tensor, Tensor]:
        """(G, B, V), (G, B) the gradients of the policy's and the critic's expected loss."""
        flat, terms = self.flat, self.rules.terms
        free, states = logits.clone().requires_grad_(), value.clone().requires_grad_()
        token = token_logp(self.world, free)[flat.mask]
        whole = torch.zeros_like(chance).index_add(0, flat.owner, token)
        made = CompletionLogprobs(whole, flat.length, TokenLogprobs(token, None, None, None))
        loss = surrogate(made, tokens, flat.owner, terms) + terms.beta * kl_penalty(made, tokens, flat.owner, terms)
        misses, _ = value_part(states.reshape(-1)[flat.place], tokens, terms)
        total = (chance * loss).sum() + (chance[flat.owner] * misses).sum()
        policy_slope, value_slope = torch.autograd.grad(total, (free, states))
        return policy_slope, value_slope


def ended(game: Game, *, rate: float, still: float = 1e-7, most: int = 2000) -> tuple[State, int]:
    """Where its rounds lead from the reference, until no logit moves by `still`; and how many it took."""
    state = game.start()
    for count in range(1, most + 1):
        before, state = state, game.played(state, rate)
        if float((state.logits - before.logits).abs().max()) < still:
            return state, count
    return state, most

"""Reinforcement learning of a network by the product's own objective and engine, on completions that can be counted.

A small network cannot say every policy. So another one of its kind, with weights moved a little, is made the optimum:
the reward is beta log(pi' / pi_ref), equation 11, and pi' is pi*.

Expected steps: every completion of every prompt stands in the round, and counts as often as the policy writes it; what
is left between its end and pi* is the optimiser's and float32's. Sampled steps: the product's sampler writes the
rounds. From pi* itself, where unbiased GRPO's gradient is noise alone, steps of one size lead to a distance from it
that a larger round makes smaller in proportion: KL ~ 1/n. RLOO's noise vanishes there: all rewards less their KL are
equal.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import arrange
from accord.data.dialogue import TokenGroup
from accord.data.ranges import Ranges
from accord.evaluate.theory.ends import Meant, measured, row_of
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.policy_game import Game, Rules, State
from accord.evaluate.theory.reinforcement import OPTIMUM, WAYS, rules_of
from accord.evaluate.theory.spoken import Spoken, counted, spoken_of
from accord.evaluate.theory.world import BETA, World, logits_of, with_reference
from accord.maths.optimum import kl, optimum
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.sample import sample
from accord.training.policy import PolicyObjective
from accord.training.rollout import Rollout, Samples, Tokens, sampled_group
from accord.training.shaping import Round, advantages

KIND = "reinforcement learning of a network"
MOVED = 0.15  # of the weights' own spread, times a normal number each
STEPS, RATE = 300, 1e-3
NEAR = 1e-4  # nats: Adam in float32
SIZES = (16, 64, 256)  # samples of a prompt in a round
NOISY, WALKED, SEEDS, SGD = "grpo", 30, 6, 1e-3  # the embedding is small, so that little moves much


def tasks(worlds: Sequence[World]) -> list[Task]:
    """Expected steps of one algorithm."""
    return [Task("rloo, a network", partial(_expected, world, "rloo")) for world in worlds if world.trained]


def long_tasks(worlds: Sequence[World]) -> list[Task]:
    """Of another; and sampled steps."""
    made = []
    for world in worlds:
        if world.trained:
            made += [Task("grpo, a network", partial(_expected, world, "grpo"))]
            made += [Task("grpo, a network on samples", partial(_sampled, world))]
    return made


def copied(spoken: Spoken) -> Spoken:
    """With a network of its own, of the same weights."""
    own = copy.deepcopy(spoken.model.network).requires_grad_(True)
    return spoken._replace(model=LanguageModel(own, spoken.model.layout, spoken.model.head))


def with_speakable_optimum(world: World, *, seed: int = 0) -> tuple[World, Spoken]:
    """The world with the reward that makes another network's policy pi*; and that network."""
    other, generator = copied(spoken_of(world)), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.model.network.parameters():
            if weight.dim() > 1:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=MOVED * float(weight.std()))
    policy = counted(other).log_softmax(-1)
    return with_reference(world._replace(reward=BETA * (policy - world.reference)), world.reference), other


def _expected(given: World, name: str) -> list[Found]:
    world, _ = with_speakable_optimum(given)
    learner = learnt(world, rules_of(WAYS[name]))
    policy = counted(learner).log_softmax(-1)
    claimed = optimum(world.reference, world.reward, beta=BETA)
    begun = float(kl(claimed, world.reference).mean())
    meant = Meant(f"{name}, a network", KIND, OPTIMUM, note=f"{STEPS} expected steps of Adam, from {begun:.4f} nats")
    return [row_of(world, meant, policy, claimed, within=NEAR)]


def learnt(world: World, rules: Rules, *, steps: int = STEPS) -> Spoken:
    """A network after expected steps from the reference, at a rate that falls to 0 as a cosine."""
    spoken, game = copied(spoken_of(world)), Game(world, rules)
    optimizer = torch.optim.Adam(spoken.model.network.parameters(), lr=RATE)
    baseline = math.nan
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        policy = counted(spoken).log_softmax(-1)
        logits = logits_of(world, policy)
        tokens, baseline = game.lesson(State(logits, torch.zeros(logits.shape[:2], dtype=torch.float64), baseline))
        rollout = whole_round(world, spoken, policy, tokens)
        stepped(spoken.model, rollout, rules, optimizer)
    return spoken


def whole_round(world: World, spoken: Spoken, policy: Tensor, tokens: Tokens) -> Rollout:
    """All completions as one round, in which each counts as often as the policy writes it."""
    ranges = Ranges.of_groups(spoken.groups)
    chance = policy.exp().reshape(-1)
    columns = Samples(*(torch.zeros_like(chance) for _ in Samples._fields))._replace(counts=chance)
    return Rollout(spoken.groups, ranges, Tokens(*(column.float() for column in tokens)), columns, {})


def stepped(model: LanguageModel, rollout: Rollout, rules: Rules, optimizer: torch.optim.Optimizer) -> None:
    """One optimiser step on a whole round."""
    objective = PolicyObjective(rollout, rules.terms)
    batch = arrange(rollout.groups, model.layout, start=model.start).to(model.device)
    optimizer.zero_grad()
    with model.segmented():
        measured_loss = objective(model, batch).loss
        (measured_loss / objective.weight(batch)).backward()
    optimizer.step()


class Walk(NamedTuple):
    """(N, R) mean KL(pi* || pi) along R walks of sampled steps at each of N sizes of a round."""

    sizes: Sequence[int]
    errors: np.ndarray

    def slope(self) -> tuple[float, float]:
        """Through the logarithms, and its standard error over walks."""
        x, y = np.log(self.sizes), np.log(self.errors)
        part = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        spread = y.std(1, ddof=1) / math.sqrt(y.shape[1])
        return float(part @ y.mean(1)), float(np.linalg.norm(part * spread))


def _sampled(given: World) -> list[Found]:
    """Both from pi* itself: what moves them away is what the sampling adds."""
    world, begun = with_speakable_optimum(given)
    found = walked(world, begun, NOISY)
    slope, error = found.slope()
    means = found.errors.mean(1)
    note = (
        f"{WALKED} steps from pi* itself: mean KL {', '.join(f'{mean:.1e}' for mean in means)} at "
        f"{', '.join(map(str, SIZES))} samples of a prompt a step; slope {slope:.2f} +- {1.96 * error:.2f}"
    )
    claim = "KL(pi* || pi) ~ 1 / samples a step"
    right = abs(slope + 1) < 2.58 * error + 0.05
    row = measured(world, Meant(f"{NOISY}, a network on samples", "sampled data", claim, note=note), right)
    row = row._replace(errors=tuple((n, float(mean), None) for n, mean in zip(SIZES, means, strict=True)))
    calm = walked(world, begun, "rloo", sizes=SIZES[:1])
    ratio = float(calm.errors.mean() / means[0])
    claim = "no noise at pi*: all r - beta log(pi / pi_ref) are equal"
    note = (
        f"mean KL {calm.errors.mean():.1e} at {SIZES[0]} samples of a prompt a step, where {NOISY}'s is {means[0]:.1e}"
    )
    return [row, measured(world, Meant("rloo, a network on samples", "sampled data", claim, note=note), ratio < 0.01)]


def walked(world: World, begun: Spoken, name: str, *, sizes: Sequence[int] = SIZES) -> Walk:
    """Sampled steps of plain SGD from the same start; errors are means over the second half of each walk."""
    rules, best = rules_of(WAYS[name]), optimum(world.reference, world.reward, beta=BETA)
    errors = np.zeros((len(sizes), SEEDS))
    for i, size in enumerate(sizes):
        for k in range(SEEDS):
            spoken, along = copied(begun), list[float]()
            optimizer = torch.optim.SGD(spoken.model.network.parameters(), lr=SGD)
            for step in range(WALKED):
                rollout = drawn_round(world, spoken, rules, size, seed=1_000_000 * k + 1_000 * i + step)
                stepped(spoken.model, rollout, rules, optimizer)
                if step >= WALKED // 2 and step % 4 == 0:
                    along.append(float(kl(best, counted(spoken).log_softmax(-1)).mean()))
            errors[i, k] = float(np.mean(along))
    return Walk(sizes, errors)


def drawn_round(world: World, spoken: Spoken, rules: Rules, size: int, *, seed: int) -> Rollout:
    """`size` samples of each prompt by the sampler, in groups of the rules' K, shaped as in a run."""
    groups, chosen = drawn_groups(spoken, size, rules.samples, seed)
    ranges = Ranges.of_groups(groups)
    token = reference_tokens(world, chosen)
    batch = arrange(groups, spoken.model.layout).to(spoken.model.device)
    with torch.no_grad(), spoken.model.segmented():
        old = logprobs(spoken.model, batch).token.token.cpu()
    zero = torch.zeros_like(old)
    reward = world.reward.reshape(-1)[chosen]
    given = Round(ranges, reward, old - token, zero, rules.beta if rules.kl_in_rewards else 0.0)
    found = advantages(rules.advantages, given, rules.settings, math.nan)
    ones = torch.ones(len(chosen), dtype=torch.float64)
    columns = Samples(reward, reward, 0 * ones, ones, ones, rules.beta * ones)
    return Rollout(tuple(groups), ranges, Tokens(old, token, zero, found.advantage, zero, zero), columns, {})


def drawn_groups(spoken: Spoken, size: int, each: int, seed: int) -> tuple[list[TokenGroup], Tensor]:
    """Groups of `each` samples of a prompt, and which completions they are, (C,) in a flat (G, S)."""
    made = sample(spoken.model, spoken.prompts, count=size, max_new_tokens=spoken.longest, ends={spoken.end}, seed=seed)
    prompts, number = spoken.groups, spoken.number()
    groups, place = list[TokenGroup](), list[int]()
    for g, samples in enumerate(made):
        for start in range(0, size, each):
            some = [one.ids for one in samples[start : start + each]]
            groups.append(sampled_group(prompts[g], some))
            place += [g * len(spoken.completions) + number[tuple(ids.tolist())] for ids in some]
    return groups, torch.tensor(place)


def reference_tokens(world: World, chosen: Tensor) -> Tensor:
    """(C,) places in a flat (G, S) -> (N,) the reference's log-probabilities of their tokens, float32."""
    table = logits_of(world, world.reference)
    prompt, completion = chosen // len(world.completions), chosen % len(world.completions)
    place, tokens, mask = world.place[completion], world.tokens[completion], world.mask[completion]
    return table[prompt[:, None], place, tokens][mask].float()

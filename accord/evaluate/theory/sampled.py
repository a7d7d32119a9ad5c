"""Methods on sampled data: how the error shrinks as data grow, against what the theory of likelihoods says.

A method that makes the likelihood of n judgements greatest has scores with the covariance I^-1 / n about the true ones,
I the Fisher information of one judgement. The policy that they mean, pi_ref exp(s / beta) / Z, is then in the mean

    E[KL(pi* || pi)] = tr(J I^-1) / (2 beta^2 n) + O(1 / n^2),   J = diag(pi*) - pi* pi*^T,

the second derivative of the KL: a slope of -1 in logarithms, and its height too. Both are held against measurement.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.evaluate.theory.ends import Meant, measured
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.reward_models import Loss
from accord.evaluate.theory.world import BETA, World
from accord.maths.optimum import kl, optimum
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.reward import REWARD_LOSSES
from accord.stages.online_judging import drawn

KIND = "sampled data"
SIZES = (1000, 4000, 16000)
REPEATS = 48


class Data(NamedTuple):
    """Judgements of one prompt: U different ones, and how often each was given."""

    members: Tensor  # (U, K) completions, the best first
    times: Tensor  # (U,)


class Learner(NamedTuple):
    """A method of judgements of K completions. loss: the mean over data of its loss, of scores s = r^ (S,)."""

    samples: int
    loss: Callable[[World, int, Data], Loss]
    text: str


class Limit(NamedTuple):
    """What n KL(pi* || pi) tends to: the mean of a quadratic form in normal numbers, and its spread over that mean."""

    mean: float  # tr(M) / (2 beta^2), M = J I^-1
    spread: float  # sqrt(2 tr(M^2)) / tr(M), of one data set


class Curve(NamedTuple):
    """A method's errors: (N, R) KL(pi* || pi) of R data sets of each of N sizes."""

    method: str
    sizes: Sequence[int]
    errors: np.ndarray
    limit: Limit

    @property
    def means(self) -> np.ndarray:
        return np.asarray(self.errors.mean(1))

    def slope(self) -> tuple[float, float]:
        """By least squares through the logarithms of means, and its standard error by the limit's spread."""
        x = np.log(self.sizes)
        part = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        return float(part @ np.log(self.means)), float(np.linalg.norm(part)) * self._error()

    def ratio(self) -> tuple[float, float]:
        """n times the mean KL at the largest size, over what it tends to; and its standard error by the limit."""
        return float(self.means[-1] * self.sizes[-1] / self.limit.mean), self._error()

    def _error(self) -> float:
        return self.limit.spread / math.sqrt(self.errors.shape[1])


def _sides(world: World, prompt: int, scores: Tensor) -> tuple[Tensor, Tensor]:
    """(S,) scores -> (S,) log pi, (S,) log pi_ref."""
    reference = world.reference[prompt]
    return (reference + scores / BETA).log_softmax(-1), reference


def dpo(world: World, prompt: int, data: Data) -> Loss:
    def loss(scores: Tensor) -> Tensor:
        both = *_sides(world, prompt, scores), world.length[prompt].double()
        sides = (Pair(side[data.members[:, 0]], side[data.members[:, 1]]) for side in both)
        found: Tensor = PAIR_LOSSES["sigmoid"].loss(*sides, beta=BETA, label_smoothing=0.0)
        return (found * data.times).sum() / data.times.sum()

    return loss


def reward_model(world: World, prompt: int, data: Data) -> Loss:
    def loss(scores: Tensor) -> Tensor:
        gap = scores[data.members[:, 0]] - scores[data.members[:, 1]]
        found: Tensor = REWARD_LOSSES["bradley_terry"].loss(gap, torch.ones_like(gap), torch.zeros_like(gap))
        return (found * data.times).sum() / data.times.sum()

    return loss


def ranked(world: World, prompt: int, data: Data) -> Loss:
    rank = torch.arange(1, data.members.shape[1] + 1).expand_as(data.members)

    def loss(scores: Tensor) -> Tensor:
        both = *_sides(world, prompt, scores), world.length[prompt].double()
        policy, reference, length = (side[data.members] for side in both)
        found: Tensor = RANKING_LOSSES["plackett_luce"].loss(policy, reference, length, rank, beta=BETA)
        return (found * data.times).sum() / data.times.sum()

    return loss


LEARNERS: Mapping[str, Learner] = {
    "sigmoid": Learner(2, dpo, "comparisons"),
    "plackett_luce": Learner(3, ranked, "rankings of 3"),
}


def long_tasks(worlds: Sequence[World]) -> list[Task]:
    """In the first world: the same for all that are small."""
    made = [Task(f"{name} on samples", partial(_shrinking, worlds[0], name)) for name in LEARNERS]
    return [*made, Task("a reward model on samples", partial(_the_same, worlds[0]))]


def _shrinking(world: World, name: str) -> list[Found]:
    return [row_of_curve(world, curve(world, name))]


def row_of_curve(world: World, found: Curve) -> Found:
    """Slope and height, each with an interval of 95 %; -1 and 1 must lie within one of 99 %."""
    (slope, slope_error), (ratio, ratio_error) = found.slope(), found.ratio()
    note = (
        f"KL {', '.join(f'{mean:.1e}' for mean in found.means)} at n = {', '.join(f'{n:,}' for n in found.sizes)}; "
        f"slope {slope:.2f} +- {1.96 * slope_error:.2f}; n KL is {ratio:.2f} +- {1.96 * ratio_error:.2f} of what it "
        f"tends to, {found.limit.mean:.1f}"
    )
    right = abs(slope + 1) < 2.58 * slope_error and abs(ratio - 1) < 2.58 * ratio_error
    claim = "KL(pi* || pi) -> tr(J I^-1) / (2 beta^2 n)"
    row = measured(world, Meant(f"{found.method}, {LEARNERS[found.method].text}", KIND, claim, note=note), right)
    points = zip(found.sizes, found.means.tolist(), strict=True)
    return row._replace(errors=tuple((n, mean, found.limit.mean / n) for n, mean in points))


def _the_same(world: World, *, size: int = 8000, sets: int = 4) -> list[Found]:
    """Of the same comparisons a reward model with the exact solution makes the very policy that DPO makes, Eq. 11."""
    information, reference, apart = information_of(world, 0, 2), world.reference[0], list[float]()
    for seed in range(sets):
        data = drawn_data(world, 0, 2, size, seed)
        one, other = (
            optimum(reference, scored(of(world, 0, data), information, still=1e-13), beta=BETA)
            for of in (dpo, reward_model)
        )
        apart.append(float(kl(one, other)))
    note = f"KL between the two at most {max(apart):.0e}, over {sets} data sets of {size:,}"
    claim = "the policy of sigmoid on the same data"
    return [measured(world, Meant("bradley_terry and solved, comparisons", KIND, claim, note=note), max(apart) < 1e-12)]


def drawn_data(world: World, prompt: int, samples: int, count: int, seed: int) -> Data:
    """So many judgements of different completions drawn from mu, ordered as the product's simulated judges do."""
    rng = np.random.default_rng((seed, count, samples))
    # The order of chances with Gumbel noise draws without replacement.
    noisy = world.mu[prompt].numpy() + rng.gumbel(size=(count, len(world.completions)))
    members = torch.from_numpy(np.argpartition(-noisy, samples, axis=1)[:, :samples].copy())
    judgements = drawn(world.reward[prompt][members].flatten(), samples, int(rng.integers(2**62)))
    order = torch.tensor([one.ranks for one in judgements]).argsort(-1)
    return counted(members.gather(1, order))


def counted(members: Tensor) -> Data:
    """(n, K) -> the different rows, and how often each came."""
    base = int(members.max()) + 1 if len(members) else 1
    place = base ** torch.arange(members.shape[1])
    code, times = torch.unique((members * place).sum(-1), return_counts=True)
    return Data(code[:, None] // place % base, times.double())


def information_of(world: World, prompt: int, samples: int) -> Tensor:
    """(S, S) the Fisher information of one judgement at the true rewards, all groups and orders counted."""
    reward, mu = world.reward[prompt], world.mu[prompt].exp()
    count = len(reward)
    information = torch.zeros(count, count, dtype=torch.float64)
    groups = torch.tensor(list(itertools.permutations(range(count), samples)))  # as judged, the best first
    as_set = _chance_of_sets(mu, groups)
    left = reward.exp()[groups].flip(-1).cumsum(-1).flip(-1)
    chance = as_set * (reward.exp()[groups] / left).prod(-1)
    for k in range(samples - 1):
        among = groups[:, k:]
        p = reward[among].softmax(-1)
        bend = chance[:, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
        information.index_put_((among[:, :, None], among[:, None, :]), bend, accumulate=True)
    return information


def limit_of(world: World, prompt: int, information: Tensor) -> Limit:
    best = optimum(world.reference[prompt], world.reward[prompt], beta=BETA).exp()
    m = (torch.diag(best) - torch.outer(best, best)) @ torch.linalg.pinv(information, hermitian=True)
    trace = float(m.trace())
    return Limit(trace / (2 * BETA**2), math.sqrt(2 * float((m @ m).trace())) / trace)


def _chance_of_sets(mu: Tensor, groups: Tensor) -> Tensor:
    """(P, K) -> (P,) how likely these completions, in whatever order, are drawn without replacement."""
    total = torch.zeros(len(groups), dtype=torch.float64)
    for order in itertools.permutations(range(groups.shape[1])):
        one = mu[groups[:, list(order)]]
        before = one.cumsum(-1) - one
        total += (one / (1 - before)).prod(-1)
    return total


def curve(world: World, name: str, *, sizes: Sequence[int] = SIZES, repeats: int = REPEATS, prompt: int = 0) -> Curve:
    """Fits the method to `repeats` data sets of each size."""
    learner, reference = LEARNERS[name], world.reference[prompt]
    information = information_of(world, prompt, learner.samples)
    best = optimum(reference, world.reward[prompt], beta=BETA)
    errors = np.zeros((len(sizes), repeats))
    for i, size in enumerate(sizes):
        for k in range(repeats):
            data = drawn_data(world, prompt, learner.samples, size, seed=hash_of(name, k))
            scores = scored(learner.loss(world, prompt, data), information)
            errors[i, k] = float(kl(best, optimum(reference, scores, beta=BETA)))
    return Curve(name, sizes, errors, limit_of(world, prompt, information))


def scored(loss: Loss, information: Tensor, *, still: float = 1e-7, most: int = 300) -> Tensor:
    """(S,) the scores that make a loss least, by Fisher's scoring from 0: steps of I^-1 slope, halved uphill.

    Where some completion never won there is no least: its score falls, ever more slowly, until `most` steps are done.
    """
    inverse = torch.linalg.pinv(information, hermitian=True)
    scores = torch.zeros(len(information), dtype=torch.float64)
    for _ in range(most):
        at = scores.clone().requires_grad_()
        value = loss(at)
        (slope,) = torch.autograd.grad(value, at)
        if float(slope.abs().max()) < still:
            break
        step, share = inverse @ slope, 1.0
        while loss(scores - share * step).item() > value.item() and share > 1e-6:
            share /= 2
        scores = scores - share * step
    return scores


def hash_of(name: str, number: int) -> int:
    """A seed of its own for each method and data set."""
    return int.from_bytes(name.encode()[:6], "little") + number

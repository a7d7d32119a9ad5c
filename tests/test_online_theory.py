"""Where online DPO ends, on completions that can be counted: expected steps from groups of the policy's own samples.

Groups of K = 3 samples are drawn from the policy as it is (mu = pi, without gradient), ordered by Plackett-Luce with
the true rewards, so that every two are ordered as Bradley-Terry has it, and learnt from as the product takes them.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import tiny
import torch
from torch import Tensor

from accord.data.choose import pairs
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.records import Completion, Group, Judgement
from accord.stages.online_judging import judged, learnt

BETA = 0.5
R = torch.tensor([1.0, -0.6, 0.2, -0.1], dtype=torch.float64)
REFERENCE = torch.tensor([0.15, 0.3, 0.35, 0.2], dtype=torch.float64)
TEXTS = "abcd"
K = 3
RATE = 6.0
Loss = Callable[[Tensor, Tensor], Tensor]  # logits, reference -> the expected loss


class Term(NamedTuple):
    """One pair of completions of the groups that hold these samples."""

    members: tuple[int, ...]
    chosen: int
    rejected: int


def chance_of(order: tuple[int, ...], members: tuple[int, ...]) -> float:
    """Plackett-Luce: of these samples, best first."""
    left = [math.exp(R[members[place]]) for place in order]
    return math.prod(one / sum(left[i:]) for i, one in enumerate(left))


def by_score(members: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    """The ranks that scores give, for sure."""
    score = [R[member].item() for member in members]
    return [(tuple(1 + sum(other > own for other in score) for own in score), 1.0)]


def by_chance(members: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    orders = list(itertools.permutations(range(K)))
    return [(tuple(1 + order.index(place) for place in range(K)), chance_of(order, members)) for order in orders]


def terms(judge: Callable[..., list[tuple[tuple[int, ...], float]]], *, extremes: bool) -> dict[Term, float]:
    """Every pair that is learnt from, with its weight times the chance of the order, over all groups and orders."""
    tokens, found = tiny.group(2, (1,) * K), dict[Term, float]()
    for members in itertools.product(range(4), repeat=K):
        text = Group("g", "x", tuple(Completion(TEXTS[member]) for member in members))
        for ranks, chance in judge(members):
            for one in learnt([judged(tokens, text, [Judgement(ranks=ranks)])], "pairs", extremes=extremes):
                of = [members[place] for place in one.places]
                for pair in pairs(one.group.group):
                    term = Term(tuple(sorted(members)), of[pair.chosen], of[pair.rejected])
                    found[term] = found.get(term, 0.0) + chance * pair.weight
    return found


def expected(found: dict[Term, float]) -> Loss:
    members, chosen, rejected = (torch.tensor(column) for column in zip(*found, strict=True))
    fixed = torch.tensor(list(found.values()), dtype=torch.float64)

    def loss(logits: Tensor, reference: Tensor) -> Tensor:
        policy, ref = logits.log_softmax(-1), reference.log()
        sampled = policy.detach().exp()[members].prod(-1)
        sides = (Pair(values[chosen], values[rejected]) for values in (policy, ref, torch.ones_like(ref)))
        total: Tensor = (sampled * fixed * PAIR_LOSSES["sigmoid"].loss(*sides, beta=BETA, label_smoothing=0.0)).sum()
        return total

    return loss


def slope(loss: Loss, policy: Tensor, reference: Tensor) -> Tensor:
    logits = policy.log().requires_grad_()
    return torch.autograd.grad(loss(logits, reference), logits)[0]


def ended(loss: Loss, start: Tensor, reference: Tensor) -> Tensor:
    """The policy that steps along its own expected gradients lead to."""
    policy = start
    for _ in range(5000):
        gradient = slope(loss, policy, reference)
        if gradient.abs().max() < 1e-11:
            return policy
        policy = (policy.log() - RATE * gradient / policy).softmax(-1)  # over how likely each is: few steps will do
    raise AssertionError("it has not come to its end")


def optimum(reference: Tensor, times: int = 1) -> Tensor:
    """pi* = pi_ref exp(times r / beta) / Z, Eq. 10."""
    return (reference.log() + times * R / BETA).softmax(-1)


@pytest.fixture(scope="module")
def all_pairs() -> Loss:
    return expected(terms(by_chance, extremes=False))


def test_the_optimum_is_a_fixed_point(all_pairs: Loss) -> None:
    assert slope(all_pairs, optimum(REFERENCE), REFERENCE).abs().max() < 1e-12
    assert slope(all_pairs, REFERENCE, REFERENCE).abs().max() > 1e-3


def test_its_own_steps_lead_there_from_the_reference(all_pairs: Loss) -> None:
    torch.testing.assert_close(ended(all_pairs, REFERENCE, REFERENCE), optimum(REFERENCE), rtol=1e-5, atol=0)


def test_a_reference_that_is_anchored_anew_goes_on(all_pairs: Loss) -> None:
    """Each round that runs to its end adds r / beta: what the start was is lost, step by step."""
    policy = REFERENCE
    for times in (1, 2, 3):
        policy = ended(all_pairs, policy, policy)
        torch.testing.assert_close(policy, optimum(REFERENCE, times), rtol=1e-4, atol=0)


def test_the_best_against_the_worst_ends_beyond_the_optimum() -> None:
    """Of three samples the two ends of a drawn order are further apart than Bradley-Terry says of two."""
    policy = ended(expected(terms(by_chance, extremes=True)), REFERENCE, REFERENCE)
    best, worst = R.argmax(), R.argmin()
    gap = (policy / REFERENCE).log()
    assert gap[best] - gap[worst] > 1.1 * (R[best] - R[worst]) / BETA


@pytest.mark.parametrize("extremes", [True, False])
def test_orders_by_score_have_no_end(extremes: bool) -> None:
    """The better one of a pair always wins: its probability only ever rises."""
    loss, policy = expected(terms(by_score, extremes=extremes)), optimum(REFERENCE, 3)
    for _ in range(5):
        assert slope(loss, policy, REFERENCE).argmin() == R.argmax()
        policy = (policy.log() - RATE * slope(loss, policy, REFERENCE) / policy).softmax(-1)
    assert policy[R.argmax()] > optimum(REFERENCE, 3)[R.argmax()]

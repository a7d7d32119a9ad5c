"""Where losses end: the optimum that a row of a table names, on completions that can be counted.

A prompt has a few completions y with rewards r and lengths |y|. Pairs are drawn from mu and labelled by Bradley-Terry
with their exact probabilities, so that the expected loss is a sum. Its gradient must vanish at the policy that the row
names, and no policy near it may be better.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import Pair
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


R = double(1.0, -1.0, -0.4, 0.4)  # symmetric, for those whose shift must average out
MU = torch.full((4,), 0.25, dtype=torch.float64)
UNEVEN = double(0.4, 0.1, 0.3, 0.2)
REFERENCE = double(0.1, 0.2, 0.3, 0.4)
LENGTH = double(2, 3, 1, 5)


def win_rate(mu: Tensor, r: Tensor = R) -> Tensor:
    """w(y), how often y beats a completion from mu."""
    return torch.sigmoid(r[:, None] - r) @ mu


def expected(
    name: str, mu: Tensor, reference: Tensor, hyper: dict[str, float], flip: float = 0.0, r: Tensor = R
) -> Callable[[Tensor], Tensor]:
    """Logits of a policy -> its expected pair loss; labels are flipped with probability `flip`."""
    winner, loser = torch.cartesian_prod(torch.arange(len(r)), torch.arange(len(r))).T
    true = torch.sigmoid(r[winner] - r[loser])
    weight = mu[winner] * mu[loser] * (true * (1 - flip) + (1 - true) * flip)
    length = LENGTH[: len(r)]

    def loss(logits: Tensor) -> Tensor:
        sides = [Pair(logp[winner], logp[loser]) for logp in (logits.log_softmax(-1), reference.log(), length)]
        total: Tensor = (weight * PAIR_LOSSES[name].loss(*sides, **hyper)).sum()
        return total

    return loss


def assert_ends(loss: Callable[[Tensor], Tensor], policy: Tensor) -> None:
    """The expected loss is least at `policy`, of all policies near it."""
    assert policy.sum().item() == pytest.approx(1.0)
    logits = policy.log()
    gradient = torch.func.grad(loss)(logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    generator = torch.Generator().manual_seed(0)
    for size in (0.3, 0.03):
        away = logits + size * torch.randn(20, len(logits), generator=generator, dtype=torch.float64)
        assert (torch.stack([loss(one) for one in away]) > loss(logits)).all()


def normalised(unnormalised: Tensor) -> Tensor:
    return unnormalised / unnormalised.sum()


def by_length(base: Tensor, score: Tensor) -> Tensor:
    """base exp(|y| (score(y) - c)), c such that it sums to 1."""
    low, high = -100.0, 100.0
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if (base * torch.exp(LENGTH * (score - c))).sum() > 1 else (low, c)
    return base * torch.exp(LENGTH * (score - c))


def reference_of_one(score: Tensor) -> Tensor:
    """A reference under which reference exp(score) sums to 1: scores above and below 0 balance each other."""
    up = score > 0
    base = torch.ones_like(score)
    high, low = (torch.expm1(score[side]).sum().abs() for side in (up, ~up))
    return normalised(torch.where(up, base * low, base * high))


ONES = torch.ones(4, dtype=torch.float64)
EVERYWHERE = {
    "sigmoid": ({"beta": 0.5}, normalised(REFERENCE * torch.exp(R / 0.5))),
    "exponential": ({"beta": 0.5}, normalised(REFERENCE * torch.exp(R / 2 / 0.5))),
    "ipo": ({"beta": 0.5}, by_length(REFERENCE, win_rate(UNEVEN) / 0.5)),
    "sigmoid_norm": ({"beta": 2.0}, by_length(REFERENCE, R / 2.0)),
    "simpo": ({"beta": 2.0, "gamma_beta_ratio": 0.0}, by_length(ONES, R / 2.0)),
    "cpo": ({"beta": 0.5, "cpo_alpha": 0.0}, normalised(torch.exp(R / 0.5))),
    "sft": ({}, normalised(UNEVEN * win_rate(UNEVEN) / LENGTH)),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_loss_ends_where_its_row_says(name: str) -> None:
    hyper, policy = EVERYWHERE[name]
    assert_ends(expected(name, UNEVEN, REFERENCE, hyper), policy)


def test_implicit_reward_at_the_end_is_the_reward_but_for_beta_log_z() -> None:
    """Equation 11."""
    policy, z = EVERYWHERE["sigmoid"][1].log(), (REFERENCE * torch.exp(R / 0.5)).sum()
    sides = (Pair(side, side) for side in (policy, REFERENCE.log(), LENGTH))
    learnt = PAIR_LOSSES["sigmoid"].reward(*sides, beta=0.5, label_smoothing=0.0)
    torch.testing.assert_close(learnt.chosen + 0.5 * z.log(), R)


def test_robust_ends_in_the_optimum_of_true_labels() -> None:
    hyper = {"beta": 0.5, "label_smoothing": 0.2}
    assert_ends(expected("robust", UNEVEN, REFERENCE, hyper, flip=0.2), EVERYWHERE["sigmoid"][1])


P = torch.sigmoid(double(0.8)).item()  # how often the first of two completions wins
# beta h at the end, of two completions.
OF_TWO = {
    "cdpo": ({"beta": 0.5, "label_smoothing": 0.1}, math.log((0.1 + 0.8 * P) / (0.9 - 0.8 * P))),
    "hinge": ({"beta": 0.5}, 1.0),
    "robust": ({"beta": 0.5, "label_smoothing": 0.1}, math.log((P - 0.1) / (0.9 - P))),
    "exo_pair": ({"beta": 0.5, "label_smoothing": 0.1}, (2 * P - 1) * math.log(9)),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_loss_ends_where_its_row_says_of_two_completions(name: str) -> None:
    hyper, gap = OF_TWO[name]
    reference = double(0.3, 0.7)
    policy = normalised(reference * torch.exp(double(gap / 0.5, 0.0)))
    loss = expected(name, double(0.6, 0.4), reference, hyper, r=double(0.8, 0.0))
    if name == "hinge":  # it has a kink there: no gradient, but a least value
        around = [loss((policy * double(factor, 1)).log()) for factor in (0.9, 1.0, 1.1)]
        assert around[1] < min(around[0], around[2])
    else:
        assert_ends(loss, policy)


def test_nca_ends_in_twice_the_win_rate() -> None:
    assert_ends(expected("nca_pair", UNEVEN, UNEVEN, {"beta": 1.0}), UNEVEN * 2 * win_rate(UNEVEN))
    score = (2 * win_rate(MU)).log() / 0.5
    reference = reference_of_one(score)
    assert_ends(expected("nca_pair", MU, reference, {"beta": 0.5}), reference * torch.exp(score))


def test_bco_ends_in_the_odds_of_winning() -> None:
    odds = win_rate(MU) / (1 - win_rate(MU))
    assert odds.log().mean().item() == pytest.approx(0.0, abs=1e-12)
    assert_ends(expected("bco_pair", MU, REFERENCE, {"beta": 0.5}), normalised(REFERENCE * odds ** (1 / 0.5)))


def test_sppo_ends_in_the_exponential_of_the_win_rate() -> None:
    score = (win_rate(MU) - 0.5) / 0.5
    reference = reference_of_one(score)
    assert_ends(expected("sppo_hard", MU, reference, {"beta": 0.5}), reference * torch.exp(score))


@pytest.mark.parametrize("name", ["discopop", "aot", "aot_unpaired"])
def test_losses_without_a_closed_form_do_not_end_in_the_optimum_of_dpo(name: str) -> None:
    """A thousand pairs in their exact proportions, as sorting knows no weights."""
    winner, loser = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    count = (1000 * torch.sigmoid(R[winner] - R[loser]) / 8).round().long()

    def loss(logits: Tensor) -> Tensor:
        sides = (
            Pair(*(logp[side].repeat_interleave(count) for side in (winner, loser)))
            for logp in (logits.log_softmax(-1), REFERENCE.log(), LENGTH)
        )
        total: Tensor = PAIR_LOSSES[name].loss(*sides, beta=0.5).mean()
        return total

    assert torch.func.grad(loss)(EVERYWHERE["sigmoid"][1].log()).norm() > 1e-2


def run_down(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int = 4000) -> Tensor:
    """The policy after plain gradient descent."""
    logits = start.log()
    for _ in range(steps):
        logits = logits - 5.0 * torch.func.grad(loss)(logits)
    return logits.softmax(-1)


def test_apo_zero_runs_to_the_boundary() -> None:
    policy = run_down(expected("apo_zero", UNEVEN, REFERENCE, {"beta": 0.5}), REFERENCE)
    assert (policy[win_rate(UNEVEN) < 0.5] < 1e-2).all()


def test_apo_down_gathers_on_one_where_all_are_compared() -> None:
    policy = run_down(expected("apo_down", UNEVEN, REFERENCE, {"beta": 0.5}), REFERENCE, 2000)
    assert policy.max() > 0.99


def test_discopop_ends_in_its_dip() -> None:
    policy = run_down(expected("discopop", UNEVEN, REFERENCE, {"beta": 0.5}), REFERENCE, 1000)
    gap = (policy / REFERENCE).log()
    assert -1 < gap[0] - gap[1] < 0  # although r is 2 more


# Of each row's optimum u(r, c, beta): solved for c, and itself.
SOLVED: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "reverse_kl": (lambda u, r, beta: r - beta * u.log(), lambda r, c, beta: torch.exp((r - c) / beta)),
    "forward_kl": (lambda u, r, beta: r + beta / u, lambda r, c, beta: beta / (c - r)),
    "js_divergence": (
        lambda u, r, beta: r + beta * ((1 / u + 1) / 2).log(),
        lambda r, c, beta: 1 / (2 * torch.exp((c - r) / beta) - 1),
    ),
    # a = 1/2.
    "alpha_divergence": (
        lambda u, r, beta: r - beta * (u**-0.5 - 1) / -0.5,
        lambda r, c, beta: (1 - 0.5 * (r - c) / beta) ** -2,
    ),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_dpo_under_a_divergence_solves_its_own_objective(name: str) -> None:
    """The policy is the row's optimum, for one and the same c."""
    beta, winner, loser = 0.5, *torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    r, probability = R / 4, torch.sigmoid(R[winner] / 4 - R[loser] / 4)

    def loss(logits: Tensor) -> Tensor:
        score = DIVERGENCES[name].score(logits.log_softmax(-1) - REFERENCE.log())
        zero = torch.zeros_like(winner)
        sides = Pair(score[winner], score[loser]), Pair(zero, zero), Pair(zero, zero)
        total: Tensor = (probability * PAIR_LOSSES["sigmoid"].loss(*sides, beta=beta)).sum()
        return total

    logits = REFERENCE.log()
    for _ in range(30):
        logits = logits - torch.linalg.pinv(torch.func.hessian(loss)(logits)) @ torch.func.grad(loss)(logits)
    policy = logits.softmax(-1)
    # c from the first completion; the other three and the sum then have nothing to choose.
    c = SOLVED[name][0](policy[0] / REFERENCE[0], r[0], beta)
    torch.testing.assert_close(REFERENCE * SOLVED[name][1](r, c, beta), policy, rtol=1e-6, atol=1e-9)


DESIRABLE = torch.sigmoid(R)


def expected_unpaired(name: str, reference: Tensor, hyper: dict[str, float]) -> Callable[[Tensor], Tensor]:
    """Logits of a policy -> its expected loss on completions from MU, desirable with probability sigma(r)."""
    row = UNPAIRED_LOSSES[name]

    def loss(logits: Tensor) -> Tensor:
        policy, ref = logits.log_softmax(-1), reference.log()
        ratio = policy - ref
        up = torch.ones(4, dtype=torch.bool)
        delta = (DESIRABLE * ratio).sum() / DESIRABLE.sum() + ((1 - DESIRABLE) * ratio).sum() / (1 - DESIRABLE).sum()
        baseline = (0.5 * delta).detach()
        sides = (
            probability * row.loss(policy, ref, LENGTH, label, baseline, **hyper)
            for label, probability in ((up, DESIRABLE), (~up, 1 - DESIRABLE))
        )
        return (MU * sum(sides)).sum()

    return loss


def test_bco_ends_in_the_optimum_where_the_labels_balance() -> None:
    assert ((DESIRABLE - (1 - DESIRABLE)) * R).sum() > 0  # means differ, and sum to 0 as R is symmetric
    assert_ends(expected_unpaired("bco", REFERENCE, {"beta": 0.5}), EVERYWHERE["sigmoid"][1])


@pytest.mark.parametrize("name, score", [("logistic", R / 0.5), ("exponential_unpaired", R / 2 / 0.5)])
def test_surrogates_end_where_their_rows_say(name: str, score: Tensor) -> None:
    reference = reference_of_one(score)
    assert_ends(expected_unpaired(name, reference, {"beta": 0.5}), reference * torch.exp(score))


def test_hinge_ends_in_signs() -> None:
    reference = reference_of_one(R.sign() / 0.5)
    policy = reference * torch.exp(R.sign() / 0.5)
    assert policy.sum().item() == pytest.approx(1.0)
    loss = expected_unpaired("hinge_unpaired", reference, {"beta": 0.5})
    generator = torch.Generator().manual_seed(0)
    away = policy.log() + 0.1 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    assert (torch.stack([loss(one) for one in away]) > loss(policy.log())).all()


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_kto_runs_to_the_boundary(name: str) -> None:
    hyper = {"beta": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    policy = run_down(expected_unpaired(name, REFERENCE, hyper), REFERENCE)
    assert (policy[R < 0] < 1e-2).all()


def test_npo_takes_probability_from_what_is_undesirable() -> None:
    gradient = torch.func.grad(expected_unpaired("npo", REFERENCE, {"beta": 0.5}))(REFERENCE.log())
    assert gradient.argmax() == (MU * (1 - DESIRABLE) - REFERENCE * (MU * (1 - DESIRABLE)).sum()).argmax()


def test_plackett_luce_ends_in_the_optimum() -> None:
    """Rankings of three completions, each with its exact probability under rewards r."""
    r, reference = R[:3], normalised(REFERENCE[:3])
    order = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])  # best first
    left = r[order].exp()
    probability = (left / left.flip(-1).cumsum(-1).flip(-1)).prod(-1)
    ranks = order.argsort(-1) + 1

    def loss(logits: Tensor) -> Tensor:
        policy, ref = logits.log_softmax(-1).expand(6, 3), reference.log().expand(6, 3)
        total: Tensor = (probability * RANKING_LOSSES["plackett_luce"].loss(policy, ref, ref, ranks, beta=0.5)).sum()
        return total

    assert_ends(loss, normalised(reference * torch.exp(r / 0.5)))

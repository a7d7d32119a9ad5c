"""What modifies pair losses: f-divergences, length desensitising, weights by the policy; finite exponentials."""

import math

import pytest
import torch
from torch import Tensor

from accord.maths.desensitise import desensitised
from accord.maths.f_divergence import DIVERGENCES, alpha_divergence, forward_kl, js_divergence
from accord.maths.finite import finite_exp, finite_expm1, log_odds
from accord.maths.gap_losses import dpo
from accord.maths.pair import Pair, hyperparameters
from accord.maths.reference_free import nll
from accord.maths.weighting import alignment_weight, pair_weight

# f of each divergence at u, to be differentiated by finite differences.
F = {
    "reverse_kl": lambda u: u * u.log(),
    "forward_kl": lambda u: -u.log(),
    "js_divergence": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(),
    # With a = 1/2: (u^a - a u - 1 + a) / (a (a - 1)).
    "alpha_divergence": lambda u: (u.sqrt() - u / 2 - 0.5) / -0.25,
}
# The score at u = 4, worked out by hand.
AT_FOUR = {
    "reverse_kl": math.log(4),
    "forward_kl": 3 / 4,
    "js_divergence": math.log(8 / 5),
    "alpha_divergence": (1 / 2 - 1) / (-1 / 2),
}


def test_every_divergence_is_written_down() -> None:
    assert DIVERGENCES.keys() == F.keys() == AT_FOUR.keys()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_score_at_four_by_hand(name: str) -> None:
    assert DIVERGENCES[name].score(torch.tensor(4.0).log()).item() == pytest.approx(AT_FOUR[name])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_score_is_the_derivative_of_f_but_for_a_constant(name: str) -> None:
    u = torch.linspace(0.2, 4, 20, dtype=torch.float64)
    slope = (F[name](u + 1e-5) - F[name](u - 1e-5)) / 2e-5
    at_one = {"reverse_kl": 1.0, "forward_kl": -1.0, "js_divergence": 0.0, "alpha_divergence": 0.0}[name]
    torch.testing.assert_close(DIVERGENCES[name].score(u.log()), slope - at_one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_score_is_zero_at_the_start_rises_and_stays_finite(name: str) -> None:
    score = DIVERGENCES[name].score
    assert score(torch.tensor(0.0)).item() == 0.0
    far = torch.tensor([-1e4, -100.0, -1.0, 0.0, 1.0, 20.0], requires_grad=True)
    found = score(far)
    (slope,) = torch.autograd.grad(found.sum(), far)
    assert found.isfinite().all() and found.dtype == torch.float32
    assert (found.diff() >= 0).all()
    assert slope.isfinite().all() and (slope >= 0).all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradient_of_the_score_against_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(DIVERGENCES[name].score, [torch.linspace(-3, 3, 7).double().requires_grad_()])


def test_alpha_divergence_runs_from_forward_to_reverse_kl() -> None:
    u = torch.linspace(-3, 3, 7).double()
    torch.testing.assert_close(alpha_divergence(u, f_alpha_divergence_coef=0.0), forward_kl(u))
    torch.testing.assert_close(alpha_divergence(u, f_alpha_divergence_coef=1.0), u)
    torch.testing.assert_close(alpha_divergence(u, f_alpha_divergence_coef=1 + 1e-9), u)
    assert hyperparameters(alpha_divergence) == {"f_alpha_divergence_coef": 0.5}


def test_dpo_under_a_divergence() -> None:
    # u = 4 and 1/4: log(8/5) - log(2/5) = log 4, so with beta = 1 the loss is -log(4/5).
    ratio, zero = Pair(torch.tensor([math.log(4)]), torch.tensor([-math.log(4)])), Pair(torch.zeros(1), torch.zeros(1))
    scores = Pair(js_divergence(ratio.chosen), js_divergence(ratio.rejected))
    assert dpo(scores, zero, zero, beta=1.0).item() == pytest.approx(math.log(5 / 4))


# Three completions of 2, 4 and 3 tokens.
TOKEN = torch.tensor([-1.0, -2.0, -10.0, -20.0, -30.0, -40.0, -3.0, -4.0, -5.0])
OWNER = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2, 2])


def test_a_completion_counts_fully_up_to_the_length_of_its_rival() -> None:
    pair = Pair(torch.tensor([0, 1, 2, 1]), torch.tensor([1, 2, 0, 1]))
    found = desensitised(TOKEN, OWNER, 3, pair, ld_alpha=0.5)
    # Shared lengths 2, 3, 2, 4: the second completion counts differently in each of its pairs.
    assert found.chosen.tolist() == [-3, -10 - 20 - 30 - 20, -3 - 4 - 2.5, -100]
    assert found.rejected.tolist() == [-10 - 20 - 15 - 20, -12, -3, -100]


def test_desensitising_with_one_is_the_plain_sum_and_its_gradient_reaches_tokens() -> None:
    pair = Pair(torch.tensor([1, 2]), torch.tensor([0, 1]))
    plain = desensitised(TOKEN, OWNER, 3, pair, ld_alpha=1.0)
    assert (plain.chosen.tolist(), plain.rejected.tolist()) == ([-100, -12], [-3, -100])

    def total(token: Tensor) -> Tensor:
        found = desensitised(token, OWNER, 3, pair, ld_alpha=0.25)
        return found.chosen.sum() - 2 * found.rejected.sum()

    token = TOKEN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(token), token)
    # The second completion: shared 2 of 4 as chosen, 3 of 4 as rejected.
    assert gradient.tolist() == [-2, -2, 1 - 2, 1 - 2, 0.25 - 2, 0.25 - 0.5, 1, 1, 1]


def test_desensitising_of_nothing() -> None:
    empty = torch.empty(0, dtype=torch.long)
    found = desensitised(torch.empty(0), empty, 2, Pair(torch.tensor([0]), torch.tensor([1])), ld_alpha=0.5)
    assert (found.chosen.tolist(), found.rejected.tolist()) == ([0.0], [0.0])


def test_weight_of_a_completion_by_hand() -> None:
    # p = (1/2, 1/4, 1/4): sum of squares 3/8. Tokens 1/2 and 1/4: sqrt(4/3 * 2/3). Sure of its one token: 1.
    token = torch.tensor([1 / 2, 1 / 4, 1.0]).log()
    collision, owner = torch.tensor([3 / 8, 3 / 8, 1.0]), torch.tensor([0, 0, 2])
    weight = alignment_weight(token, collision, owner, 3)
    assert weight.tolist() == pytest.approx([math.sqrt(8 / 9), 1.0, 1.0])


def test_weight_of_a_pair_is_the_product_at_most_one() -> None:
    weight = pair_weight(Pair(torch.tensor([0.5, 1.5, 0.9]), torch.tensor([0.5, 1.2, 1.0])))
    assert weight.tolist() == pytest.approx([0.25, 1.0, 0.9])


def test_nll_is_per_token() -> None:
    assert nll(torch.tensor([-6.0, 0.0]), torch.tensor([3, 0])).tolist() == [2.0, 0.0]


def test_exponentials_go_on_along_their_tangent() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0, 42.0])
    tangent = 3 * math.exp(40)
    assert finite_exp(x).tolist() == pytest.approx([math.exp(-2), 1, math.exp(3), tangent])
    assert finite_expm1(x).tolist() == pytest.approx([math.expm1(-2), 0, math.expm1(3), tangent])
    assert finite_expm1(torch.tensor(1e-6)).item() == pytest.approx(1e-6, rel=1e-5)


def test_log_odds_keep_their_digits_at_both_ends() -> None:
    # log(p / (1 - p)) of p = 1/2, e^-30, 1 - 1e-6 (whose log is -1e-6 - 5e-13).
    found = log_odds(torch.tensor([math.log(1 / 2), -30.0, -1e-6]))
    assert found.tolist() == pytest.approx([0.0, -30.0, math.log(1e6)], abs=1e-5)
    certain = torch.zeros(1, requires_grad=True)
    (slope,) = torch.autograd.grad(log_odds(certain).sum(), certain)
    assert log_odds(certain).isfinite().all() and slope.isfinite().all()

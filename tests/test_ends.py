"""Claims of ends: by hand of two completions, and the solvers that they share."""

import math

import pytest
import torch
from torch import Tensor

from accord.maths import pair_ends, side_ends
from accord.maths.ends import Setting, balanced, setting, tilted_by_length
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.rungs import rungs


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


P = 0.7  # how often the first of two completions wins
REFERENCE = double(0.3, 0.7)
TWO = setting(REFERENCE.log(), double(math.log(P / (1 - P)), 0.0), double(0.6, 0.4), double(2, 3))


def odds(of: Setting, logp: Tensor) -> float:
    """h = log(pi / pi_ref) of the first less that of the second."""
    ratio = logp - of.reference
    assert logp.exp().sum().item() == pytest.approx(1.0)
    return (ratio[0] - ratio[1]).item()


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# beta h at the end, of two completions.
OF_TWO = {
    "dpo": (pair_ends.dpo(TWO, beta=0.5), logit(P)),
    "exponential": (pair_ends.exponential(TWO, beta=0.5), logit(P) / 2),
    "cdpo": (pair_ends.cdpo(TWO, beta=0.5, label_smoothing=0.1), logit(0.1 + 0.8 * P)),
    "smoothed dpo": (pair_ends.dpo(TWO, beta=0.5, label_smoothing=0.1), logit(0.1 + 0.8 * P)),
    "robust": (pair_ends.robust(TWO, beta=0.5, label_smoothing=0.1), logit((P - 0.1) / 0.8)),
    "exo_pair": (pair_ends.exo_pair(TWO, beta=0.5, label_smoothing=0.1), (2 * P - 1) * math.log(9)),
    "hinge": (pair_ends.hinge(TWO, beta=0.5), 1.0),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_ends_of_two_completions_by_hand(name: str) -> None:
    found, gap = OF_TWO[name]
    assert 0.5 * odds(TWO, found) == pytest.approx(gap, rel=1e-9)


def test_how_often_each_wins() -> None:
    """Against itself half of the time: 0.6 1/2 + 0.4 P of the first, 0.6 (1 - P) + 0.4 1/2 of the second."""
    torch.testing.assert_close(TWO.w, double(0.58, 0.38))
    torch.testing.assert_close(pair_ends.sft(TWO).exp(), double(0.6 * 0.58 / 2, 0.4 * 0.38 / 3) / (0.174 + 0.152 / 3))


def test_a_constant_of_each_token() -> None:
    """1/2 exp(2 (1 - c)) + 1/2 exp(-c) = 1: with z = exp(-c) a quadratic, e^2 z^2 + z = 2."""
    z = (-1 + math.sqrt(1 + 8 * math.e**2)) / (2 * math.e**2)
    found = tilted_by_length(double(0.5, 0.5).log(), double(1.0, 0.0), double(2, 1))
    torch.testing.assert_close(found.exp(), double(0.5 * math.e**2 * z**2, 0.5 * z))


def test_a_balance_by_hand() -> None:
    """The likelihood of weights 1, 2, 5 ends in them; what no policy balances is said."""
    weight = double(1, 2, 5)
    torch.testing.assert_close(balanced(lambda logp: -weight, torch.zeros(3).double()).exp(), weight / 8)
    with pytest.raises(ValueError, match="no balance"):
        balanced(lambda logp: double(-1, 1, 0), torch.zeros(3).double())


def test_rungs_by_hand() -> None:
    """A chain of certain wins needs a step each."""
    certain = torch.tensor([[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]], dtype=torch.float64)
    evenly = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert rungs(certain, evenly).tolist() == [2, 1, 0]


def hinge_by_hand(win: Tensor, mu: Tensor, scores: Tensor) -> float:
    gap = scores[:, None] - scores
    return float((mu[:, None] * mu * win * (1 - gap).clamp(min=0)).sum())


def test_rungs_are_the_best_whole_numbers() -> None:
    """All 4^4 ladders are tried."""
    reward, mu = double(0.9, -0.3, 0.4, -1.2), double(0.4, 0.1, 0.3, 0.2)
    win = torch.sigmoid(reward[:, None] - reward)
    ladders = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 4)
    least = min(hinge_by_hand(win, mu, one) for one in ladders)
    assert hinge_by_hand(win, mu, rungs(win, mu)) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_log_ratio_is_the_inverse_of_the_score(name: str) -> None:
    row, ratio = DIVERGENCES[name], torch.linspace(-3, 3, 13, dtype=torch.float64)
    assert row.log_ratio is not None
    torch.testing.assert_close(row.log_ratio(row.score(ratio)), ratio)


def test_what_has_no_end_is_said() -> None:
    with pytest.raises(ValueError, match="signs alone sum to"):
        side_ends.hinge(TWO._replace(desirable=double(0.3, 0.2)), beta=0.5)
    with pytest.raises(ValueError, match="above 1"):
        side_ends.apo_zero(TWO, beta=2.0)


def test_what_wins_less_than_half_loses_everything() -> None:
    """One is left: it has it all. Of two left, chances go as beta sigma sigma' / pi does."""
    assert side_ends.apo_zero(TWO, beta=0.5).exp().tolist() == [1.0, 0.0]
    of = TWO._replace(reference=double(0.2, 0.3, 0.5).log(), mu=double(0.2, 0.3, 0.5), desirable=double(0.9, 0.7, 0.1))
    found = side_ends.kto(of, beta=0.5, desirable_weight=1.0, undesirable_weight=1.0).exp()
    assert found[2] == 0
    share = found.sqrt() / of.reference.exp().sqrt()
    slope = of.mu * double(0.8, 0.4, 0) * share / (1 + share) ** 2 / found
    assert slope[0].item() == pytest.approx(slope[1].item(), rel=1e-9)

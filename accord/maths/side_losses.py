"""Pair losses that look at each side by itself, or at all pairs of a step together.

Here a constant added to both log-ratios of a prompt does not cancel, so a log-ratio cannot be replaced by an
f-divergence's score. Each takes (policy, reference, length), Pairs of (P,), and returns one loss per pair.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths.gap_losses import smoothed_logistic
from accord.maths.pair import Pair, log_ratio, log_ratio_gap


def nca_pair(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) -log sigma(beta rho_w) - log sigma(-beta rho_w) / 2 - log sigma(-beta rho_l) / 2.

    Noise contrastive alignment on pairs, Chen et al. 2024: the absolute likelihood of the chosen completion counts.
    """
    ratio = log_ratio(policy, reference)
    chosen, rejected = beta * ratio.chosen, beta * ratio.rejected
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def bco_pair(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) -log sigma(beta rho_w - delta) - log sigma(delta - beta rho_l), delta = mean of all beta rho.

    Binary classifier optimisation, Jung et al. 2024: half the sum of the two sides' mean rewards shifts both, and
    carries no gradient. TRL 1.16 leaves delta out.
    """
    ratio = log_ratio(policy, reference)
    chosen, rejected = beta * ratio.chosen, beta * ratio.rejected
    delta = (0.5 * (chosen.mean() + rejected.mean())).detach()
    return -logsigmoid(chosen - delta) - logsigmoid(delta - rejected)


def sppo_hard(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.001) -> Tensor:
    """(P,) (rho_w - 1 / (2 beta))^2 + (rho_l + 1 / (2 beta))^2.

    Self-play preference optimisation, Wu et al. 2024, Eq. 4.7 with P = 1 for the winner and 0 for the loser; beta is
    1 / eta, and the paper's eta is 1000. There the reference is the policy of the round before.
    """
    ratio = log_ratio(policy, reference)
    return (ratio.chosen - 0.5 / beta).square() + (ratio.rejected + 0.5 / beta).square()


def aot(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 0.0) -> Tensor:
    """(P,) -log sigma(beta (m_(i) - m_ref_(i))), m = log pi(y_w|x) - log pi(y_l|x), the i-th smallest of each.

    Alignment by optimal transport on paired data, Melnyk et al. 2024: the policy's margins are to exceed the
    reference's quantile by quantile. A term is given to the pair whose margin of the policy it holds.
    label_smoothing: as in cdpo.
    """
    return _quantile_loss(policy.chosen - policy.rejected, reference.chosen - reference.rejected, beta, label_smoothing)


def aot_unpaired(
    policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 0.0
) -> Tensor:
    """(P,) -log sigma(beta (rho_w(i) - rho_l(i))), the i-th smallest of the chosen and of the rejected.

    Alignment by optimal transport on unpaired data, Melnyk et al. 2024: the chosen log-ratios are to exceed the
    rejected ones quantile by quantile. A term is given to the pair whose chosen log-ratio it holds.
    label_smoothing: as in cdpo.
    """
    ratio = log_ratio(policy, reference)
    return _quantile_loss(ratio.chosen, ratio.rejected, beta, label_smoothing)


def _quantile_loss(upper: Tensor, lower: Tensor, beta: float, label_smoothing: float) -> Tensor:
    ordered, place = upper.sort()
    loss = smoothed_logistic(beta * (ordered - lower.sort().values), label_smoothing)
    return torch.zeros_like(loss).index_put((place,), loss)


def apo_zero(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) 1 - sigma(beta rho_w) + sigma(beta rho_l).

    Anchored preference optimisation, D'Oosterlinck et al. 2024, Eq. 7: for chosen texts better than the model's own.
    """
    ratio = log_ratio(policy, reference)
    return torch.sigmoid(-beta * ratio.chosen) + torch.sigmoid(beta * ratio.rejected)


def apo_down(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) sigma(beta rho_w) + 1 - sigma(beta h).

    Anchored preference optimisation, D'Oosterlinck et al. 2024, Eq. 8: for chosen texts worse than the model's own.
    """
    gap = log_ratio_gap(policy, reference)
    return torch.sigmoid(beta * log_ratio(policy, reference).chosen) + torch.sigmoid(-beta * gap)

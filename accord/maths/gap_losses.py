"""Pair losses that see a comparison only through the gap of its log-ratios, h = rho_w - rho_l: DPO and its kin.

What is added to both log-ratios of a prompt, such as beta log Z(x), cancels in h. So these are the losses in which an
f-divergence may take the place of the log-ratio. (In the two that divide by lengths it cancels for equal lengths.)
Each takes (policy, reference, length), Pairs of (P,), and returns one loss per pair. Gradients flow to both models'
log-probabilities; the caller detaches.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths import surrogates
from accord.maths.finite import finite_exp
from accord.maths.pair import Pair, log_ratio, log_ratio_gap, per_token, scaled


def smoothed_logistic(margin: Tensor, label_smoothing: float) -> Tensor:
    """-(1 - eps) log sigma(m) - eps log sigma(-m), any shape: the cross-entropy with a label that is 1 - eps."""
    return -(1 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)


def dpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 0.0) -> Tensor:
    """(P,) -log sigma(beta h).

    Eq. 12. Rafailov et al. 2023, Eq. 7. With label_smoothing eps > 0 it is cdpo: -(1 - eps) log sigma(beta h)
    - eps log sigma(-beta h).
    """
    return smoothed_logistic(beta * log_ratio_gap(policy, reference), label_smoothing)


def cdpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """(P,) -(1 - eps) log sigma(beta h) - eps log sigma(-beta h), eps = label_smoothing.

    Conservative DPO: a label is taken to be wrong with probability eps. Mitchell 2023, A note on DPO with noisy
    preferences. It stops where sigma(beta h) = 1 - eps; `robust` corrects for flipped labels instead.
    """
    return dpo(policy, reference, length, beta=beta, label_smoothing=label_smoothing)


def hinge(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) max(0, 1 - beta h).

    SLiC (Zhao et al. 2023) on log-ratios, as Liu et al. 2024 (RSO) normalise it; the hinge of Eq. 14 with m = beta h.
    """
    return surrogates.hinge(beta * log_ratio_gap(policy, reference))


def ipo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) (rho_w / |y_w| - rho_l / |y_l| - 1 / (2 beta))^2.

    Azar et al. 2024, Eq. 17, with log-ratios per token: the paper writes sums; its authors advise means, as TRL's code
    records, and its results were made so. With sums the loss grows with the square of the length. beta is the paper's
    tau, the coefficient of the KL that other losses call beta.
    """
    mean = per_token(log_ratio(policy, reference), length)
    return (mean.chosen - mean.rejected - 1 / (2 * beta)).square()


def exponential(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) exp(-beta h).

    The exponential loss of Eq. 14 with m = beta h; Tang et al. 2024, Generalized Preference Optimization, f(m) =
    exp(-m). Below beta h = -40 it goes on along its tangent, since float32 has no such numbers.
    """
    return surrogates.exponential(beta * log_ratio_gap(policy, reference))


def robust(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """(P,) (-(1 - eps) log sigma(beta h) + eps log sigma(-beta h)) / (1 - 2 eps), eps = label_smoothing < 1/2.

    Robust DPO, Chowdhury et al. 2024: over labels that are flipped with probability eps its mean is the DPO loss of
    the true labels. Of a pair always labelled alike it is not bounded from below.
    """
    margin = beta * log_ratio_gap(policy, reference)
    clean, flipped = -logsigmoid(margin), -logsigmoid(-margin)
    return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def exo_pair(
    policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, label_smoothing: float = 1e-3
) -> Tensor:
    """(P,) KL(q || p), q = (sigma(beta h), sigma(-beta h)), p = (1 - eps, eps), eps = label_smoothing > 0.

    EXO on pairs, Ji et al. 2024, Eq. 16: the reverse of DPO's KL, which is KL(p || q) but for a constant.
    """
    margin = beta * log_ratio_gap(policy, reference)
    chosen = torch.sigmoid(margin) * (logsigmoid(margin) - math.log1p(-label_smoothing))
    return chosen + torch.sigmoid(-margin) * (logsigmoid(-margin) - math.log(label_smoothing))


def discopop(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, discopop_tau: float = 0.05) -> Tensor:
    """(P,) -(1 - s) log sigma(beta h) + s exp(-beta h), s = sigma(beta h / discopop_tau).

    Log-ratio modulated loss, Lu et al. 2024, Eq. 5, found by a language model. It is not monotone: it rises with h near
    h = 0 (slope (1 - ln 2) / (4 discopop_tau) - 3/4, times beta), with a dip below.
    """
    margin = beta * log_ratio_gap(policy, reference)
    # s exp(-m) as one exponential: apart, 0 times infinity where m is very negative.
    blended = finite_exp(logsigmoid(margin / discopop_tau) - margin)
    return -torch.sigmoid(-margin / discopop_tau) * logsigmoid(margin) + blended


def dpo_norm(policy: Pair, reference: Pair, length: Pair, *, beta: float = 5.0) -> Tensor:
    """(P,) -log sigma(beta (rho_w / |y_w| - rho_l / |y_l|)).

    Length-normalised DPO, Lambert et al. 2024 (Tulu 3), whose beta is 5: log-ratios per token are small.
    """
    mean = per_token(log_ratio(policy, reference), length)
    return -logsigmoid(beta * (mean.chosen - mean.rejected))


def mean_ratio_reward(policy: Pair, reference: Pair, length: Pair, *, beta: float) -> Pair:
    """(P,) each: beta rho(y) / |y|."""
    return scaled(per_token(log_ratio(policy, reference), length), beta)

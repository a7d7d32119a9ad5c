"""Where pair losses end: a function for each row of PAIR_LOSSES, derived by hand.

In the mean over pairs from mu and their labels a loss is sum_{y, y'} mu(y) mu(y') P(y > y') l(y, y'). Each function
takes a Setting and the loss's own hyper-parameters, and returns log pi(y|x) (..., S). rho = log(pi / pi_ref), |y| is
in tokens, w(y) how often y wins against one from mu; sigma is the logistic function. A loss of the gap of two scores,
m = s(y) - s(y'), has the slope s'(y) mu(y) sum_{y'} mu(y') b(m, P), b the derivative of P l(m) + (1 - P) l(-m).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from accord.maths.ends import REACH, Setting, balanced, gaps, halved, mean_over, tilted, tilted_by_length
from accord.maths.finite import log_odds
from accord.maths.rungs import rungs


def dpo(of: Setting, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """b = sigma(m) - P is 0 for all pairs at once where m = r - r': beta rho = r. Smoothed, it is cdpo."""
    return (
        cdpo(of, beta=beta, label_smoothing=label_smoothing)
        if label_smoothing
        else tilted(of.reference, of.reward / beta)
    )


def exponential(of: Setting, *, beta: float) -> Tensor:
    """P exp(-m) = (1 - P) exp(m) where 2 m = logit P = r - r': beta rho = r / 2."""
    return tilted(of.reference, of.reward / 2 / beta)


def cdpo(of: Setting, *, beta: float, label_smoothing: float) -> Tensor:
    """b = sigma(m) - (eps + (1 - 2 eps) P): the policy of which each y wins eps + (1 - 2 eps) w(y)."""
    return _cross_entropy(of, label_smoothing + (1 - 2 * label_smoothing) * of.win, beta)


def robust(of: Setting, *, beta: float, label_smoothing: float) -> Tensor:
    """b = sigma(m) - (P - eps) / (1 - 2 eps): the policy of which each y wins (w(y) - eps) / (1 - 2 eps)."""
    return _cross_entropy(of, (of.win - label_smoothing) / (1 - 2 * label_smoothing), beta)


def _cross_entropy(of: Setting, target: Tensor, beta: float) -> Tensor:
    """Where the mean of sigma(beta h) is the target's, for every y."""

    def slope(logp: Tensor) -> Tensor:
        return of.mu * mean_over(of.mu, torch.sigmoid(beta * gaps(logp - of.reference)) - target)

    return balanced(slope, of.reference)


def exo_pair(of: Setting, *, beta: float, label_smoothing: float) -> Tensor:
    """b = sigma(m) sigma(-m) (m - (2 P - 1) K), K = log((1 - eps) / eps): least squares, small gaps weigh most."""
    target = (2 * of.win - 1) * math.log((1 - label_smoothing) / label_smoothing)

    def slope(logp: Tensor) -> Tensor:
        m = beta * gaps(logp - of.reference)
        return of.mu * mean_over(of.mu, torch.sigmoid(m) * torch.sigmoid(-m) * (m - target))

    return balanced(slope, tilted(of.reference, mean_over(of.mu, target) / beta))


def hinge(of: Setting, *, beta: float) -> Tensor:
    """P max(0, 1 - m) + (1 - P) max(0, 1 + m) is bent at m = -1 and 1: a linear programme, solved on whole numbers."""
    return tilted(of.reference, rungs(of.win, of.mu) / beta)


def ipo(of: Setting, *, beta: float) -> Tensor:
    """P (m - k)^2 + (1 - P) (m + k)^2, k = 1 / (2 beta), m of rho / |y|: b = 2 (m - (2 P - 1) k), so w / beta."""
    return tilted_by_length(of.reference, of.w / beta, of.length)


def dpo_norm(of: Setting, *, beta: float) -> Tensor:
    """As dpo, with rho / |y|."""
    return tilted_by_length(of.reference, of.reward / beta, of.length)


def simpo(of: Setting, *, beta: float, gamma_beta_ratio: float) -> Tensor:
    """b = (1 - P) sigma(gamma + m) - P sigma(gamma - m), m = beta (log pi / |y| - log pi' / |y'|)."""
    gamma, flat = gamma_beta_ratio * beta, torch.zeros_like(of.reference)
    at_zero = tilted_by_length(flat, of.reward / beta, of.length)

    def slope(logp: Tensor) -> Tensor:
        m = beta * gaps(logp / of.length)
        wrong = (1 - of.win) * torch.sigmoid(gamma + m) - of.win * torch.sigmoid(gamma - m)
        return of.mu / of.length * mean_over(of.mu, wrong)

    return balanced(slope, at_zero)


def sft(of: Setting) -> Tensor:
    """The likelihood's slope is -mu w / |y|, which is pi times a constant."""
    return (of.mu * of.w / of.length).log().log_softmax(-1)


def cpo(of: Setting, *, beta: float, cpo_alpha: float) -> Tensor:
    """beta mu sum mu' (sigma(m) - P) - alpha mu w / |y|, m = beta log(pi / pi'); alpha = 0: as dpo."""

    def slope(logp: Tensor) -> Tensor:
        wrong = mean_over(of.mu, torch.sigmoid(beta * gaps(logp)) - of.win)
        return of.mu * (beta * wrong - cpo_alpha * of.w / of.length)

    at_zero = (of.reward / beta).log_softmax(-1)
    return balanced(slope, at_zero) if cpo_alpha else at_zero


def orpo(of: Setting, *, beta: float) -> Tensor:
    """-mu w / |y| + beta mu sum mu' (sigma(o - o') - P) / (|y| (1 - p)), p = pi^(1/|y|), o = log(p / (1 - p))."""

    def slope(logp: Tensor) -> Tensor:
        mean = logp / of.length
        wrong = mean_over(of.mu, torch.sigmoid(gaps(log_odds(mean))) - of.win)
        return of.mu / of.length * (beta * wrong / -torch.expm1(mean) - of.w)

    return balanced(slope, sft(of))


def dpo_with_nll(of: Setting, *, beta: float, alpha: float) -> Tensor:
    """DPO and alpha times the chosen completion's likelihood per token (rpo_alpha): cpo with rho in its gaps."""

    def slope(logp: Tensor) -> Tensor:
        wrong = mean_over(of.mu, torch.sigmoid(beta * gaps(logp - of.reference)) - of.win)
        return of.mu * (beta * wrong - alpha * of.w / of.length)

    return balanced(slope, tilted(of.reference, of.reward / beta))


def under_divergence(of: Setting, log_ratio: Callable[..., Tensor], *, beta: float, **hyper: float) -> Tensor:
    """dpo with f'(u) in the place of log u: beta f'(u) = r - c(x), c(x) making a sum of 1. log_ratio: f' inverted.

    It is also where E[r] - beta D_f(pi || pi_ref) is greatest, by a Lagrange multiplier.
    """

    def logp(c: Tensor) -> Tensor:
        return of.reference + log_ratio((of.reward - c) / beta, **hyper)

    edge = of.reward.abs().amax(-1, keepdim=True) + beta * REACH
    c = halved(lambda c: -logp(c).logsumexp(-1, keepdim=True), -edge, edge)
    return logp(c).log_softmax(-1)

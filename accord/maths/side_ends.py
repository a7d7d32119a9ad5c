"""Where losses that look at each completion by itself end: of pairs, and of single labelled ones.

In the mean such a loss is sum_y mu(y) phi_y(rho(y)), with rho = log(pi / pi_ref) and a = beta rho. Under a sum of 1 it
stands still where mu phi' is pi times one number; where that number is 0, every phi is at its own least value. Each
function takes a Setting and the loss's own hyper-parameters, and returns log pi(y|x) (..., S). w(y) is how often y wins
against one from mu, q(y) how often it is labelled desirable.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from accord.maths.ends import REACH, Setting, balanced, halved, tilted


def _separate(of: Setting, slope: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """slope: rho -> phi'(rho); target: the rho at which each is 0."""
    return balanced(lambda logp: of.mu * slope(logp - of.reference), tilted(of.reference, target))


def nca_pair(of: Setting, *, beta: float) -> Tensor:
    """phi' = beta ((w + 1/2) sigma(a) - w): exp(a) = 2 w."""
    return _separate(of, lambda rho: (of.w + 0.5) * torch.sigmoid(beta * rho) - of.w, (2 * of.w).log() / beta)


def sppo_hard(of: Setting, *, beta: float) -> Tensor:
    """w (rho - k)^2 + (1 - w) (rho + k)^2, k = 1 / (2 beta): phi' = 2 (rho - (w - 1/2) / beta)."""
    target = (of.w - 0.5) / beta
    return _separate(of, lambda rho: rho - target, target)


def bco_pair(of: Setting, *, beta: float) -> Tensor:
    """phi' = beta (sigma(a - delta) - w), delta the mean of a over mu: exp(a - delta) = w / (1 - w)."""

    def slope(rho: Tensor) -> Tensor:
        delta = beta * (of.mu * rho).sum(-1).mean()
        return torch.sigmoid(beta * rho - delta) - of.w

    return _separate(of, slope, of.w.logit() / beta)


def logistic(of: Setting, *, beta: float) -> Tensor:
    """phi' = beta (sigma(a) - q): a = logit q = r."""
    return _separate(of, lambda rho: torch.sigmoid(beta * rho) - of.desirable, of.reward / beta)


def exponential(of: Setting, *, beta: float) -> Tensor:
    """phi' = beta ((1 - q) exp(a) - q exp(-a)): 2 a = logit q = r."""

    def slope(rho: Tensor) -> Tensor:
        return (1 - of.desirable) * torch.exp(beta * rho) - of.desirable * torch.exp(-beta * rho)

    return _separate(of, slope, of.reward / 2 / beta)


def bco(of: Setting, *, beta: float) -> Tensor:
    """phi' = beta (sigma(a - beta delta) - q), delta half the sum of the labels' mean log-ratios, over all prompts."""
    up, down = of.mu * of.desirable, of.mu * (1 - of.desirable)

    def slope(rho: Tensor) -> Tensor:
        delta = 0.5 * ((up * rho).sum() / up.sum() + (down * rho).sum() / down.sum())
        return torch.sigmoid(beta * (rho - delta)) - of.desirable

    return _separate(of, slope, of.desirable.logit() / beta)


def hinge(of: Setting, *, beta: float) -> Tensor:
    """q max(0, 1 - a) + (1 - q) max(0, 1 + a): bent at a = -1 and 1, where it is least at sign(r), if these sum to 1.

    Where they sum to more, all lose: a completion stays at its bend while mu beta times the slope below it exceeds
    kappa pi, else it is where they are equal; kappa(x) makes the sum 1. ValueError: they sum to less.
    """
    q, bend = of.desirable, 1 / beta
    if (tilt := of.reference + bend * torch.sign(q - 0.5)).logsumexp(-1).lt(0).any():
        raise ValueError(f"signs alone sum to {float(tilt.logsumexp(-1).exp().min()):.3g}: no such end")

    def rho(log_kappa: Tensor) -> Tensor:
        share = (of.mu * beta).log() - of.reference - log_kappa
        below = torch.minimum(share + q.log(), share.new_tensor(-bend))  # under the lower bend
        between = torch.where(q > 0.5, (share + (2 * q - 1).clamp(min=0).log()).clamp(max=bend), -torch.inf)
        return torch.maximum(below, between)

    edge = torch.full_like(of.reference[..., :1], REACH)
    kappa = halved(lambda k: -(of.reference + rho(k)).logsumexp(-1, keepdim=True), -edge, edge)
    return (of.reference + rho(kappa)).log_softmax(-1)


def apo_zero(of: Setting, *, beta: float) -> Tensor:
    """phi = w + (1 - 2 w) sigma(a): what wins less than half of the time loses everything."""
    return _shared(of, 2 * of.w - 1, beta)


def kto(of: Setting, *, beta: float, desirable_weight: float, undesirable_weight: float) -> Tensor:
    """phi = const - (q lambda_D - (1 - q) lambda_U) sigma(a - beta z0): what has less than 0 loses everything.

    Then the log-ratios of other prompts' completions have a mean below 0, and z0 is 0.
    """
    return _shared(of, of.desirable * desirable_weight - (1 - of.desirable) * undesirable_weight, beta)


def _shared(of: Setting, gain: Tensor, beta: float) -> Tensor:
    """The greatest sum of mu gain sigma(a): 0 for a gain below 0; of the others mu gain sigma(a) sigma(-a) = kappa pi.

    For beta <= 1 sigma(a) = u^beta / (1 + u^beta) is concave in u = pi / pi_ref: there is one. ValueError beyond.
    """
    if beta > 1:
        raise ValueError(f"beta = {beta:g} is above 1: the end depends on the start")
    kept = gain > 0
    edge = torch.full_like(of.reference, REACH)

    def rho(log_kappa: Tensor) -> Tensor:
        size = (of.mu * gain.clamp(min=1e-300)).log() - of.reference - log_kappa

        def rising(rho: Tensor) -> Tensor:
            a = beta * rho
            return rho - (size + torch.nn.functional.logsigmoid(a) + torch.nn.functional.logsigmoid(-a))

        return torch.where(kept, halved(rising, -edge, edge), -torch.inf)

    ends = edge[..., :1]
    kappa = halved(lambda k: -(of.reference + rho(k)).logsumexp(-1, keepdim=True), -ends, ends)
    return (of.reference + rho(kappa)).log_softmax(-1)

"""f-divergences in the place of the reverse KL: what a loss then puts where DPO has the log-ratio.

Maximising E[r] - beta D_f(pi || pi_ref) gives r = beta f'(u) + a constant of the prompt, u = pi / pi_ref (Wang et al.
2024, Beyond Reverse KL). Each function takes log-ratios log u in nats, any shape, and returns the score f'(u), shifted
so that f'(1) = 0; the constant of the prompt cancels in a pair. Only losses whose row says `divergence` may use one:
the caller passes the scores as the policy's log-probabilities and zeros as the reference's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths.finite import finite_expm1


def reverse_kl(log_ratio: Tensor) -> Tensor:
    """log u.

    f(u) = u log u: KL(pi || pi_ref), the usual one.
    """
    return log_ratio


def forward_kl(log_ratio: Tensor) -> Tensor:
    """1 - 1 / u.

    f(u) = -log u: KL(pi_ref || pi). Below log u = -40 the score goes on along its tangent.
    """
    return -finite_expm1(-log_ratio)


def js_divergence(log_ratio: Tensor) -> Tensor:
    """log(2 u / (1 + u)).

    f(u) = u log u - (1 + u) log((1 + u) / 2): twice the Jensen-Shannon divergence.
    """
    return math.log(2.0) + logsigmoid(log_ratio)


def alpha_divergence(log_ratio: Tensor, *, f_alpha_divergence_coef: float = 0.5) -> Tensor:
    """(u^(a - 1) - 1) / (a - 1), a = f_alpha_divergence_coef; log u where a = 1.

    a is TRL 1.16's; Wang et al. 2024 call 1 - a alpha. a = 1 is the reverse KL, a = 0 the forward one. Where u^(a - 1)
    exceeds exp(40) the score goes on along its tangent; TRL cuts it off at exp(80).
    """
    power = f_alpha_divergence_coef - 1
    if power == 0:
        return log_ratio
    return finite_expm1(power * log_ratio) / power


def reverse_kl_ratio(score: Tensor) -> Tensor:
    """log u at a score s: s."""
    return score


def forward_kl_ratio(score: Tensor) -> Tensor:
    """log u at a score s: u = 1 / (1 - s); infinite from s = 1 on, which no score reaches."""
    return torch.where(score < 1, -torch.log1p(-score), torch.inf)


def js_divergence_ratio(score: Tensor) -> Tensor:
    """log u at a score s: u = 1 / (2 exp(-s) - 1); infinite from s = log 2 on."""
    return torch.where(score < math.log(2.0), -torch.log(2 * torch.exp(-score) - 1), torch.inf)


def alpha_divergence_ratio(score: Tensor, *, f_alpha_divergence_coef: float = 0.5) -> Tensor:
    """log u at a score s: u = (1 + (a - 1) s)^(1 / (a - 1)); 0 or infinite beyond what a score can be."""
    power = f_alpha_divergence_coef - 1
    return torch.log((1 + power * score).clamp(min=0)) / power if power else score


class Divergence(NamedTuple):
    """What is known of an f-divergence."""

    score: Callable[..., Tensor]  # (log_ratio, *, hyper-parameters) -> f'(u), the same shape
    optimum: str  # u = pi / pi_ref where E[r] - beta D_f is greatest; c(x) makes the policy sum to 1
    # (score, *, hyper-parameters) -> log u, the inverse of `score`: what `accord theory` makes the optimum of
    log_ratio: Callable[..., Tensor] | None = None


DIVERGENCES: dict[str, Divergence] = {
    "reverse_kl": Divergence(reverse_kl, optimum="exp((r - c(x)) / beta)", log_ratio=reverse_kl_ratio),
    "forward_kl": Divergence(forward_kl, optimum="beta / (c(x) - r)", log_ratio=forward_kl_ratio),
    "js_divergence": Divergence(
        js_divergence, optimum="1 / (2 exp((c(x) - r) / beta) - 1)", log_ratio=js_divergence_ratio
    ),
    "alpha_divergence": Divergence(
        alpha_divergence, optimum="(1 + (a - 1) (r - c(x)) / beta)^(1 / (a - 1))", log_ratio=alpha_divergence_ratio
    ),
}

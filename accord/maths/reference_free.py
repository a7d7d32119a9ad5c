"""Pair losses without a reference model. They take `reference` as all pair losses do, and ignore it.

Each takes (policy, reference, length), Pairs of (P,), and returns one loss per pair. Where a negative log-likelihood
is part of the loss it is the chosen completion's mean per token, so that the mean over pairs does not depend on how a
step is cut. TRL 1.16 pools the tokens of a micro-batch there: the two agree for micro-batches of one pair.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths.finite import log_odds
from accord.maths.pair import Pair, per_token, scaled


def nll(policy: Tensor, length: Tensor) -> Tensor:
    """(P,), (P,) -> (P,) minus the mean log-probability per token, in nats: the term that `rpo_alpha` weighs.

    Pang et al. 2024 (iterative reasoning preference optimisation), Eq. 1; Llama 3 adds it to DPO with weight 0.2.
    """
    return -policy / length.clamp(min=1)


def sft(policy: Pair, reference: Pair, length: Pair) -> Tensor:
    """(P,) -log pi(y_w|x) / |y_w|.

    The likelihood of the chosen completion alone, mostly as one of several losses (MPO, Wang et al. 2024).
    """
    return nll(policy.chosen, length.chosen)


def simpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 2.0, gamma_beta_ratio: float = 0.5) -> Tensor:
    """(P,) -log sigma(beta (log pi(y_w|x) / |y_w| - log pi(y_l|x) / |y_l|) - gamma), gamma = gamma_beta_ratio beta.

    Meng et al. 2024, Eq. 6; the defaults are those that its authors' README begins with.
    """
    mean = per_token(policy, length)
    return -logsigmoid(beta * (mean.chosen - mean.rejected - gamma_beta_ratio))


def cpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1, cpo_alpha: float = 1.0) -> Tensor:
    """(P,) -log sigma(beta (log pi(y_w|x) - log pi(y_l|x))) - cpo_alpha log pi(y_w|x) / |y_w|.

    Contrastive preference optimisation, Xu et al. 2024, Eq. 3 and the likelihood term beside it: the paper writes its
    sum, its code and TRL the mean per token.
    """
    return -logsigmoid(beta * (policy.chosen - policy.rejected)) + cpo_alpha * nll(policy.chosen, length.chosen)


def orpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) -log pi(y_w|x) / |y_w| - beta log sigma(log odds(y_w) - log odds(y_l)).

    odds(y) = P / (1 - P) with P = pi(y|x)^(1/|y|). Hong et al. 2024, Eq. 4, 6 and 7; its lambda is called beta in the
    field. TRL 1.16 takes the likelihood of the prompt into the first term; the paper does not.
    """
    odds = log_odds_reward(policy, reference, length)
    return nll(policy.chosen, length.chosen) - beta * logsigmoid(odds.chosen - odds.rejected)


def log_odds_reward(policy: Pair, reference: Pair, length: Pair, **others: float) -> Pair:
    """(P,) each: log(P / (1 - P)) with P = pi(y|x)^(1/|y|), what ORPO's second term compares."""
    mean = per_token(policy, length)
    return Pair(log_odds(mean.chosen), log_odds(mean.rejected))


def mean_reward(policy: Pair, reference: Pair, length: Pair, *, beta: float = 1.0, **others: float) -> Pair:
    """(P,) each: beta log pi(y|x) / |y|."""
    return scaled(per_token(policy, length), beta)


def sum_reward(policy: Pair, reference: Pair, length: Pair, *, beta: float, **others: float) -> Pair:
    """(P,) each: beta log pi(y|x)."""
    return scaled(policy, beta)

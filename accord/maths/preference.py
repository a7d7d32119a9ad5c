"""The pair losses in one table: DPO first, then its family.

A new loss is a function whose docstring begins with its formula, a row here, and a value worked out by hand in
`tests/test_preference.py`; command line, laws and `docs/losses.md` take it from the table. rho and h are as in
`accord.maths.pair`, sigma is the logistic function, eps is label_smoothing. In an optimum, r are the rewards of
unlimited Bradley-Terry comparisons, P(y_w > y_l) = sigma(r_w - r_l); mu is the policy that both completions of a pair
are drawn from; w(y) is how often y wins, the mean of P(y > y') over y' from mu; c(x) and Z(x) are what makes the
policy sum to 1. An optimum of two completions is one where a prompt has no others.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from accord.maths import gap_losses, pair, pair_ends, reference_free, side_ends, side_losses
from accord.maths.ends import GATHERS, RESTS, Claim, boundary, kinked, policy
from accord.maths.pair import Pair, gradient_weight, hyperparameters, implicit_reward, log_ratio_gap

__all__ = [
    "PAIR_LOSSES",
    "Pair",
    "PairLoss",
    "gradient_weight",
    "hyperparameters",
    "implicit_reward",
    "log_ratio_gap",
]


class PairLoss(NamedTuple):
    """What is known of a pair loss. `loss`, `reward` and `at_start` take the loss's own hyper-parameters by name."""

    loss: Callable[..., Tensor]  # (policy, reference, length, *, ...) -> (P,)
    implicit_reward: str  # the reward it fits, as a formula
    optimum: str  # the policy it ends in on unlimited Bradley-Terry comparisons of rewards r
    source: str
    reward: Callable[..., Pair] = (
        pair.implicit_reward
    )  # (policy, reference, length, *, ...) -> what `rewards/...` report
    # (*, ...) -> the loss of a pair while policy = reference; None where it depends on the policy
    at_start: Callable[..., float] | None = lambda **hyper: math.log(2.0)
    needs_reference: bool = True
    coupled: bool = False  # the loss of a pair depends on the others of its step: called once, with all of them
    divergence: bool = False  # a row of DIVERGENCES may take the place of the log-ratio
    claim: Claim | None = None  # what `optimum` says, for `accord theory` to check; a row without one fails a test


LOG_RATIO = "beta log(pi(y|x) / pi_ref(y|x))"


def exo_at_start(beta: float, label_smoothing: float) -> float:
    """KL((1/2, 1/2) || (1 - eps, eps))."""
    return -math.log(2.0) - 0.5 * math.log(label_smoothing * (1 - label_smoothing))


PAIR_LOSSES: dict[str, PairLoss] = {
    "sigmoid": PairLoss(
        gap_losses.dpo,
        implicit_reward=LOG_RATIO,
        optimum="pi* = pi_ref(y|x) exp(r(x, y) / beta) / Z(x); with label_smoothing as cdpo",
        source="Rafailov et al. 2023, Direct Preference Optimization, Eq. 7",
        divergence=True,
        claim=policy(pair_ends.dpo),
    ),
    "cdpo": PairLoss(
        gap_losses.cdpo,
        implicit_reward=LOG_RATIO,
        optimum="short of pi*: the policy of which y wins eps + (1 - 2 eps) w(y); "
        "of two completions: sigma(beta h) = eps + (1 - 2 eps) P(y_w > y_l)",
        source="Mitchell 2023, A note on DPO with noisy preferences",
        divergence=True,
        claim=policy(pair_ends.cdpo),
    ),
    "hinge": PairLoss(
        gap_losses.hinge,
        implicit_reward=LOG_RATIO,
        optimum="pi_ref(y|x) exp(s(y) / beta) / Z(x), s(y) whole numbers: the order of r, not its size; "
        "of two completions: beta h = 1 for the better one",
        source="Zhao et al. 2023, SLiC-HF; on log-ratios: Liu et al. 2024, RSO",
        at_start=lambda **hyper: 1.0,
        divergence=True,
        claim=kinked(pair_ends.hinge),
    ),
    "ipo": PairLoss(
        gap_losses.ipo,
        implicit_reward="beta log(pi(y|x) / pi_ref(y|x)) / |y|",
        optimum="pi_ref(y|x) exp(|y| (w(y) / beta - c(x)))",
        source="Azar et al. 2024, A General Theoretical Paradigm, Eq. 17, per token",
        reward=gap_losses.mean_ratio_reward,
        at_start=lambda beta: (1 / (2 * beta)) ** 2,
        divergence=True,
        claim=policy(pair_ends.ipo),
    ),
    "exponential": PairLoss(
        gap_losses.exponential,
        implicit_reward=LOG_RATIO,
        optimum="pi_ref(y|x) exp(r(x, y) / (2 beta)) / Z(x): pi* of half the rewards",
        source="Tang et al. 2024, Generalized Preference Optimization",
        at_start=lambda **hyper: 1.0,
        divergence=True,
        claim=policy(pair_ends.exponential),
    ),
    "robust": PairLoss(
        gap_losses.robust,
        implicit_reward=LOG_RATIO,
        optimum="pi* from labels flipped at rate eps; from clean ones beyond it: "
        "y wins (w(y) - eps) / (1 - 2 eps), and where that is above 1 there is no end",
        source="Chowdhury et al. 2024, Provably Robust DPO",
        divergence=True,
        claim=policy(pair_ends.robust),
    ),
    "exo_pair": PairLoss(
        gap_losses.exo_pair,
        implicit_reward=LOG_RATIO,
        optimum="near pi* only where eps suits r; of two completions: "
        "beta h = (2 P(y_w > y_l) - 1) log((1 - eps) / eps)",
        source="Ji et al. 2024, Towards Efficient Exact Optimization (EXO), Eq. 16",
        at_start=exo_at_start,
        divergence=True,
        claim=policy(pair_ends.exo_pair, label_smoothing=0.1),
    ),
    "discopop": PairLoss(
        gap_losses.discopop,
        implicit_reward=LOG_RATIO,
        optimum="no closed form, and several ends; from pi_ref it falls into its dip, h just below 0",
        source="Lu et al. 2024, Discovering Preference Optimization Algorithms, Eq. 5",
        at_start=lambda **hyper: 0.5 * math.log(2.0) + 0.5,
        divergence=True,
        claim=RESTS,
    ),
    "sigmoid_norm": PairLoss(
        gap_losses.dpo_norm,
        implicit_reward="beta log(pi(y|x) / pi_ref(y|x)) / |y|",
        optimum="pi_ref(y|x) exp(|y| (r(x, y) / beta - c(x)))",
        source="Lambert et al. 2024, Tulu 3, length-normalised DPO",
        reward=gap_losses.mean_ratio_reward,
        divergence=True,
        claim=policy(pair_ends.dpo_norm),
    ),
    "nca_pair": PairLoss(
        side_losses.nca_pair,
        implicit_reward=LOG_RATIO,
        optimum="pi_ref(y|x) (2 w(y))^(1 / beta), as near as a sum of 1 allows: exact for beta = 1, mu = pi_ref",
        source="Chen et al. 2024, Noise Contrastive Alignment",
        at_start=lambda **hyper: 2 * math.log(2.0),
        claim=policy(side_ends.nca_pair),
    ),
    "bco_pair": PairLoss(
        side_losses.bco_pair,
        implicit_reward=LOG_RATIO,
        optimum="pi_ref(y|x) (w(y) / (1 - w(y)))^(1 / beta) / Z(x), where the mean over mu of log(w / (1 - w)) is 0",
        source="Jung et al. 2024, Binary Classifier Optimization",
        at_start=lambda **hyper: 2 * math.log(2.0),
        coupled=True,
        claim=policy(side_ends.bco_pair),
    ),
    "sppo_hard": PairLoss(
        side_losses.sppo_hard,
        implicit_reward=LOG_RATIO,
        optimum="pi_ref(y|x) exp((w(y) - 1/2) / beta), as near as a sum of 1 allows",
        source="Wu et al. 2024, Self-Play Preference Optimization, Eq. 4.7",
        at_start=lambda beta: 0.5 / beta**2,
        claim=policy(side_ends.sppo_hard),
    ),
    "aot": PairLoss(
        side_losses.aot,
        implicit_reward=LOG_RATIO,
        optimum="no closed form: only the distribution of the margins is compared",
        source="Melnyk et al. 2024, Distributional Preference Alignment (AOT), paired",
        coupled=True,
        claim=RESTS,
    ),
    "aot_unpaired": PairLoss(
        side_losses.aot_unpaired,
        implicit_reward=LOG_RATIO,
        optimum="runs to the boundary: its quantiles part for ever, and probability gathers on one good completion",
        source="Melnyk et al. 2024, Distributional Preference Alignment (AOT), unpaired",
        coupled=True,
        claim=GATHERS,
    ),
    "apo_zero": PairLoss(
        side_losses.apo_zero,
        implicit_reward=LOG_RATIO,
        optimum="runs to the boundary: a completion with w(y) < 1/2 loses all its probability",
        source="D'Oosterlinck et al. 2024, Anchored Preference Optimization, Eq. 7",
        at_start=lambda **hyper: 1.0,
        claim=boundary(side_ends.apo_zero),
    ),
    "apo_down": PairLoss(
        side_losses.apo_down,
        implicit_reward=LOG_RATIO,
        optimum="runs to the boundary: probability leaves what is compared, and gathers on one completion if all are",
        source="D'Oosterlinck et al. 2024, Anchored Preference Optimization, Eq. 8",
        at_start=lambda **hyper: 1.0,
        claim=GATHERS,
    ),
    "simpo": PairLoss(
        reference_free.simpo,
        implicit_reward="beta log pi(y|x) / |y|",
        optimum="for gamma = 0: exp(|y| (r(x, y) / beta - c(x))); gamma > 0 widens its gaps",
        source="Meng et al. 2024, SimPO, Eq. 6",
        reward=reference_free.mean_reward,
        at_start=None,
        needs_reference=False,
        claim=policy(pair_ends.simpo),
    ),
    "orpo": PairLoss(
        reference_free.orpo,
        implicit_reward="log(P / (1 - P)), P = pi(y|x)^(1/|y|)",
        optimum="no closed form: a balance of likelihood and order",
        source="Hong et al. 2024, ORPO, Eq. 4, 6 and 7",
        reward=reference_free.log_odds_reward,
        at_start=None,
        needs_reference=False,
        claim=policy(pair_ends.orpo),
    ),
    "cpo": PairLoss(
        reference_free.cpo,
        implicit_reward="beta log pi(y|x)",
        optimum="for cpo_alpha = 0: exp(r(x, y) / beta) / Z(x); else a balance with the likelihood",
        source="Xu et al. 2024, Contrastive Preference Optimization, Eq. 3",
        reward=reference_free.sum_reward,
        at_start=None,
        needs_reference=False,
        claim=policy(pair_ends.cpo),
    ),
    "sft": PairLoss(
        reference_free.sft,
        implicit_reward="log pi(y|x) / |y|",
        optimum="mu(y|x) w(y) / (|y| c(x)): how often y was chosen, over its length",
        source="the likelihood of Eq. 2 on chosen completions; Wang et al. 2024, MPO",
        reward=reference_free.mean_reward,
        at_start=None,
        needs_reference=False,
        claim=policy(pair_ends.sft),
    ),
}

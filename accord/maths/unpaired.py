"""Losses on single completions that are labelled desirable or not: KTO, BCO, NPO, and Eq. 14's surrogates.

C completions. Every loss takes `(policy, reference, length, label, baseline, *, hyper-parameters)`: summed
log-probabilities in nats (C,), lengths in tokens (C,), label True where desirable (C,), and the log-ratio () that
counts as neutral; it returns one loss per completion (C,). rho = log(pi(y|x) / pi_ref(y|x)). A baseline is made from
log-ratios of the whole step and carries no gradient: the caller detaches it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths import side_ends, surrogates
from accord.maths.ends import GATHERS, Claim, boundary, kinked, policy


def kto(
    policy: Tensor,
    reference: Tensor,
    length: Tensor,
    label: Tensor,
    baseline: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """(C,) lambda (1 - sigma(y beta (rho - z0))); y = 1, lambda = desirable_weight where desirable,
    else y = -1, lambda = undesirable_weight.

    Kahneman-Tversky optimisation, Ethayarajh et al. 2024, Section 4.1. z0 (`kl_baseline`) is the KL of policy and
    reference, estimated from completions of other prompts.
    """
    weight = _weight(policy, label, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid(-beta * _signed(policy - reference - baseline, label))


def kl_baseline(ratio: Tensor, label: Tensor, mismatched: Tensor) -> Tensor:
    """(C,), (C,), (M,) -> () z0: the mean log-ratio of completions of other prompts, and at least 0.

    Nats. Ethayarajh et al. 2024, Section 4.1: not an unbiased estimate of the KL, but one of the same scale.
    """
    return mismatched.mean().clamp(min=0)


def bco(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, baseline: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(C,) -log sigma(y beta (rho - delta)), y = 1 where desirable, else -1.

    Binary classifier optimisation, Jung et al. 2024, without its matching of the two labels' prompts. delta
    (`label_baseline`) is in nats here; the paper's, in units of reward, is beta times that.
    """
    return -logsigmoid(beta * _signed(policy - reference - baseline, label))


def label_baseline(ratio: Tensor, label: Tensor, mismatched: Tensor) -> Tensor:
    """(C,), (C,), (M,) -> () delta: half the sum of the mean log-ratios of the two labels; of one, where it is alone.

    Nats. Jung et al. 2024: the shift that makes the bound on DPO's loss tight for the average pair.
    """
    means = [side.mean() for side in (ratio[label], ratio[~label]) if len(side)]
    return torch.stack(means).mean()


def apo_zero_unpaired(
    policy: Tensor,
    reference: Tensor,
    length: Tensor,
    label: Tensor,
    baseline: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """(C,) lambda (1 - sigma(y beta rho)), y and lambda as in kto.

    The two sides of apo_zero apart: D'Oosterlinck et al. 2024, Eq. 7. It is kto with z0 = 0.
    """
    weights = {"desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
    return kto(policy, reference, length, label, torch.zeros_like(baseline), beta=beta, **weights)


def npo(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, baseline: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(C,) -(2 / beta) log sigma(-beta rho) where undesirable, 0 where desirable.

    Negative preference optimisation, Zhang et al. 2024, Eq. 3: unlearning; towards beta = 0 it is gradient ascent.
    """
    return torch.where(label, 0.0, -2 / beta * logsigmoid(-beta * (policy - reference)))


def logistic(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, baseline: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(C,) log(1 + exp(-m)), m = y beta rho, y = 1 where desirable, else -1.

    Eq. 14's logistic loss.
    """
    return surrogates.logistic(beta * _signed(policy - reference, label))


def exponential_unpaired(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, baseline: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(C,) exp(-m), m as in logistic.

    Eq. 14's exponential loss; below m = -40 it goes on along its tangent, since float32 has no such numbers.
    """
    return surrogates.exponential(beta * _signed(policy - reference, label))


def hinge_unpaired(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, baseline: Tensor, *, beta: float = 0.1
) -> Tensor:
    """(C,) max(1 - m, 0), m as in logistic.

    Eq. 14's hinge loss.
    """
    return surrogates.hinge(beta * _signed(policy - reference, label))


def zero_one(policy: Tensor, reference: Tensor, label: Tensor) -> Tensor:
    """(C,) I(m < 0), Eq. 14's 0-1 loss: 1 where the log-ratio's sign contradicts the label. A figure, not a loss."""
    return (_signed(policy - reference, label) < 0).to(policy.dtype)


def _signed(value: Tensor, label: Tensor) -> Tensor:
    return torch.where(label, value, -value)


def _weight(policy: Tensor, label: Tensor, desirable: float, undesirable: float) -> Tensor:
    return torch.where(label, policy.new_tensor(desirable), policy.new_tensor(undesirable))


def log_ratio_reward(
    policy: Tensor, reference: Tensor, length: Tensor, label: Tensor, *, beta: float, **others: float
) -> Tensor:
    """(C,) beta log(pi(y|x) / pi_ref(y|x)), Eq. 11 without its beta log Z(x).

    others: hyper-parameters of the loss that its reward does not depend on.
    """
    return beta * (policy - reference)


class UnpairedLoss(NamedTuple):
    """What is known of an unpaired loss. Its functions take the loss's own hyper-parameters by name."""

    loss: Callable[..., Tensor]  # (policy, reference, length, label, baseline, *, ...) -> (C,)
    optimum: str  # the policy it ends in, where a label is desirable with probability sigma(r(x, y))
    source: str
    at_start: Callable[..., float]  # (label, *, ...) -> the loss while policy = reference (and the baseline 0)
    # (ratio (C,), label (C,), mismatched (M,)) -> () nats, from log-ratios of the step; None: 0
    baseline: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    mismatched: bool = False  # its baseline is made from completions of other prompts
    implicit_reward: str = "beta log(pi(y|x) / pi_ref(y|x))"
    reward: Callable[..., Tensor] = log_ratio_reward  # (policy, reference, length, label, *, ...) -> (C,)
    needs_reference: bool = True
    claim: Claim | None = None  # what `optimum` says, for `accord theory` to check

    @property
    def coupled(self) -> bool:
        """The loss of a completion depends on the others of its step: through the baseline."""
        return self.baseline is not None


def half_weight(label: bool, *, beta: float, desirable_weight: float, undesirable_weight: float) -> float:
    """lambda (1 - sigma(0))."""
    return 0.5 * (desirable_weight if label else undesirable_weight)


UNPAIRED_LOSSES: dict[str, UnpairedLoss] = {
    "kto": UnpairedLoss(
        kto,
        optimum="runs to the boundary: a completion desirable less often than "
        "undesirable_weight / (desirable_weight + undesirable_weight) loses all its probability",
        source="Ethayarajh et al. 2024, KTO, Section 4.1",
        at_start=half_weight,
        baseline=kl_baseline,
        mismatched=True,
        claim=boundary(side_ends.kto),
    ),
    "bco": UnpairedLoss(
        bco,
        optimum="pi* = pi_ref(y|x) exp(r(x, y) / beta) / Z(x), where the mean rewards of the two labels sum to 0 "
        "and Z(x) is the same for all prompts; else near it",
        source="Jung et al. 2024, Binary Classifier Optimization",
        at_start=lambda label, **hyper: math.log(2.0),
        baseline=label_baseline,
        claim=policy(side_ends.bco),
    ),
    "apo_zero_unpaired": UnpairedLoss(
        apo_zero_unpaired,
        optimum="runs to the boundary, as kto",
        source="D'Oosterlinck et al. 2024, Anchored Preference Optimization, Eq. 7",
        at_start=half_weight,
        claim=boundary(side_ends.kto),
    ),
    "npo": UnpairedLoss(
        npo,
        optimum="runs to the boundary: an undesirable completion loses all its probability; where all sometimes are, "
        "it gathers on one",
        source="Zhang et al. 2024, Negative Preference Optimization, Eq. 3",
        at_start=lambda label, beta: 0.0 if label else 2 / beta * math.log(2.0),
        claim=GATHERS,
    ),
    "logistic": UnpairedLoss(
        logistic,
        optimum="pi_ref(y|x) exp(r(x, y) / beta), as near as a sum of 1 allows: pi* where its Z(x) = 1",
        source="Eq. 14",
        at_start=lambda label, **hyper: math.log(2.0),
        claim=policy(side_ends.logistic),
    ),
    "exponential_unpaired": UnpairedLoss(
        exponential_unpaired,
        optimum="pi_ref(y|x) exp(r(x, y) / (2 beta)), as near as a sum of 1 allows",
        source="Eq. 14",
        at_start=lambda label, **hyper: 1.0,
        claim=policy(side_ends.exponential),
    ),
    "hinge_unpaired": UnpairedLoss(
        hinge_unpaired,
        optimum="pi_ref(y|x) exp(sign(r(x, y)) / beta), as near as a sum of 1 allows",
        source="Eq. 14",
        at_start=lambda label, **hyper: 1.0,
        claim=kinked(side_ends.hinge),
    ),
}

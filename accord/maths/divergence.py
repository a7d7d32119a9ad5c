"""Estimates of KL(policy || reference) from samples of the policy: k1, k2, k3.

Schulman 2020, Approximating KL Divergence. Each takes log-probabilities in nats of the same sampled tokens or
sequences, any shape, and returns one term per sample, in nats; their mean is the estimate. Of a whole sequence they
take its summed log-probabilities; k1 and k3 may as well be taken token by token and summed. All gradients are left on:
the caller detaches.

An estimate of the KL is one thing, a loss that lowers it another (Tang and Munos 2025): sampling depends on the policy,
too, and the gradient of a term does not see that. `k2` of whole sequences is the one that can be a loss. Taken token by
token and summed it leaves out that a token decides what comes after it, and so does k3. The other right way is -beta k1
in the reward of every token, `accord.maths.policy_gradient.per_token_reward`. All of this is for samples of the policy
as it is: after a step on them it holds nearly.
"""

import torch
from torch import Tensor


def k1(policy: Tensor, reference: Tensor) -> Tensor:
    """log(pi / pi_ref): unbiased; a single term may be negative. As a loss it does nothing: its mean gradient is 0."""
    return policy - reference


def k2(policy: Tensor, reference: Tensor) -> Tensor:
    """(log(pi / pi_ref))^2 / 2: biased, never negative. Of whole sequences its mean gradient is exactly the KL's.

    Its gradient is log(pi / pi_ref) grad log pi, and the KL's is the mean of that.
    """
    return 0.5 * (policy - reference).square()


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """pi_ref / pi - 1 - log(pi_ref / pi): unbiased, never negative, mostly of less variance than k1.

    As a loss it descends the KL the other way round: of whole sequences its mean gradient is that of KL(pi_ref || pi).
    """
    log_ratio = reference - policy
    # expm1 keeps the digits where the two are nearly equal.
    return torch.expm1(log_ratio) - log_ratio

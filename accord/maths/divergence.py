"""Estimates of KL(policy || reference) from samples of the policy: k1, k2, k3.

Schulman 2020, Approximating KL Divergence. Each takes log-probabilities in nats of the same sampled tokens or
sequences, any shape, and returns one term per sample, in nats; their mean is the estimate. All gradients are left
on: the caller detaches.
"""

import torch
from torch import Tensor


def k1(policy: Tensor, reference: Tensor) -> Tensor:
    """log(pi / pi_ref): unbiased; a single term may be negative."""
    return policy - reference


def k2(policy: Tensor, reference: Tensor) -> Tensor:
    """(log(pi / pi_ref))^2 / 2: biased, never negative; its expected gradient is that of the KL."""
    return 0.5 * (policy - reference).square()


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """pi_ref / pi - 1 - log(pi_ref / pi): unbiased, never negative, mostly of less variance than k1."""
    log_ratio = reference - policy
    # expm1 keeps the digits where the two are nearly equal.
    return torch.expm1(log_ratio) - log_ratio

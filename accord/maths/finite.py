"""Exponentials and odds whose values and gradients stay finite in float32."""

import math

import torch
from torch import Tensor

LINEAR_FROM = 40.0  # exp(40) = 2.4e17: its square, which gradient norms take, is still a float32


def finite_exp(x: Tensor) -> Tensor:
    """exp(x), any shape; above x = 40 its tangent there, so that neither value nor gradient overflows."""
    return torch.exp(x.clamp(max=LINEAR_FROM)) + math.exp(LINEAR_FROM) * torch.relu(x - LINEAR_FROM)


def finite_expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, any shape, with its digits kept near x = 0; above x = 40 its tangent there."""
    return torch.expm1(x.clamp(max=LINEAR_FROM)) + math.exp(LINEAR_FROM) * torch.relu(x - LINEAR_FROM)


def log_odds(logp: Tensor) -> Tensor:
    """log(p / (1 - p)) of log p < 0, any shape. A log p that rounds to 0 counts as the nearest number below it.

    log(1 - p) is log(-expm1(log p)), which keeps its digits where p is nearly 1 (Maechler 2012). Where p is nearly 0 it
    loses some, but there it is itself lost beside log p, which is far from 0.
    """
    below = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return below - torch.log(-torch.expm1(below))

"""Equation 14's surrogate losses of a margin m, any shape: m = y f(x) with y = +1 or -1, or a gap of two scores.

Each bounds the 0-1 loss I(m < 0) from above (the logistic one divided by log 2) and has a gradient.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.maths.finite import finite_exp


def logistic(margin: Tensor) -> Tensor:
    """log(1 + exp(-m)) = -log sigma(m)."""
    return -logsigmoid(margin)


def hinge(margin: Tensor) -> Tensor:
    """max(0, 1 - m)."""
    return torch.relu(1 - margin)


def exponential(margin: Tensor) -> Tensor:
    """exp(-m); below m = -40 its tangent there, since float32 has no such numbers."""
    return finite_exp(-margin)


SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": logistic,
    "hinge": hinge,
    "exponential": exponential,
}

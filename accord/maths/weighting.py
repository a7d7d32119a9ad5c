"""WPO: pairs that the policy itself might have written weigh more.

Zhou et al. 2024, Weighted Preference Optimization. P pairs, C completions, N predicted tokens.
"""

import torch
from torch import Tensor

from accord.maths.likelihood import length_by_owner, sum_by_owner
from accord.maths.pair import Pair


def alignment_weight(token: Tensor, collision: Tensor, owner: Tensor, completions: int) -> Tensor:
    """(C,) exp of the mean over a completion's tokens of log p(y_t) - log sum_v p(v)^2. Zhou et al. 2024, Eq. 2.

    token: (N,) log p(y_t) under the policy, in nats; collision: (N,) sum_v p(v)^2, the mean probability of a token that
    the policy samples; owner: (N,) in 0..C-1. 1 for a completion as likely as the policy's own, and for an empty one.
    """
    total = sum_by_owner(token - collision.log(), owner, completions)
    return torch.exp(total / length_by_owner(owner, completions).clamp(min=1))


def pair_weight(weight: Pair) -> Tensor:
    """(P,) the chosen's weight times the rejected's, at most 1: what a pair's loss is multiplied by, without gradient.

    The bound is the authors' (in their code, not in Eq. 2); TRL 1.16 has none.
    """
    return (weight.chosen * weight.rejected).clamp(max=1)

"""LD-DPO: the tokens by which one completion of a pair is longer than the other count for less.

Liu et al. 2024, Length Desensitization in Direct Preference Optimization. P pairs, C completions, N predicted tokens.
"""

import torch
from torch import Tensor

from accord.maths.likelihood import length_by_owner
from accord.maths.pair import Pair


def desensitised(token: Tensor, owner: Tensor, completions: int, pair: Pair, *, ld_alpha: float) -> Pair:
    """(P,) each: sum of log p over the first l tokens + ld_alpha times the sum over the rest, l the shorter length.

    token: (N,) log-probabilities in nats, completion after completion; owner: (N,) the completion of each, ascending;
    pair: the completions of each pair, in 0..C-1. l differs between the pairs that a completion is part of. The
    caller takes the result as the log-probabilities of policy and reference alike: ld_alpha = 1 gives the plain sums.
    """
    length = length_by_owner(owner, completions)
    place = torch.arange(len(owner), device=owner.device) - (length.cumsum(0) - length)[owner]
    padded = token.new_zeros(completions, int(length.max()) if len(length) else 0).index_put((owner, place), token)
    shared = torch.minimum(length[pair.chosen], length[pair.rejected])
    count = torch.arange(padded.shape[1], device=owner.device) < shared.unsqueeze(1)
    weight = torch.where(count, 1.0, ld_alpha).to(token.dtype)
    return Pair(*((padded[side] * weight).sum(1) for side in pair))

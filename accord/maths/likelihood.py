"""The likelihood of text under a language model: equations 1 to 4.

N predicted tokens, C completions, V words. Log-probabilities are in nats. An `owner` says to which completion
a token belongs; for pre-training a document is the completion of an empty prompt.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor

Nats = TypeVar("Nats", float, Tensor)


def token_logprob(logits: Tensor, token: Tensor) -> Tensor:
    """(..., V) logits, (...) tokens -> (...) log softmax(logits)[token], Eq. 3. At least float32 whatever comes in.

    The plain way, which holds all logits: the engine's chunked one is tested against it.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide.gather(-1, token.long().unsqueeze(-1)).squeeze(-1) - wide.logsumexp(-1)


def sum_by_owner(logp: Tensor, owner: Tensor, completions: int) -> Tensor:
    """(N,), (N,) in 0..C-1, C -> (C,) sums: log P(y | x), Eq. 3, or Eq. 1's sum over a document.

    A completion without tokens has the sum 0.
    """
    return logp.new_zeros(completions).index_add(0, owner, logp)


def length_by_owner(owner: Tensor, completions: int) -> Tensor:
    """(N,) in 0..C-1, C -> (C,) how many tokens each completion has."""
    return torch.bincount(owner, minlength=completions)


def mean_by_owner(logp: Tensor, owner: Tensor, completions: int) -> Tensor:
    """(N,), (N,) in 0..C-1, C -> (C,) means per token, Eq. 3. NaN for a completion without tokens."""
    return sum_by_owner(logp, owner, completions) / length_by_owner(owner, completions)


def fine_tuning_loss(completion: Tensor, language: Tensor, *, alpha: float) -> Tensor:
    """Eq. 2: alpha L_LM + L_FT, both as losses (negative log-likelihoods), any shape.

    completion: L_FT, over the completion's tokens. language: L_LM, over all tokens of the same text.
    """
    return alpha * language + completion


def bits_per_token(nats: Nats) -> Nats:
    """Nats per token -> bits per token, any shape, Eq. 4."""
    return nats / math.log(2.0)


def perplexity(nats: float) -> float:
    """Nats per token -> exp of it: the number of equally likely words that would be as hard to guess. Eq. 4."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf

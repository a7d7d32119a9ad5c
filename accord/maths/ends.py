"""Where a loss ends on unlimited judgements: what a claim may depend on, its kinds, and the solvers they share.

S completions are all that a prompt has, and the last dimension runs over them. Log-probabilities in nats, float64.
A row of a table of losses claims a policy (`Claim.end`: a closed form, a number to be found by halving, or the zero of
a slope that was derived by hand), or what is left to claim where there is none. `accord theory` holds each to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

HALVINGS = 70
REACH = 300.0  # nats: no log-ratio of a world that float64 can hold is beyond


class Setting(NamedTuple):
    """What a loss learns from, in the mean: any number of prompts (...) and their S completions."""

    reference: Tensor  # (..., S) log pi_ref(y|x)
    reward: Tensor  # (..., S)
    mu: Tensor  # (..., S) chances: what is compared or labelled is drawn from it
    length: Tensor  # (..., S) tokens
    win: Tensor  # (..., S, S) the chance that the first is preferred to the second
    desirable: Tensor  # (..., S) the chance that a label says so

    @property
    def w(self) -> Tensor:
        """(..., S) how often y wins against one from mu."""
        return mean_over(self.mu, self.win)


def setting(reference: Tensor, reward: Tensor, mu: Tensor, length: Tensor) -> Setting:
    """Exact Bradley-Terry judgements: sigma(r - r') of a pair, sigma(r) of one completion. Eq. 5."""
    win = torch.sigmoid(gaps(reward))
    return Setting(reference, reward, mu, length.to(reference.dtype), win, torch.sigmoid(reward))


class Claim(NamedTuple):
    """What a row of a table of losses claims of its end.

    policy: `end` is where it ends. boundary: the same, but some completions are to lose all probability, so it is only
    approached. gathers: all probability comes to one completion, which one depends on the start. rests: nothing but
    that the slope vanishes there, or no policy near is better.
    """

    kind: Literal["policy", "boundary", "gathers", "rests"]
    end: Callable[..., Tensor] | None = None  # (setting, *, hyper-parameters) -> (..., S) log-probabilities
    at: Mapping[str, float] = {}  # hyper-parameters under which the claim is interesting, where not the defaults
    within: float = 1e-9  # nats, KL(claimed || found)


def policy(end: Callable[..., Tensor], **at: float) -> Claim:
    """One policy, which the loss comes to."""
    return Claim("policy", end, at)


def kinked(end: Callable[..., Tensor]) -> Claim:
    """One policy, at a kink of the loss: no slope vanishes there, so that it is found to fewer digits."""
    return Claim("policy", end, within=1e-6)


def boundary(end: Callable[..., Tensor]) -> Claim:
    """A policy that some completions have left."""
    return Claim("boundary", end, within=1e-3)


GATHERS, RESTS = Claim("gathers", within=1e-3), Claim("rests")


def gaps(values: Tensor) -> Tensor:
    """(..., S) -> (..., S, S) the first less the second."""
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def mean_over(mu: Tensor, pairs: Tensor) -> Tensor:
    """(..., S), (..., S, S) -> (..., S) the mean over the second of each pair, drawn from mu."""
    return (pairs @ mu.unsqueeze(-1)).squeeze(-1)


def tilted(base: Tensor, score: Tensor) -> Tensor:
    """(..., S) twice -> (..., S) log of base exp(score) / Z(x)."""
    return (base + score).log_softmax(-1)


def tilted_by_length(base: Tensor, score: Tensor, length: Tensor) -> Tensor:
    """(..., S) three times -> (..., S) log of base exp(|y| (score - c(x))), c(x) such that it sums to 1.

    For losses of means per token: what they leave open is a constant of each token, not of each completion.
    """
    least = (score + base / length).amax(-1, keepdim=True)  # with this c one completion alone has 1
    most = least + score.new_tensor(score.shape[-1]).log()
    c = halved(lambda c: -(base + length * (score - c)).logsumexp(-1, keepdim=True), least, most)
    return (base + length * (score - c)).log_softmax(-1)


def halved(rising: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """(...) bounds -> (...) where a function that rises, element by element, is 0."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = rising(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def balanced(slope: Callable[[Tensor], Tensor], start: Tensor, *, within: float = 1e-12, most: int = 200) -> Tensor:
    """(..., S) log-probabilities near the end -> those at which a loss of log pi stands still, under a sum of 1.

    slope: (..., S) -> (..., S) the derivative of the expected loss by each log pi(y). It stands still where that is
    pi(y) times one number for all y of a prompt. Newton's method, halved until the distance falls. ValueError: no end.
    """

    def off(flat: Tensor) -> Tensor:
        logp = flat.reshape(start.shape).log_softmax(-1)
        found = slope(logp)
        return (found - logp.exp() * found.sum(-1, keepdim=True)).flatten()

    at = start.flatten()
    for _ in range(most):
        distance = off(at)
        if distance.abs().max() < within:
            return at.reshape(start.shape).log_softmax(-1)
        step = torch.linalg.pinv(torch.autograd.functional.jacobian(off, at), rtol=1e-11) @ distance
        shares = (at - 0.5**halving * step for halving in range(30))
        found = next((one for one in shares if off(one).norm() < distance.norm()), None)
        if found is None:
            break
        at = found
    if off(at).abs().max() < 1e3 * within:  # as near as rounding lets it
        return at.reshape(start.shape).log_softmax(-1)
    raise ValueError("no balance was found: the claim has no end in this setting")

"""Where a loss of a policy's log-probabilities leads from a start, to all the digits that it has.

Steps by the sign of the slope alone (Rprop, Riedmiller and Braun 1993), as training would lead; then Newton's method on
the slope, which may not leave the neighbourhood. A loss with kinks has no vanishing slope at its least value: there
shrinking steps go on, each as long as the last slopes say (as Adam's), and the best point counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]  # (G, S) logits over completions -> () the expected loss

STILL = 1e-9  # a slope that is none
SIGN_STEPS, FIRST, LONGEST, SHORTEST = 500, 0.02, 2.0, 1e-9
FASTER, SLOWER = 1.2, 0.5
NEWTON_STEPS, NEAR = 12, 0.5  # nats: farther Newton's method may not lead
SHRINKING = torch.logspace(-0.5, -7, 2000).tolist()


class Ended(NamedTuple):
    """The end, and how still it stands."""

    policy: Tensor  # (G, S) log pi(y|x)
    slope: float  # the largest element of the slope by logits


def descend(loss: Loss, start: Tensor) -> Ended:
    """(G, S) log-probabilities to start from. What a loss detaches, its slope does not see, nor does Newton's step."""
    at = _by_signs(loss, start)
    at = _by_newton(loss, at)
    if _size(slope_of(loss, at)) > STILL:
        at = _by_shrinking_steps(loss, at)
    return Ended(at.log_softmax(-1), _size(slope_of(loss, at)))


def slope_of(loss: Loss, at: Tensor, *, graph: bool = False) -> Tensor:
    """(G, S) the gradient by logits."""
    leaf = at if graph else at.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf, create_graph=graph)[0]


def _size(slope: Tensor) -> float:
    return float(slope.abs().max())


def _by_signs(loss: Loss, start: Tensor) -> Tensor:
    """A coordinate's step grows while its slope keeps its sign, is halved where it turns, and then waits once."""
    at, before, length = start, torch.zeros_like(start), torch.full_like(start, FIRST)
    for _ in range(SIGN_STEPS):
        slope = slope_of(loss, at)
        if _size(slope) < STILL:
            break
        turned = slope.sign() * before
        factor = torch.where(turned > 0, FASTER, torch.where(turned < 0, SLOWER, 1.0))
        length = (length * factor).clamp(SHORTEST, LONGEST)
        before = torch.where(turned < 0, 0.0, slope.sign())
        at = at - length * before
    return at


def _by_newton(loss: Loss, start: Tensor) -> Tensor:
    at, slope = start, slope_of(loss, start)

    def field(flat: Tensor) -> Tensor:
        return slope_of(loss, flat.reshape(start.shape), graph=True).flatten()

    for _ in range(NEWTON_STEPS):
        bend = torch.autograd.functional.jacobian(field, at.flatten())
        step = torch.linalg.pinv(bend, rtol=1e-11) @ slope.flatten()
        there = at - step.reshape(at.shape)
        found = slope_of(loss, there)
        if not found.isfinite().all() or (there - start).abs().max() > NEAR or found.norm() >= slope.norm():
            break
        at, slope = there, found
    return at


def _by_shrinking_steps(loss: Loss, start: Tensor) -> Tensor:
    at, best, least = start, start, float(loss(start))
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    for rate in SHRINKING:
        leaf = at.detach().requires_grad_()
        value = loss(leaf)
        if value.item() < least:
            best, least = at, value.item()
        slope = torch.autograd.grad(value, leaf)[0]
        mean, square = mean + 0.5 * (slope - mean), square + 0.1 * (slope.square() - square)
        at = at - rate * mean / (square.sqrt() + 1e-12)
    return best

"""What trains all of this, written out: equations 19 to 23 as sequences of iterates.

theta is a tensor of any shape, rates are the step sizes alpha_0, alpha_1, ..., and a gradient is a function of theta
and of the number of the step, k = 0, 1, ..., by which a stochastic one draws its example. Each function yields
theta^0, theta^1, ..., one more than there are rates, and changes nothing that it is given. Training uses PyTorch's
optimisers (`accord.training.optimizer`); these are what they are held against.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Gradient = Callable[[Tensor, int], Tensor]  # (theta, k) -> the shape of theta


def sgd(theta: Tensor, gradient: Gradient, rates: Iterable[float]) -> Iterator[Tensor]:
    """theta^{k+1} = theta^k - alpha_k g(theta^k). Eq. 19; Robbins and Monro 1951."""
    yield theta
    for k, rate in enumerate(rates):
        theta = theta - rate * gradient(theta, k)
        yield theta


def iterate_average(thetas: Iterable[Tensor], rates: Sequence[float]) -> Tensor:
    """sum_j alpha_j theta^j / sum_j alpha_j, Eq. 19's averaged iterate: of the points where gradients were taken."""
    return sum((rate * theta for rate, theta in zip(rates, thetas, strict=False)), torch.tensor(0.0)) / sum(rates)


def sgd_bound(distance: float, gradient_bound: float, rates: Sequence[float]) -> float:
    """(||theta^0 - theta*||^2 + B^2 sum alpha_j^2) / (2 sum alpha_j), which E[f(theta_bar^T) - f*] stays under.

    Eq. 19, of a convex f whose stochastic gradients have E||g||^2 <= B^2. distance: ||theta^0 - theta*||;
    gradient_bound: B.
    """
    return (distance**2 + gradient_bound**2 * sum(rate**2 for rate in rates)) / (2 * sum(rates))


def svrg(
    theta: Tensor,
    gradient_of: Callable[[Tensor, Tensor], Tensor],
    examples: int,
    *,
    rate: float,
    rounds: int,
    inner: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Stochastic variance-reduced gradient, Johnson and Zhang 2013: the iterate after each round, from theta^0.

    A round takes the whole gradient at its start w, then `inner` steps theta <- theta - alpha (g_i(theta) - g_i(w) +
    mean_j g_j(w)), whose variance goes to 0 as theta and w come near the minimum: a constant step converges linearly.
    gradient_of(theta, (n,) examples) -> (n, ...) their gradients. Option I: the next w is the last theta.
    """
    every = torch.arange(examples)
    yield theta
    for _ in range(rounds):
        start, whole = theta, gradient_of(theta, every).mean(0)
        for drawn in torch.randint(examples, (inner, 1), generator=generator):
            change = gradient_of(theta, drawn)[0] - gradient_of(start, drawn)[0]
            theta = theta - rate * (change + whole)
        yield theta


class LookAhead(NamedTuple):
    """Of momentum at step k: theta^k, the point theta^k - beta v^k where its gradient is taken, and v^k."""

    theta: Tensor
    ahead: Tensor
    velocity: Tensor


def momentum(
    theta: Tensor, velocity: Tensor, gradient: Gradient, rates: Iterable[float], *, beta: float = 0.9
) -> Iterator[LookAhead]:
    """v^{k+1} = beta v^k + alpha_k g(theta^k - beta v^k); theta^{k+1} = theta^k - v^{k+1}. Eq. 20; Nesterov 1983.

    velocity: v^0. As the equation has it, g(theta^0); PyTorch, and so training, begins with 0. From there, and at a
    constant rate, `ahead` is what `torch.optim.SGD(nesterov=True)` holds in the model.
    """
    yield LookAhead(theta, theta - beta * velocity, velocity)
    for k, rate in enumerate(rates):
        velocity = beta * velocity + rate * gradient(theta - beta * velocity, k)
        theta = theta - velocity
        yield LookAhead(theta, theta - beta * velocity, velocity)


def adagrad(theta: Tensor, gradient: Gradient, rates: Iterable[float], *, eps: float = 1e-8) -> Iterator[Tensor]:
    """n <- n + g g; theta <- theta - alpha g / (sqrt(n) + eps). Eq. 21; Duchi et al. 2011."""
    squares = torch.zeros_like(theta)
    yield theta
    for k, rate in enumerate(rates):
        slope = gradient(theta, k)
        squares = squares + slope * slope
        theta = theta - rate * slope / (squares.sqrt() + eps)
        yield theta


def adam(
    theta: Tensor,
    gradient: Gradient,
    rates: Iterable[float],
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Iterator[Tensor]:
    """theta <- theta - alpha m^ / (sqrt(v^) + eps), m^ = m / (1 - beta_1^t), v^ = v / (1 - beta_2^t). Eq. 22.

    m <- beta_1 m + (1 - beta_1) g and v <- beta_2 v + (1 - beta_2) g g, from 0; both corrections make up for that
    start. Kingma and Ba 2015, Algorithm 1.
    """
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    yield theta
    for k, rate in enumerate(rates):
        slope = gradient(theta, k)
        first = betas[0] * first + (1 - betas[0]) * slope
        second = betas[1] * second + (1 - betas[1]) * slope * slope
        mean, spread = first / (1 - betas[0] ** (k + 1)), second / (1 - betas[1] ** (k + 1))
        theta = theta - rate * mean / (spread.sqrt() + eps)
        yield theta


def newton(
    theta: Tensor, gradient: Gradient, hessian: Callable[[Tensor, int], Tensor], *, steps: int
) -> Iterator[Tensor]:
    """theta <- theta - H^-1 g, theta (P,), H (P, P). Eq. 23; `accord.maths.newton.minimise` halves steps that climb."""
    yield theta
    for k in range(steps):
        theta = theta - torch.linalg.solve(hessian(theta, k), gradient(theta, k))
        yield theta

"""Equations 19 to 23: by hand, against the optimisers that training uses, and what theory says of them."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accord.maths import descent
from accord.maths.newton import Floats, Point, minimise
from accord.training.averaging import IterateAverage
from accord.training.optimizer import Weights, recipe

RATES = [0.05] * 12


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bowl(theta: Tensor, k: int) -> Tensor:
    """The gradient of f = theta^2 / 2."""
    return theta


# By hand


def test_momentum_by_hand() -> None:
    """f = theta^2 / 2, theta = 1, v = g = 1, beta = 1/2, alpha = 0.1: ahead 0.5; v = 0.5 + 0.05 = 0.55, theta 0.45,
    ahead 0.175; v = 0.275 + 0.0175 = 0.2925, theta 0.1575, ahead 0.01125."""
    found = list(descent.momentum(double(1.0), double(1.0), bowl, [0.1, 0.1], beta=0.5))
    assert [one.velocity.item() for one in found] == pytest.approx([1.0, 0.55, 0.2925])
    assert [one.theta.item() for one in found] == pytest.approx([1.0, 0.45, 0.1575])
    assert [one.ahead.item() for one in found] == pytest.approx([0.5, 0.175, 0.01125])


def test_adagrad_by_hand() -> None:
    """n = 9, then 25."""
    slopes = [3.0, 4.0]
    found = descent.adagrad(double(1.0), lambda theta, k: double(slopes[k]), [0.1, 0.1])
    assert [theta.item() for theta in found] == pytest.approx([1.0, 0.9, 0.82])


def test_adam_by_hand() -> None:
    """m = 0.05, 0.02; v = 2.5e-4, 3.1225e-4; corrected 0.5, 0.105263 and 0.25, 0.156203."""
    slopes = [0.5, -0.25]
    found = descent.adam(double(1.0), lambda theta, k: double(slopes[k]), [0.1, 0.1])
    expected = [1.0, 0.9, 0.9 - 0.1 * 0.105263158 / 0.156203102**0.5]
    assert [theta.item() for theta in found] == pytest.approx(expected)


def test_newton_takes_a_parabola_in_one_step() -> None:
    """4 + 1 = 5 and 1 + 2 = 3."""
    bend = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    found = list(
        descent.newton(double(7.0, -2.0), lambda x, k: bend @ x - double(5.0, 3.0), lambda x, k: bend, steps=1)
    )
    torch.testing.assert_close(found[-1], double(1.0, 1.0))


def test_the_bound_by_hand() -> None:
    """(2^2 + 3^2 (0.25 + 0.0625)) / (2 (0.5 + 0.25))."""
    assert descent.sgd_bound(2.0, 3.0, [0.5, 0.25]) == pytest.approx(6.8125 / 1.5)


def test_the_average_by_hand() -> None:
    """(0.5 * 1 + 0.25 * 4) / 0.75; the last point, which no step was taken from, does not count."""
    assert descent.iterate_average(iter(double(1.0, 4.0, 9.0)), [0.5, 0.25]).item() == pytest.approx(2.0)


def test_svrg_by_hand() -> None:
    """Of one example it is gradient descent: 1, 0.9, 0.81 in a round of two steps of 0.1 on theta^2 / 2."""
    found = list(
        descent.svrg(
            double(1.0), lambda theta, drawn: theta[None], 1, rate=0.1, rounds=1, inner=2, generator=torch.Generator()
        )
    )
    assert [theta.item() for theta in found] == pytest.approx([1.0, 0.81])


# Against the optimisers that training uses


class Model(nn.Module):
    """f = sum_i log cosh(x_i - i): no parabola, and each coordinate has its own bend."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5]))

    def loss(self) -> Tensor:
        return (self.w - torch.tensor([0.0, 1.0, 2.0])).cosh().log().sum()


def slope(theta: Tensor, k: int) -> Tensor:
    """Model's gradient."""
    return (theta - double(0.0, 1.0, 2.0)).tanh()


def trained(name: str, rates: list[float], average: type[IterateAverage] | None = None) -> tuple[list[Tensor], Weights]:
    """Where training's own optimiser goes, its start first."""
    model = Model()
    weights = Weights.of(model, recipe(name), average=average)
    places = [model.w.detach().double()]
    for rate in rates:
        weights.zero_grad()
        model.loss().backward()
        weights.step(rate)
        places.append(model.w.detach().double())
    return places, weights


def looking_ahead(theta: Tensor, gradient: descent.Gradient, rates: list[float]) -> Iterator[Tensor]:
    """Equation 20 from v = 0, as training begins: the points where gradients are taken."""
    return (one.ahead for one in descent.momentum(theta, torch.zeros_like(theta), gradient, rates))


WRITTEN: dict[str, Callable[[Tensor, descent.Gradient, list[float]], Iterator[Tensor]]] = {
    "sgd": descent.sgd,
    "momentum": looking_ahead,
    "adagrad": descent.adagrad,
    "adam": descent.adam,
    "adamw": descent.adam,  # without weight decay they are the same
}


@pytest.mark.parametrize("name", WRITTEN)
def test_training_takes_the_steps_of_the_equation(name: str) -> None:
    places, _ = trained(name, RATES)
    for place, theta in zip(places, WRITTEN[name](places[0], slope, RATES), strict=True):
        torch.testing.assert_close(place, theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_so_it_does_while_the_rate_changes(name: str) -> None:
    rates = [0.1 / (k + 1) ** 0.5 for k in range(12)]
    places, _ = trained(name, rates)
    for place, theta in zip(places, WRITTEN[name](places[0], slope, rates), strict=True):
        torch.testing.assert_close(place, theta, rtol=1e-5, atol=1e-6)


def test_momentum_differs_from_the_equation_in_its_start_alone() -> None:
    """v^0 = g(theta^0) makes the first look-ahead another point than theta^0; what follows is the same rule."""
    start = Model().w.detach().double()
    first = next(descent.momentum(start, slope(start, 0), slope, RATES))
    assert (first.ahead - start).abs().min() > 0.1
    places, _ = trained("momentum", RATES)
    torch.testing.assert_close(places[0], start)


def test_momentum_where_the_rate_changes_is_another_rule() -> None:
    """PyTorch keeps v / alpha: a new rate rescales what the old one gathered. The equation keeps v."""
    rates = [0.1, 0.1, 0.01, 0.01]
    places, _ = trained("momentum", rates)
    written = list(looking_ahead(places[0], slope, rates))
    torch.testing.assert_close(places[1], written[1], rtol=1e-5, atol=1e-6)
    assert (places[-1] - written[-1]).abs().max() > 1e-3


def test_training_averages_as_equation_19() -> None:
    rates = [0.1 / (k + 1) ** 0.5 for k in range(12)]
    places, weights = trained("sgd", rates, IterateAverage)
    with weights.averaged():
        found = weights.masters["w"].detach().double()
    torch.testing.assert_close(found, descent.iterate_average(places, rates), rtol=1e-6, atol=1e-6)


def test_minimise_takes_newtons_steps_while_they_lead_down() -> None:
    seen: list[Floats] = []

    def function(x: Floats) -> Point:
        seen.append(x)
        return Point(float(np.log(np.cosh(x - 1)).sum()), np.tanh(x - 1), np.diag(np.cosh(x - 1) ** -2.0))

    minimise(function, np.array([1.5, 0.7]))
    written = descent.newton(
        double(1.5, 0.7),
        lambda x, k: (x - 1).tanh(),
        lambda x, k: torch.diag((x - 1).cosh() ** -2),
        steps=4,
    )
    for found, theta in zip(seen, written, strict=False):
        assert found == pytest.approx(theta.numpy(), abs=1e-12)


# What theory says: logistic regression, whose stochastic gradients are no longer than its examples


def examples() -> tuple[Tensor, Tensor]:
    """(50, 3) and (50,) labels of +1 and -1 that no plane divides."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    chance = torch.sigmoid(x @ double(1.0, -2.0, 0.5))
    return x, torch.where(torch.rand(50, generator=generator, dtype=torch.float64) < chance, 1.0, -1.0).double()


X, Y = examples()


def loss(theta: Tensor) -> Tensor:
    """(..., 3) -> (...,) the mean logistic loss."""
    return nn.functional.softplus(-Y * (theta @ X.T)).mean(-1)


def gradients(theta: Tensor, drawn: Tensor) -> Tensor:
    """(..., 3), (...,) the examples drawn -> (..., 3) the gradient of each."""
    x, y = X[drawn], Y[drawn]
    return -(y * torch.sigmoid(-y * (theta * x).sum(-1))).unsqueeze(-1) * x


def minimum() -> Tensor:
    hessian = torch.func.hessian(lambda theta: loss(theta))
    *_, best = descent.newton(
        torch.zeros(3, dtype=torch.float64),
        lambda theta, k: torch.func.grad(loss)(theta),
        lambda theta, k: hessian(theta),
        steps=12,
    )
    return best


BEST = minimum()
RUNS = 200


@pytest.mark.parametrize(
    "rates",
    [[0.02] * 300, [0.1] * 300, [0.5] * 300, [0.5 / (k + 1) ** 0.5 for k in range(300)]],
    ids=["0.02", "0.1", "0.5", "falling"],
)
def test_the_averaged_iterate_stays_under_its_bound(rates: list[float]) -> None:
    """The mean gap of 200 runs, and three of its standard errors, under the bound of equation 19."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(len(X), (len(rates), RUNS), generator=generator)
    start = torch.zeros(RUNS, 3, dtype=torch.float64)
    path = descent.sgd(start, lambda theta, k: gradients(theta, drawn[k]), rates)
    gap = loss(descent.iterate_average(path, rates)) - loss(BEST)
    length = X.square().sum(-1).mean().sqrt().item()  # ||g_i|| <= ||x_i||
    bound = descent.sgd_bound(BEST.norm().item(), length, rates)
    assert gap.mean() + 3 * gap.std() / RUNS**0.5 < bound
    assert gap.min() > 0


def test_svrg_converges_linearly_where_sgd_does_not() -> None:
    """The same constant step and as many gradients: SGD stays at the height of its noise, SVRG loses a digit a round
    and more."""
    rate, inner, rounds = 0.2, 2 * len(X), 25
    path = descent.svrg(
        torch.zeros(3, dtype=torch.float64),
        lambda theta, drawn: gradients(theta.expand(len(drawn), 3), drawn),
        len(X),
        rate=rate,
        rounds=rounds,
        inner=inner,
        generator=torch.Generator().manual_seed(2),
    )
    gaps = [(loss(theta) - loss(BEST)).item() for theta in path]
    assert gaps[-1] < 1e-10
    above = [gap for gap in gaps if gap > 1e-10]
    factors = [after / before for before, after in pairwise(above)]
    assert max(factors) < 0.8
    drawn = torch.randint(len(X), (rounds * (2 * inner + len(X)), RUNS), generator=torch.Generator().manual_seed(3))
    *_, last = descent.sgd(
        torch.zeros(RUNS, 3, dtype=torch.float64), lambda theta, k: gradients(theta, drawn[k]), [rate] * len(drawn)
    )
    assert (loss(last) - loss(BEST)).mean() > 1e-3

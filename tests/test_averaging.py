"""Averages of the parameters: the equations by hand, and their place in evaluation."""

import pytest
import torch
from torch import nn

from accord.training.averaging import AVERAGES, ExponentialAverage, IterateAverage
from accord.training.optimizer import Weights, recipe


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))


def descend(weights: Weights, model: Scalar, rates: list[float]) -> None:
    """Steps with the gradient 1: from 1 down by each rate."""
    for rate in rates:
        weights.zero_grad()
        model.w.sum().backward()
        weights.step(rate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_iterate_average_weighs_by_step_size(dtype: torch.dtype) -> None:
    """theta^0..2 = 1, 0.5, 0.375 with alpha = 0.5, 0.125, 0.125: (0.5 + 0.0625 + 0.046875) / 0.75 = 0.8125."""
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), dtype=dtype, average=IterateAverage)
    descend(weights, model, [0.5, 0.125, 0.125])
    assert model.w.item() == 0.25
    with weights.averaged():
        assert model.w.item() == pytest.approx(0.8125, rel=1e-6)
    assert model.w.item() == 0.25


def test_a_step_of_size_zero_weighs_nothing() -> None:
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), average=IterateAverage)
    descend(weights, model, [0.0, 0.5, 0.0, 0.5])
    with weights.averaged():
        assert model.w.item() == pytest.approx((0.5 * 1.0 + 0.5 * 0.5) / 1.0)


def test_the_average_obeys_the_bound_it_is_made_for() -> None:
    """f = |w|, theta* = 0, B = 1: f(mean) <= (theta_0^2 + sum alpha^2) / (2 sum alpha)."""
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), average=IterateAverage)
    rates = [0.7] * 5
    for rate in rates:
        weights.zero_grad()
        model.w.abs().sum().backward()
        weights.step(rate)
    bound = (1 + sum(rate**2 for rate in rates)) / (2 * sum(rates))
    with weights.averaged():
        # theta = 1, 0.3, -0.4, 0.3, -0.4: the mean of the five is 0.16
        assert model.w.item() == pytest.approx(0.16, abs=1e-6)
        assert abs(model.w.item()) <= bound


def test_exponential_average_by_hand() -> None:
    """mean: 1; 0.75 * 1 + 0.25 * 0.5 = 0.875; 0.75 * 0.875 + 0.25 * 0 = 0.65625."""
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), average=lambda masters: AVERAGES["exponential"](masters, decay=0.75))
    descend(weights, model, [0.5, 0.5])
    with weights.averaged():
        assert model.w.item() == 0.65625
        assert weights.masters["w"].item() == 0.65625
    assert model.w.item() == 0.0


def test_exponential_average_equals_torchs() -> None:
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), average=lambda masters: ExponentialAverage(masters, decay=0.9))
    theirs = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(model)  # its first update is a copy
    for rate in (0.1, 0.2, 0.05):
        descend(weights, model, [rate])
        theirs.update_parameters(model)
    with weights.averaged():
        assert model.w.item() == pytest.approx(theirs.module.w.item(), rel=1e-6)


def test_without_an_average_the_context_changes_nothing() -> None:
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"))
    with weights.averaged():
        assert model.w.item() == 1.0
        descend(weights, model, [0.5])
    assert model.w.item() == 0.5


def test_the_average_is_not_trained_and_comes_back_after_an_error() -> None:
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), average=IterateAverage)
    descend(weights, model, [0.5])
    with pytest.raises(AssertionError, match="train the average"), weights.averaged():
        weights.step(0.5)
    assert model.w.item() == 0.5
    descend(weights, model, [0.25])
    assert model.w.item() == 0.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_ends_inside_the_average_stays_it(dtype: torch.dtype) -> None:
    model = Scalar()
    weights = Weights.of(model, recipe("sgd"), dtype=dtype, average=IterateAverage)
    descend(weights, model, [0.5, 0.125, 0.125])
    with weights.averaged():
        weights.widen()
    assert model.w.dtype == torch.float32
    assert model.w.item() == pytest.approx(0.8125, rel=1e-6)

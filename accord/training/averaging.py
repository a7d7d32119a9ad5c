"""Averages of the parameters over a run, kept in float32 beside them, one tensor a parameter."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from accord.errors import InputError

Parameters = Mapping[str, nn.Parameter]


class IterateAverage:
    """theta_bar^T = sum_j alpha_j theta^j / sum_j alpha_j: the iterate average, weighted by step size.

    alpha_j is the learning rate of step j and theta^j the point where its gradient was taken: the bound on
    f(theta_bar) is about those, so the average looks before each step and never sees the last step's result.
    """

    looks: Literal["before", "after"] = "before"

    def __init__(self, masters: Parameters) -> None:
        self.mean = copies(masters)
        self.total = torch.zeros((), dtype=torch.float64)  # sum of the step sizes seen

    def observe(self, masters: Parameters, lr: float) -> None:
        if lr > 0:
            self.total += lr
            approach(self.mean, masters, lr / self.total.item())

    def tensors(self) -> dict[str, Tensor]:
        return {**named_means(self.mean), "total": self.total}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        take(self.tensors(), tensors)


class ExponentialAverage:
    """mean <- decay mean + (1 - decay) theta after each step, from mean = theta^0. Polyak with forgetting."""

    looks: Literal["before", "after"] = "after"

    def __init__(self, masters: Parameters, *, decay: float = 0.999) -> None:
        self.mean = copies(masters)
        self.decay = decay

    def observe(self, masters: Parameters, lr: float) -> None:
        approach(self.mean, masters, 1.0 - self.decay)

    def tensors(self) -> dict[str, Tensor]:
        return named_means(self.mean)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        take(self.tensors(), tensors)


Average = IterateAverage | ExponentialAverage

AVERAGES: dict[str, Callable[..., Average]] = {"iterate": IterateAverage, "exponential": ExponentialAverage}


def exchange(masters: Parameters, mean: dict[str, Tensor]) -> None:
    """The parameters take the means' storage and the means theirs: nothing is copied, and a second call undoes it."""
    for name, master in masters.items():
        master.data, mean[name] = mean[name], master.data


def take(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy `given` into `own`. InputError where names, shapes or dtypes differ."""
    if own.keys() != given.keys():
        odd = sorted(own.keys() ^ given.keys())
        raise InputError(f"{len(odd)} tensors are on one side only, such as {odd[0]}", fix="resume with the same model")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape or tensor.dtype != own[name].dtype:
            saved, here = (f"{t.dtype} {tuple(t.shape)}" for t in (tensor, own[name]))
            raise InputError(f"saved as {saved}, here {here}", where=name, fix="resume with the same model")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def copies(masters: Parameters) -> dict[str, Tensor]:
    return {name: master.detach().clone() for name, master in masters.items()}


def named_means(mean: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"mean/{name}": tensor for name, tensor in mean.items()}


@torch.no_grad()
def approach(mean: Mapping[str, Tensor], masters: Parameters, share: float) -> None:
    """mean <- mean + share (theta - mean)."""
    torch._foreach_lerp_(list(mean.values()), list(masters.values()), share)

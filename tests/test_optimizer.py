"""Optimisers by hand; float32 masters that keep what bf16 would lose; state that comes back to the bit."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.errors import InputError
from accord.training.averaging import ExponentialAverage, IterateAverage
from accord.training.optimizer import OPTIMIZERS, Recipe, Weights, options_of, recipe


class Scalar(nn.Module):
    """One parameter of one number, shaped as a matrix so that weight decay takes it."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[value]]))


class Tied(nn.Module):
    """A language model of one embedding that is also its output layer, and a norm's vector."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(tokens)) * self.norm)


def path(how: Recipe, gradients: list[float], *, lr: float, start: float = 1.0) -> list[float]:
    """Where the one number of a Scalar goes under these gradients."""
    model = Scalar(start)
    weights = Weights.of(model, how)
    places = []
    for gradient in gradients:
        model.w.grad = torch.tensor([[gradient]])
        weights.step(lr)
        places.append(model.w.item())
    return places


@pytest.mark.parametrize(
    ("name", "options", "gradients", "expected"),
    [
        ("sgd", {}, [0.5, -2.0], [0.95, 1.15]),
        ("sgd", {"weight_decay": 0.1}, [0.5], [1 - 0.1 * (0.5 + 0.1)]),
        # m = 0.05, 0.02; v = 2.5e-4, 3.1225e-4; corrected m = 0.5, 0.105263; corrected v = 0.25, 0.156203
        ("adam", {}, [0.5, -0.25], [0.9, 0.9 - 0.1 * 0.105263158 / 0.156203102**0.5]),
        ("adamw", {}, [0.5, -0.25], [0.9, 0.9 - 0.1 * 0.105263158 / 0.156203102**0.5]),
        # the decay is a step of its own: 1 (1 - 0.1 * 0.2) - 0.1
        ("adamw", {"weight_decay": 0.2}, [0.5], [0.98 - 0.1]),
        # with betas 0 Adam is the gradient's sign
        ("adam", {"betas": (0.0, 0.0)}, [0.5, -7.0], [0.9, 1.0]),
        ("adam", {"eps": 0.5}, [0.5], [1 - 0.1 * 0.5 / (0.5 + 0.5)]),
        # n = 9, 25
        ("adagrad", {}, [3.0, 4.0], [0.9, 0.82]),
        # n = 0.09, 0.0891 + 0.0009
        ("rmsprop", {}, [3.0, 0.3], [0.0, -0.1]),
        ("rmsprop", {"alpha": 0.0}, [3.0, 4.0], [0.9, 0.8]),
    ],
)
def test_steps_by_hand(name: str, options: dict[str, Any], gradients: list[float], expected: list[float]) -> None:
    assert path(recipe(name, **options), gradients, lr=0.1) == pytest.approx(expected, abs=1e-6)


def test_momentum_looks_ahead() -> None:
    """f = theta^2 / 2, beta = 0.5, alpha = 0.1, v = 0, theta = 1. The model holds theta - beta v:
    v = 0.1, theta = 0.9, look-ahead 0.85; v = 0.05 + 0.085 = 0.135, theta = 0.765, look-ahead 0.6975."""
    model = Scalar(1.0)
    weights = Weights.of(model, recipe("momentum", momentum=0.5))
    places = []
    for _ in range(2):
        weights.zero_grad()
        (model.w**2 / 2).sum().backward()
        weights.step(0.1)
        places.append(model.w.item())
    assert places == pytest.approx([0.85, 0.6975])


def test_the_learning_rate_is_that_of_the_step() -> None:
    model = Scalar(1.0)
    weights = Weights.of(model, recipe("sgd"))
    model.w.grad = torch.tensor([[1.0]])
    weights.step(0.5)
    weights.step(0.125)
    assert model.w.item() == 0.375


def test_weight_decay_spares_vectors() -> None:
    model = Tied()
    weights = Weights.of(model, recipe("adamw", weight_decay=0.5))
    before = model.embed.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weights.step(0.1)
    assert torch.allclose(model.embed.weight, before * 0.95)
    assert torch.equal(model.norm, torch.ones(4))


def test_names_and_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match="no optimizer lion: one of adamw, adam"):
        recipe("lion")
    with pytest.raises(InputError, match="sgd has no betas, momentum: its options: none but weight_decay"):
        recipe("sgd", momentum=0.9, betas=(0.9, 0.99))
    assert options_of("adamw") == {"betas": (0.9, 0.999), "eps": 1e-8}
    recipe("sgd", momentum=None)  # not given


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="no parameter to train"):
        Weights.of(Scalar(1.0).requires_grad_(False), recipe())


# Masters beside bf16


def test_float32_weights_are_the_models_own() -> None:
    model = Tied()
    weights = Weights.of(model, recipe())
    assert sorted(weights.masters) == ["embed.weight", "norm"]  # tied: once
    assert weights.masters["embed.weight"] is model.embed.weight is model.head.weight
    assert weights.working == []


def test_bf16_takes_over_the_float32_storage_and_keeps_ties() -> None:
    model = Tied()
    storage, exact = model.embed.weight.data_ptr(), model.embed.weight.detach().clone()
    weights = Weights.of(model, recipe(), dtype=torch.bfloat16)
    assert weights.masters["embed.weight"].data_ptr() == storage
    assert torch.equal(weights.masters["embed.weight"], exact)
    assert model.head.weight is model.embed.weight
    assert torch.equal(model.embed.weight, exact.bfloat16())


def test_frozen_parameters_change_dtype_but_have_no_master() -> None:
    model = Tied()
    model.norm.requires_grad_(False)
    weights = Weights.of(model, recipe(), dtype=torch.bfloat16)
    assert list(weights.masters) == ["embed.weight"]
    assert model.norm.dtype == torch.bfloat16


def test_updates_too_small_for_bf16_are_kept() -> None:
    """Below 1 the bf16 numbers are 1/256 apart, so 1 - 0.001 is 1 again; ten such steps are 0.99, rounded 253/256."""
    assert (torch.tensor(1.0).bfloat16() - 0.001).item() == 1.0
    model = Scalar(1.0)
    weights = Weights.of(model, recipe("sgd"), dtype=torch.bfloat16)
    for _ in range(10):
        weights.zero_grad()
        model.w.sum().backward()
        weights.step(0.001)
    assert weights.masters["w"].item() == pytest.approx(0.99)
    assert model.w.dtype == torch.bfloat16
    assert model.w.item() == 253 / 256


def test_micro_batches_add_up_in_float32() -> None:
    """256 + 1 + 1 is 256 in bf16, whose neighbours there are 2 apart."""
    model = Scalar(1.0)
    weights = Weights.of(model, recipe("sgd"), dtype=torch.bfloat16)
    for slope in (256.0, 1.0, 1.0):
        (model.w * slope).sum().backward()
        assert model.w.grad is None
    gradient = weights.masters["w"].grad
    assert gradient is not None
    assert (gradient.dtype, gradient.item()) == (torch.float32, 258.0)


def test_a_gradient_longer_than_a_piece_adds_up_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.training.optimizer.ADD_PIECE", 3)
    monkeypatch.setattr("accord.training.optimizer.NORM_PIECE", 3)
    model = nn.Linear(5, 2, bias=False)
    weights = Weights.of(model, recipe(), dtype=torch.bfloat16)
    for _ in range(2):
        model(torch.arange(1.0, 6.0).bfloat16()).sum().backward()
    gradient = weights.masters["weight"].grad
    assert gradient is not None
    assert gradient.tolist() == [[2.0, 4.0, 6.0, 8.0, 10.0]] * 2
    assert weights.grad_norm().item() == pytest.approx((2 * 220) ** 0.5)


def test_after_training_the_model_has_the_masters_and_may_be_trained_again() -> None:
    model = Tied()
    model.norm.requires_grad_(False)
    weights = Weights.of(model, recipe("sgd"), dtype=torch.bfloat16)
    exact = weights.masters["embed.weight"].detach().clone()
    assert not torch.equal(model.embed.weight.float(), exact)
    weights.widen()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.embed.weight, exact)
    model(torch.arange(3)).sum().backward()
    assert model.embed.weight.grad is not None  # no hook takes it away any more
    again = Weights.of(model, recipe("sgd"), dtype=torch.bfloat16)
    assert torch.equal(again.masters["embed.weight"], exact)


def test_norm_and_clip() -> None:
    model = Tied()
    weights = Weights.of(model, recipe())
    assert weights.grad_norm().item() == 0.0
    model.norm.grad = torch.tensor([3.0, 0.0, 0.0, 0.0])
    assert weights.grad_norm().item() == 3.0  # a parameter that nothing reached counts for nothing
    model.embed.weight.grad = torch.zeros(7, 4)
    model.embed.weight.grad[2, 1] = 4.0
    assert weights.grad_norm().item() == 5.0
    weights.clip(weights.grad_norm(), 10.0)
    assert model.norm.grad[0].item() == 3.0
    weights.clip(weights.grad_norm(), 1.0)
    assert model.norm.grad[0].item() == pytest.approx(0.6)
    weights.scale(0.5)
    assert weights.grad_norm().item() == pytest.approx(0.5)
    weights.zero_grad()
    assert model.norm.grad is None


# State


def train(model: Tied, weights: Weights, steps: Iterator[int] | range) -> None:
    for step in steps:
        weights.zero_grad()
        tokens = torch.arange(step, step + 5) % 7
        nn.functional.cross_entropy(model(tokens[:-1]).float(), tokens[1:]).backward()
        weights.step(0.1 / (step + 1))


def begin(name: str, dtype: torch.dtype, average: Callable[..., Any] | None) -> tuple[Tied, Weights]:
    torch.manual_seed(0)
    model = Tied()
    return model, Weights.of(model, recipe(name), dtype=dtype, average=average)


@pytest.mark.parametrize("average", [None, IterateAverage, ExponentialAverage])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_is_exact_to_the_bit(name: str, dtype: torch.dtype, average: Callable[..., Any] | None) -> None:
    model, weights = begin(name, dtype, average)
    train(model, weights, range(6))

    halfway_model, halfway = begin(name, dtype, average)
    train(halfway_model, halfway, range(3))
    saved = {file: {k: t.clone() for k, t in tensors.items()} for file, tensors in halfway.state_tensors().items()}
    torch.manual_seed(1)
    resumed_model = Tied()
    resumed = Weights.of(resumed_model, recipe(name), dtype=dtype, average=average)
    resumed.load_state_tensors(saved)
    train(resumed_model, resumed, range(3, 6))

    whole = weights.state_tensors()
    assert {file: sorted(tensors) for file, tensors in saved.items()} == {f: sorted(t) for f, t in whole.items()}
    for file, tensors in resumed.state_tensors().items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, whole[file][key]), (file, key)
    assert torch.equal(resumed_model.embed.weight, model.embed.weight)


def test_adams_state_has_each_tied_parameter_once_by_name() -> None:
    model, weights = begin("adamw", torch.bfloat16, None)
    train(model, weights, range(2))
    state = weights.state_tensors()
    assert sorted(state["weights"]) == ["embed.weight", "norm"]
    kinds = ("exp_avg", "exp_avg_sq", "step")
    assert sorted(state["optimizer"]) == [f"{kind}/{name}" for kind in kinds for name in ("embed.weight", "norm")]
    assert state["optimizer"]["step/norm"].item() == 2
    assert {tensor.dtype for file in state.values() for tensor in file.values()} == {torch.float32}


def test_state_of_another_model_is_refused() -> None:
    _, weights = begin("adamw", torch.float32, None)
    other = Weights.of(Scalar(1.0), recipe())
    with pytest.raises(InputError, match="3 tensors are on one side only"):
        weights.load_state_tensors(other.state_tensors())
    wide = begin("adamw", torch.float32, None)[1].state_tensors()
    wide["weights"]["norm"] = torch.ones(5)
    with pytest.raises(InputError, match=r"norm: saved as torch.float32 \(5,\), here torch.float32 \(4,\)"):
        weights.load_state_tensors(wide)

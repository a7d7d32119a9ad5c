"""The chunked output layer against softmax written out: values and gradients, kept or computed again, at the edges."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from accord.models import output
from accord.models.output import OutputLayer, Want, token_logprobs

N, D, V = 13, 6, 17
FIGURES: tuple[Want, ...] = ("entropy", "collision")
LAYERS = {
    "plain": {},
    "scale": {"scale": 0.7},
    "cap": {"cap": 2.0},
    "temperature": {"temperature": 0.6},
    "all": {"scale": 1.5, "cap": 3.0, "temperature": 1.7},
}


@pytest.fixture(params=["kept", "recomputed", "recomputed a row at a time"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How backward gets its probabilities: kept by forward, or computed again in chunks of 3 rows, or of 1."""
    if request.param != "kept":
        monkeypatch.setattr(output, "KEEP_BYTES", 0)
        monkeypatch.setattr(output, "CHUNK_BYTES", 3 * 4 * V + 5 if request.param == "recomputed" else 1)
    yield request.param


def drawn(dtype: torch.dtype = torch.float32, n: int = N) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden (N, D), weight (V, D), bias (V,), target (N,)."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(shape, generator=generator) for shape in ((n, D), (V, D), (V,)))
    target = torch.randint(0, V, (n,), generator=generator)
    target[: n // 3] = 4  # a word that is wanted several times: its rows of the gradient add up
    return hidden.to(dtype), weight.to(dtype), bias.to(dtype), target


def plain_logits(hidden: Tensor, layer: OutputLayer) -> Tensor:
    """The formula of the docstring, in the precision of what comes in."""
    z = hidden @ layer.weight.T
    z = (z if layer.bias is None else z + layer.bias) * layer.scale
    z = z if layer.cap is None else layer.cap * torch.tanh(z / layer.cap)
    return z / layer.temperature


def derivatives(logp: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of a sum whose terms all have different factors, one of them 0."""
    return torch.autograd.grad((logp * torch.linspace(-1.5, 1.5, len(logp)).to(logp)).sum(), inputs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_log_softmax_with_its_gradient(name: str, with_bias: bool, memory: str) -> None:
    hidden, weight, bias, target = drawn()
    own = [x.clone().requires_grad_() for x in (hidden, weight, bias)[: 2 + with_bias]]
    truth = [x.double().requires_grad_() for x in (hidden, weight, bias)[: 2 + with_bias]]
    found = token_logprobs(own[0], target, OutputLayer(*own[1:2], *(own[2:] or [None]), **LAYERS[name]), want=("top1",))
    logits = plain_logits(truth[0], OutputLayer(truth[1], *(truth[2:] or [None]), **LAYERS[name]))
    expected = log_softmax(logits, -1)[torch.arange(N), target]
    torch.testing.assert_close(found.token, expected.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(found.top1, logits.argmax(-1) == target)
    for mine, theirs in zip(derivatives(found.token, tuple(own)), derivatives(expected, tuple(truth)), strict=True):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_what_is_trained_gets_a_gradient(wanted: tuple[bool, bool], memory: str) -> None:
    hidden, weight, _, target = drawn()
    hidden.requires_grad_(wanted[0])
    weight.requires_grad_(wanted[1])
    token_logprobs(hidden, target, OutputLayer(weight)).token.sum().backward()
    assert (hidden.grad is not None, weight.grad is not None) == wanted


@pytest.mark.parametrize("name", LAYERS)
def test_entropy_and_collision_are_those_of_the_distribution(name: str, memory: str) -> None:
    hidden, weight, bias, target = drawn()
    found = token_logprobs(hidden, target, OutputLayer(weight, bias, **LAYERS[name]), want=FIGURES)
    logp = log_softmax(plain_logits(hidden, OutputLayer(weight, bias, **LAYERS[name])).double(), -1)
    assert found.entropy is not None and found.collision is not None
    torch.testing.assert_close(found.entropy, -(logp.exp() * logp).sum(-1).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.collision, logp.exp().square().sum(-1).float(), rtol=1e-4, atol=1e-6)


def test_figures_by_hand() -> None:
    """Four equally likely words: entropy log 4, collision 4 / 16; and they carry no gradient."""
    hidden, weight = torch.ones(2, 1, requires_grad=True), torch.zeros(4, 1)
    found = token_logprobs(hidden, torch.tensor([0, 3]), OutputLayer(weight), want=FIGURES)
    assert found.token.tolist() == pytest.approx([-1.386294, -1.386294], abs=1e-6)
    assert found.entropy is not None and found.collision is not None
    assert found.entropy.tolist() == pytest.approx([1.386294, 1.386294], abs=1e-6)
    assert found.collision.tolist() == [0.25, 0.25]
    assert found.token.requires_grad
    assert not found.entropy.requires_grad and not found.collision.requires_grad
    plain = token_logprobs(hidden, torch.tensor([0, 3]), OutputLayer(weight))
    assert plain[1:] == (None, None, None)
    assert token_logprobs(hidden, torch.tensor([0, 3]), OutputLayer(weight), want=("entropy",)).collision is None


@pytest.mark.parametrize("gap", [250.0, 5000.0])
def test_a_hopeless_target_is_exact_and_not_minus_infinity(gap: float, memory: str) -> None:
    """Two words with logits 0 and `gap`: log P of the first is -gap, and d/dz = (1 - 0) for it, -1 for the other."""
    weight = torch.tensor([[0.0], [gap]], requires_grad=True)
    hidden = torch.ones(1, 1, requires_grad=True)
    found = token_logprobs(hidden, torch.tensor([0]), OutputLayer(weight)).token
    assert found.item() == -gap
    found.sum().backward()
    assert weight.grad is not None and hidden.grad is not None
    assert weight.grad.tolist() == [[1.0], [-1.0]]
    assert hidden.grad.item() == -gap


def test_a_certain_target_is_zero() -> None:
    weight = torch.tensor([[0.0], [250.0]])
    assert token_logprobs(torch.ones(1, 1), torch.tensor([1]), OutputLayer(weight)).token.item() == 0.0


def test_huge_logits_do_not_overflow() -> None:
    """exp(20000) is no float; log softmax of 20000 and 19999 is -log(1 + 1/e)."""
    weight = torch.tensor([[20000.0], [19999.0]])
    found = token_logprobs(torch.ones(1, 1), torch.tensor([0]), OutputLayer(weight)).token
    assert found.item() == pytest.approx(-0.3132617, abs=2e-3)  # float32 at 20000 steps by 0.002


def test_bf16_is_close_and_comes_out_as_float32(memory: str) -> None:
    hidden, weight, _, target = drawn(torch.bfloat16)
    own = [x.clone().requires_grad_() for x in (hidden, weight)]
    truth = [x.double().requires_grad_() for x in (hidden, weight)]
    found = token_logprobs(own[0], target, OutputLayer(own[1])).token
    expected = log_softmax(plain_logits(truth[0], OutputLayer(truth[1])), -1)[torch.arange(N), target]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=2e-2, atol=5e-2)
    for mine, theirs in zip(derivatives(found, tuple(own)), derivatives(expected, tuple(truth)), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.double() - theirs).norm() < 0.02 * theirs.norm()


def test_kept_and_recomputed_agree_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, target = drawn(torch.bfloat16, n=200)
    both = []
    for keep in (output.KEEP_BYTES, 0):
        monkeypatch.setattr(output, "KEEP_BYTES", keep)
        own = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
        both.append(derivatives(token_logprobs(own[0], target, OutputLayer(own[1])).token, own))
    for kept, recomputed in zip(*both, strict=True):
        assert (kept.double() - recomputed.double()).norm() < 0.005 * kept.double().norm()


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_by_differences(name: str, memory: str) -> None:
    """Along one direction of all inputs: (f(x + d) - f(x - d)) / 2."""
    hidden, weight, bias, target = drawn()
    own = [x.requires_grad_() for x in (hidden, weight, bias)]

    def value(*inputs: Tensor) -> Tensor:
        return token_logprobs(inputs[0], target, OutputLayer(inputs[1], inputs[2], **LAYERS[name])).token.sum()

    gradient = torch.autograd.grad(value(*own), own)
    generator = torch.Generator().manual_seed(1)
    steps = [torch.randn(x.shape, generator=generator) * 1e-3 for x in own]
    slope = sum((g * d).sum() for g, d in zip(gradient, steps, strict=True))
    with torch.no_grad():
        up, down = (value(*(x + sign * d for x, d in zip(own, steps, strict=True))) for sign in (1, -1))
    assert float((up - down) / 2) == pytest.approx(float(slope), rel=2e-2, abs=2e-4)


def test_no_predicted_token_is_no_error(memory: str) -> None:
    hidden = torch.zeros(0, D, requires_grad=True)
    weight = torch.ones(V, D, requires_grad=True)
    found = token_logprobs(hidden, torch.zeros(0, dtype=torch.long), OutputLayer(weight))
    assert found.token.shape == (0,)
    found.token.sum().backward()
    assert weight.grad is not None and not weight.grad.any()


@pytest.mark.parametrize("count", [1, 31, 32, 33])
def test_with_and_without_onednn_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(count, 16, generator=generator), torch.randn(50, 16, generator=generator)
    target = torch.randint(50, (count,), generator=generator)
    with_it = output.token_logprobs(hidden, target, output.OutputLayer(weight)).token
    monkeypatch.setattr(output, "ONEDNN", None)
    without = output.token_logprobs(hidden, target, output.OutputLayer(weight)).token
    torch.testing.assert_close(with_it, without, rtol=1e-5, atol=1e-5)

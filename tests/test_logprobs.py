"""The engine against stock transformers, one plain row a completion: log-probabilities and every gradient."""

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from tiny import NETWORKS
from torch import Tensor

from accord.data.batches import Batch, arrange
from accord.data.dialogue import TokenGroup
from accord.models import attention
from accord.models.logprobs import LanguageModel, logprobs

LAYOUTS = ("tree", "cache", "rows")
# K = 1, 2 and 4; a conversation; documents; prompts shorter and longer than a window of 8.
GROUPS = [
    tiny.group(5, [4], seed=1),
    tiny.group(7, [6, 3], seed=2),
    tiny.group(19, [12, 2, 9, 5], seed=3),
    tiny.group(6, [12], seed=4, loss=[((0, 3), (7, 12))]),
    tiny.group(0, [11, 3], seed=5),
    tiny.group(1, [1, 2], seed=6),
]


@pytest.fixture(params=["dense", "split"])
def masks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a family attends: in one call with one mask, or segment by segment."""
    monkeypatch.setattr(attention, "DENSE_TOKENS", 10_000 if request.param == "dense" else 0)
    return str(request.param)


def factors(count: int) -> Tensor:
    """Different for every completion and of both signs, so that no swap of two goes unseen."""
    return torch.linspace(-1.0, 1.7, count)


Found = tuple[Tensor, Tensor, dict[str, Tensor]]


def engine(model: LanguageModel, batch: Batch) -> Found:
    """Sums, tokens, and the gradient of the sums times `factors`."""
    with model.segmented():
        found = logprobs(model, batch)
        grad = tiny.gradients(model.network, (found.sum * factors(batch.completions)).sum())
    return found.sum.detach(), found.token.token.detach(), grad


def stock(network: Any, groups: Sequence[TokenGroup]) -> Found:
    parts = [logp for group in groups for logp in tiny.stock_tokens(network, group)]
    sums = torch.stack([part.sum() for part in parts])
    grad = tiny.gradients(network, (sums * factors(len(sums))).sum())
    return sums.detach(), torch.cat(parts).detach(), grad


def assert_equal(found: Found, truth: Found) -> None:
    torch.testing.assert_close(found[1], truth[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[0], truth[0], rtol=1e-5, atol=1e-4)
    assert tiny.distance(found[2], truth[2]) < 1e-5
    for name, grad in truth[2].items():
        assert (found[2][name] - grad).norm() <= 1e-4 * grad.norm() + 1e-5, name


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_engine_is_stock(name: str, layout: str, masks: str) -> None:
    network = NETWORKS[name]()
    model = LanguageModel(network, layout)
    assert_equal(engine(model, arrange(GROUPS, layout)), stock(network, GROUPS))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_stock_output_layer_is_stock(name: str) -> None:
    network = NETWORKS[name]()
    model = LanguageModel(network, "rows", "stock")
    assert_equal(engine(model, arrange(GROUPS, "rows")), stock(network, GROUPS))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_threshold_between_one_mask_and_many_is_passed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 30 tokens one of the groups below (20 and 40 tokens) goes one way and one the other."""
    monkeypatch.setattr(attention, "DENSE_TOKENS", 30)
    network, groups = NETWORKS[name](), [tiny.group(8, [7, 5], seed=7), tiny.group(20, [8, 12], seed=8)]
    assert_equal(engine(LanguageModel(network), arrange(groups, "tree")), stock(network, groups))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    network = NETWORKS[name]()
    truth = stock(network, GROUPS)
    network.gradient_checkpointing_enable({"use_reentrant": False})
    network.train()
    for module in network.modules():  # training mode without dropout
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert_equal(engine(LanguageModel(network), arrange(GROUPS, "tree")), truth)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_one_group_is_the_same(name: str) -> None:
    network = NETWORKS[name]()
    model = LanguageModel(network)
    with torch.no_grad(), model.segmented():
        together = logprobs(model, arrange(GROUPS, "tree")).sum
        alone = torch.cat([logprobs(model, arrange([group], "tree")).sum for group in GROUPS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_another_completion_or_group_has_no_influence() -> None:
    """Change one token of a sibling and of the group before: nothing moves, to the bit."""
    model = LanguageModel(tiny.llama())
    batch = arrange([GROUPS[1], GROUPS[2]], "tree")
    changed = batch.tokens.clone()
    sibling, before = batch.segments[4], batch.segments[0]
    changed[0, sibling.start] ^= 1
    changed[0, before.start] ^= 1
    with torch.no_grad(), model.segmented():
        one, other = (logprobs(model, batch._replace(tokens=ids)).sum for ids in (batch.tokens, changed))
    same = (one == other).tolist()
    assert same == [False, False, False, True, True, True]  # what hangs on the prompt changed, and the one changed


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_own_attention_is_put_back(name: str) -> None:
    network = NETWORKS[name]()
    own = network.config._attn_implementation
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = network(ids).logits
        with LanguageModel(network).segmented():
            assert network.config._attn_implementation == attention.NAME
        assert network.config._attn_implementation == own
        with pytest.raises(KeyError), LanguageModel(network).segmented():
            raise KeyError
        assert network.config._attn_implementation == own
        assert torch.equal(network(ids).logits, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_segments_it_is_the_networks_own_attention(name: str) -> None:
    """What sampling during a run computes with: padding on the left, windows and soft-caps as the network has them."""
    network = NETWORKS[name]()
    ids = torch.arange(3, 43).reshape(2, 20)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    with torch.no_grad():
        expected = network(ids, attention_mask=mask).logits
        with LanguageModel(network).segmented():
            found = network(ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-4)


def test_rows_need_no_attention_of_ours() -> None:
    network = tiny.llama()
    with LanguageModel(network, "rows").segmented():
        assert network.config._attn_implementation == "sdpa"


def test_dropout_is_off_in_evaluation_mode() -> None:
    """GPT-2 has 0.1 in its config: two passes are equal to the bit, and in training mode they are not."""
    model = LanguageModel(tiny.gpt2())
    batch = arrange(GROUPS, "tree")
    with torch.no_grad(), model.segmented():
        once, again = (logprobs(model, batch).sum for _ in range(2))
        assert torch.equal(once, again)
        model.network.train()
        assert not torch.allclose(logprobs(model, batch).sum, once)


def test_attention_dropout_takes_part_of_the_weights(monkeypatch: pytest.MonkeyPatch, masks: str) -> None:
    network = tiny.llama(attention_dropout=0.5).train()
    model = LanguageModel(network)
    batch = arrange(GROUPS, "tree")
    with torch.no_grad(), model.segmented():
        runs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            runs.append(logprobs(model, batch).sum)
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


def test_temperature_and_figures() -> None:
    network = tiny.llama()
    model = LanguageModel(network)
    with torch.no_grad(), model.segmented():
        found = logprobs(model, arrange([GROUPS[0]], "tree"), temperature=0.5, want=("top1", "entropy", "collision"))
    with torch.no_grad():
        ids = torch.from_numpy(GROUPS[0].prompt.astype("int64")).tolist() + GROUPS[0].completions[0].ids.tolist()
        logp = (network(torch.tensor([ids])).logits[0, 4:8] / 0.5).log_softmax(-1)
    torch.testing.assert_close(found.token.token, logp[range(4), ids[5:]], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.token.entropy, -(logp.exp() * logp).sum(-1), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.token.collision, logp.exp().square().sum(-1), rtol=0, atol=1e-4)
    assert found.token.top1.tolist() == (logp.argmax(-1) == torch.tensor(ids[5:])).tolist()


def test_the_mean_is_per_token_and_the_length_counts_what_carries_loss() -> None:
    model = LanguageModel(tiny.llama())
    with torch.no_grad(), model.segmented():
        found = logprobs(model, arrange(GROUPS, "tree"))
    assert found.length.tolist() == [4, 6, 3, 12, 2, 9, 5, 8, 10, 2, 1, 2]
    expected = [part.mean().item() for g in GROUPS for part in tiny.stock_tokens(model.network, g)]
    assert found.mean.tolist() == pytest.approx(expected, abs=1e-4)


def test_bf16_is_close_to_float32() -> None:
    network = tiny.llama()
    with torch.no_grad():
        truth = torch.cat([part for g in GROUPS for part in tiny.stock_tokens(network, g)])
    model = LanguageModel(network.bfloat16())
    with torch.no_grad(), model.segmented():
        found = logprobs(model, arrange(GROUPS, "tree"))
    assert found.token.token.dtype == found.sum.dtype == torch.float32
    assert (found.token.token - truth).abs().mean() < 0.1

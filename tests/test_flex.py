"""FlexAttention over segments: its blocks, its numbers, and that it is used only where it is right.

It has no derivatives on a CPU, so a dense kernel that takes the same arguments stands in for it where they are wanted.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch
from test_logprobs import GROUPS, assert_equal, engine, stock
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from accord.data.batches import Segment, arrange
from accord.models import attention, flex
from accord.models.attention import Segments
from accord.models.logprobs import LanguageModel

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
CPU = torch.device("cpu")
# A row of 400 tokens: a prompt over more than one block with three branches, a document, a small family.
ROW = (
    Segment(0, 0, 150),
    Segment(0, 150, 170, 0),
    Segment(0, 170, 300, 0),
    Segment(0, 300, 301, 0),
    Segment(0, 301, 380),
    Segment(0, 380, 385),
    Segment(0, 385, 400, 5),
)


def dense(
    query: Tensor, key: Tensor, value: Tensor, *, score_mod: Any, block_mask: Any, scale: float | None, enable_gqa: bool
) -> Tensor:
    """What FlexAttention promises: full blocks whole, partial ones by the mask, the rest not at all."""
    blocks = len(block_mask.kv_num_blocks[0, 0])
    some, full = torch.zeros(2, blocks, blocks, dtype=torch.bool)
    for row in range(blocks):
        some[row, block_mask.kv_indices[0, 0, row, : block_mask.kv_num_blocks[0, 0, row]].long()] = True
        full[row, block_mask.full_kv_indices[0, 0, row, : block_mask.full_kv_num_blocks[0, 0, row]].long()] = True
    at, none = torch.arange(query.shape[2]), torch.zeros((), dtype=torch.long)
    spread = [kind.repeat_interleave(128, 0).repeat_interleave(128, 1) for kind in (some, full)]
    mask = (spread[0] & block_mask.mask_mod(none, none, at[:, None], at[None, :])) | spread[1]
    repeats = query.shape[1] // key.shape[1] if enable_gqa else 1
    key, value = (x.repeat_interleave(repeats, 1) for x in (key, value))
    score = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if score_mod is not None:
        score = score_mod(score, none, none, at[:, None], at[None, :])
    return score.masked_fill(~mask, float("-inf")).softmax(-1) @ value


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The dense kernel where a compiled one would be; the masks that it was called with."""
    masks: list[Any] = []

    def kernel(*args: Any, **named: Any) -> Any:
        masks.append(named["block_mask"])
        return dense(*args, **named)

    monkeypatch.setattr(flex, "available", lambda device: True)
    monkeypatch.setattr(flex, "compiled", lambda: kernel)
    attention._fused.cache_clear()
    yield masks
    attention._fused.cache_clear()


def allowed(window: int | None) -> Tensor:
    """(400, 400) from the words of `Segment`: the earlier tokens of its own, the whole of its parent, in positions."""
    found = torch.zeros(400, 400, dtype=torch.bool)
    for segment in ROW:
        before = ROW[segment.parent].length if segment.parent >= 0 else 0
        for query in range(segment.start, segment.end):
            position = before + query - segment.start
            places = {key: before + key - segment.start for key in range(segment.start, query + 1)}
            if segment.parent >= 0:
                parent = ROW[segment.parent]
                places |= {key: key - parent.start for key in range(parent.start, parent.end)}
            for key, at in places.items():
                found[query, key] = window is None or position - at < window
    return found


@pytest.mark.parametrize("window", [None, 3, 40])
def test_the_mask_token_by_token_and_block_by_block(window: int | None) -> None:
    mask = Segments(ROW, CPU).block_mask(window)
    expected = torch.zeros(512, 512, dtype=torch.bool)
    expected[:400, :400] = allowed(window)
    expected[400:, 400:] = torch.ones(112, 112).tril().bool()  # padding attends to itself
    if window is not None:
        expected[400:, 400:] &= torch.ones(112, 112).triu(1 - window).bool()
    at = torch.arange(512)
    zero = torch.zeros((), dtype=torch.long)
    assert torch.equal(mask.mask_mod(zero, zero, at[:, None], at[None, :]), expected)
    pairs = expected.view(4, 128, 4, 128).sum((1, 3))
    assert torch.equal(mask.to_dense()[0, 0].bool(), pairs > 0)
    full = torch.zeros(4, 4, dtype=torch.bool)
    for row in range(4):
        full[row, mask.full_kv_indices[0, 0, row, : mask.full_kv_num_blocks[0, 0, row]].long()] = True
    assert torch.equal(full, pairs == 128 * 128)
    assert bool(full.any()) == (window is None)


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_log_probabilities_and_gradients_are_those_of_stock(name: str, kernels: list[Any]) -> None:
    """Grouped heads, soft-caps and windows of every other layer among them."""
    network = tiny.NETWORKS[name]()
    assert_equal(engine(LanguageModel(network), arrange(GROUPS, "tree")), stock(network, GROUPS))
    of_the_row = {id(mask): mask for mask in kernels if mask.seq_lengths == (128, 128)}  # not of the trial
    assert len(of_the_row) == (2 if name == "gemma2" else 1)  # one mask for all layers of a kind


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 40])
def test_the_kernel_of_torch_takes_it_so(window: int | None, softcap: float | None) -> None:
    """Uncompiled, forward only; four heads on two."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 400, 16, generator=draw) for heads in (4, 2, 2))
    mask = Segments(ROW, CPU).block_mask(window)
    found = [
        flex.attend(query, key, value, mask=mask, scaling=0.3, softcap=softcap, kernel=kernel)
        for kernel in (flex_attention, dense)
    ]
    assert found[0].shape == query.shape
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_a_kernel_with_wrong_derivatives_is_not_used(kernels: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(query: Tensor, key: Tensor, value: Tensor, **named: Any) -> Any:
        return dense(query, key, value.detach(), **named)

    def broken(*args: Any, **named: Any) -> Any:
        raise RuntimeError("no such kernel")

    def louder(*args: Any, **named: Any) -> Any:
        return dense(*args, **named) * 1.01

    network = tiny.llama()
    truth = stock(network, GROUPS)
    for kernel in (wrong, broken, louder):
        monkeypatch.setattr(flex, "compiled", lambda kernel=kernel: kernel)
        attention._fused.cache_clear()
        assert_equal(engine(LanguageModel(network), arrange(GROUPS, "tree")), truth)


def test_on_a_cpu_it_is_not_used() -> None:
    assert not flex.available(CPU)

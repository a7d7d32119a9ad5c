"""What a layout costs, reckoned from the lengths of the groups: which of those that are exact a run computes in.

Where kernels are started one by one the work of a micro-batch is counted (multiplications, attention calls, passes) and
priced. The prices come from bench/layouts.py, which also says how far the choice is from the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Batch, Layout
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.models import flex
from accord.models.attention import DENSE_TOKENS, families

STEP, STEPS = 16, 4  # groups of a step and steps that are looked at: a micro-batch never holds groups of two steps


class Work(NamedTuple):
    """Forward and backward of one or more micro-batches, without the output layer, which is the same in all layouts."""

    flops: float
    calls: int  # of attention, over all layers
    passes: int  # through a layer
    fused: int = 0  # of the calls, those of FlexAttention

    def __add__(self, other: object) -> Work:
        assert isinstance(other, Work)
        counts = (one + two for one, two in zip(self[1:], other[1:], strict=True))
        return Work(self.flops + other.flops, *counts)


class Prices(NamedTuple):
    """Seconds of each kind of work."""

    flop: float
    call: float
    one_pass: float
    fused: float = 0.0

    def seconds(self, work: Work) -> float:
        return sum(price * amount for price, amount in zip(self, work, strict=True))


# `python bench/layouts.py --device cuda` prints the line of its device. On devices that are not named the order is
# fixed: on CPUs, where starting a kernel costs next to nothing, the tree was within 9 % of the best of the three over
# the whole grid. The prices of "cuda" are of an H200 and models of 12 M and 310 M parameters (docs/benchmarks.md).
PRICES = {"cuda": Prices(flop=3.1e-15, call=5e-5, one_pass=1e-3, fused=0.9e-3)}


def by_cost(
    network: PreTrainedModel, groups: Sequence[TokenGroup], layouts: Sequence[Layout], *, max_tokens: int
) -> list[Layout]:
    """The layouts, the one that costs least on these groups first. Among equals the order given."""
    prices = PRICES.get(network.device.type)
    if prices is None:
        return list(layouts)
    first = [groups[start : start + STEP] for start in range(0, min(len(groups), STEP * STEPS), STEP)]

    def seconds(layout: Layout) -> float:
        return sum(prices.seconds(work_of(network, step, layout, max_tokens=max_tokens)) for step in first)

    return sorted(layouts, key=seconds)


def work_of(network: PreTrainedModel, groups: Sequence[TokenGroup], layout: Layout, *, max_tokens: int) -> Work:
    """Of the micro-batches that groups of one step are cut into."""
    batches = micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=layout)
    return sum((_work(network, batch) for batch in batches), Work(0.0, 0, 0))


def _work(network: PreTrainedModel, batch: Batch) -> Work:
    """A token costs six flops a weight, a pair of query and key twelve for every number of its hidden state."""
    config = network.config.get_text_config()
    layers = getattr(config, "num_hidden_layers", 1)
    body = sum(weight.numel() for weight in network.parameters()) - sum(map(Tensor.numel, _vocabulary(network)))
    places, pairs, calls = batch.tokens.numel(), *_attention(batch, fused=flex.available(network.device))
    if batch.prompts is not None:
        places += batch.prompts.tokens.numel()
    flops = 6.0 * body * places + 12.0 * getattr(config, "hidden_size", 0) * layers * pairs
    by_flex = layers if batch.layout == "tree" and flex.available(network.device) else 0
    return Work(flops, calls * layers, layers * (1 if batch.prompts is None else 2), by_flex)


def _vocabulary(network: PreTrainedModel) -> list[Tensor]:
    """The weights of the embedding and the output layer, one where they are tied."""
    layers = (network.get_input_embeddings(), network.get_output_embeddings())  # None where it has none
    weights = [weight for layer in layers if isinstance(weight := getattr(layer, "weight", None), Tensor)]
    return list({id(weight): weight for weight in weights}.values())


def _attention(batch: Batch, *, fused: bool) -> tuple[int, int]:
    """Pairs of query and key that one layer computes, masked ones included, and in how many calls.

    fused: one kernel computes a whole tree.
    """
    rows, width = batch.tokens.shape
    if batch.prompts is not None:
        prompts, before = batch.prompts.tokens.shape
        return prompts * before**2 + rows * width * (before + width), 2
    if batch.layout == "rows":
        return rows * width**2, 1
    pairs = calls = 0
    for family in families(batch.segments):
        whole = not family.branches or (family.length <= DENSE_TOKENS and not fused)
        calls += 1 if whole else 1 + len(family.branches)
        split = family.root**2 + sum(own * (family.root + own) for own in family.branches)
        pairs += family.length**2 if whole else split
    return pairs, 1 if fused else calls

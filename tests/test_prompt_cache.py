"""Prompts once, completions on their keys and values: against stock rows, in log-probabilities and every gradient."""

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, MambaConfig, MambaForCausalLM
from transformers.cache_utils import DynamicCache, DynamicLayer

from accord.data.batches import Layout, arrange
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.models.attention import NotImplementedByNetwork
from accord.models.layout import settle
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.prompt_cache import completion_inputs

LAYOUTS: tuple[Layout, ...] = ("tree", "cache", "rows")
# The window of Mistral and both Gemmas is 8: prompts and completions shorter and longer than it, in one micro-batch.
# K from 1 to 5; a conversation; prompts of two tokens, one and none.
GROUPS = [
    tiny.group(19, [12, 2, 9], seed=3),
    tiny.group(5, [4, 3], seed=1),
    tiny.group(8, [10, 11, 1, 2], seed=2, loss=[((0, 10),), ((0, 2), (5, 7), (9, 11)), ((0, 1),), ((1, 2),)]),
    tiny.group(6, [12], seed=4, loss=[((0, 3), (7, 12))]),
    tiny.group(2, [3, 4, 5, 1, 20], seed=5),
    tiny.group(1, [1, 2], seed=6),
    tiny.group(0, [11, 3], seed=7),
]


def gemma3() -> Gemma3ForCausalLM:
    """A window of 8 in one layer of two, with a rope of its own."""
    own = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}
    kinds = ["sliding_attention", "full_attention"]
    return tiny.build(Gemma3ForCausalLM, Gemma3TextConfig(**tiny.SHAPE, **own, layer_types=kinds))


def mamba() -> MambaForCausalLM:
    shape = {"vocab_size": tiny.VOCAB, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}
    return tiny.build(MambaForCausalLM, MambaConfig(**shape, initializer_range=0.25, eos_token_id=2, pad_token_id=0))


NETWORKS = {**tiny.NETWORKS, "gemma3": gemma3}


def margin_loss(sums: Sequence[Tensor]) -> Tensor:
    """A loss over the completions of each group: of each against the mean of all, bent, so that every sum matters."""
    return -sum(logsigmoid(one - one.mean() + 0.1 * one).sum() for one in sums)


def of_stock(network: Any, groups: Sequence[TokenGroup]) -> tuple[Tensor, dict[str, Tensor]]:
    sums = [torch.stack([part.sum() for part in tiny.stock_tokens(network, group)]) for group in groups]
    return torch.cat(sums).detach(), tiny.gradients(network, margin_loss(sums))


def of_engine(
    network: Any, groups: Sequence[TokenGroup], layout: Layout, max_tokens: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same over micro-batches, each with a backward pass of its own; sums in the order of the groups."""
    model = LanguageModel(network, layout)
    found: dict[int, Tensor] = {}
    network.zero_grad()
    with model.segmented():
        for batch in micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout=layout):
            parts = logprobs(model, batch).sum.split([len(member.completions) for member in batch.members])
            margin_loss(parts).backward()
            found |= {i: part.detach() for i, part in zip(batch.indices, parts, strict=True)}
    gradient = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return torch.cat([found[i] for i in sorted(found)]), gradient


@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradient_are_those_of_stock_rows_in_every_layout(name: str) -> None:
    """The whole step, and what it says of one prompt: batch invariance across layouts and cuts."""
    network = NETWORKS[name]()
    sums, gradient = of_stock(network, GROUPS)
    for layout in LAYOUTS:
        for max_tokens in (10_000, 60):
            own_sums, own_gradient = of_engine(network, GROUPS, layout, max_tokens)
            torch.testing.assert_close(own_sums, sums, rtol=1e-5, atol=1e-4)
            assert tiny.distance(own_gradient, gradient) < 1e-5, (layout, max_tokens)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_keys_and_values_passes_the_comparison(name: str) -> None:
    group = max(GROUPS, key=lambda one: one.length)
    model, failed = settle(LanguageModel(NETWORKS[name]()), group, asked="cache", groups=GROUPS)
    assert (model.layout, model.head, failed) == ("cache", "gathered", [])


def test_the_prompt_learns_from_every_completion() -> None:
    """The gradient of a token that stands in the prompt alone is the sum over both completions, each computed alone."""
    network, group = tiny.llama(), tiny.group(9, [4, 6], seed=8)
    alone = [TokenGroup(group.group, group.prompt, (one,)) for one in group.completions]
    here = set(group.prompt[:-1].tolist()) - {i for one in group.completions for i in one.ids.tolist()}

    def of_prompt(groups: Sequence[TokenGroup], layout: Layout) -> Tensor:
        total = logprobs(LanguageModel(network, layout), arrange(groups, layout)).sum.sum()
        return tiny.gradients(network, total)["model.embed_tokens.weight"][sorted(here)]

    found = of_prompt([group], "cache")
    assert found.norm() > 0.1
    torch.testing.assert_close(found, sum(of_prompt([one], "rows") for one in alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_has_no_influence(name: str) -> None:
    """Other tokens where nothing stands, on the left of prompts and on the right of rows: the same to the bit."""
    model, batch = LanguageModel(NETWORKS[name](), "cache"), arrange(GROUPS, "cache")
    assert batch.prompts is not None
    rows = torch.zeros(batch.tokens.shape, dtype=torch.bool)
    for segment in batch.segments:
        rows[segment.row, : segment.end] = True
    other = batch._replace(
        tokens=batch.tokens.where(rows, torch.tensor(5)),
        prompts=batch.prompts._replace(tokens=batch.prompts.tokens.where(batch.prompts.mask, torch.tensor(5))),
    )
    assert not torch.equal(other.tokens, batch.tokens)
    with torch.no_grad():
        assert torch.equal(logprobs(model, batch).sum, logprobs(model, other).sum)


def test_with_gradient_checkpointing_it_refuses() -> None:
    network = tiny.llama()
    network.gradient_checkpointing_enable({"use_reentrant": False})
    network.train()
    with pytest.raises(NotImplementedByNetwork, match="keeps no keys and values"):
        logprobs(LanguageModel(network, "cache"), arrange(GROUPS, "cache"))


def test_a_state_space_model_computes_rows() -> None:
    network = mamba()
    model, failed = settle(LanguageModel(network), GROUPS[0], asked="cache", groups=GROUPS)
    assert (model.layout, [trial.layout for trial in failed]) == ("rows", ["cache"])
    assert of_engine(network, GROUPS, "rows", 100)[0].tolist() == pytest.approx(
        of_stock(network, GROUPS)[0].tolist(), abs=1e-4
    )


def test_a_state_that_may_not_carry_gradients_is_refused() -> None:
    """Its numbers would be right, so the comparison at the start would not show it."""

    class Detached(DynamicLayer):
        pass

    class Output:
        past_key_values = DynamicCache()

    Output.past_key_values.layers.append(Detached())
    batch = arrange(GROUPS, "cache")
    with pytest.raises(NotImplementedByNetwork, match="more than keys and values"):
        completion_inputs(lambda **inputs: Output(), batch, torch.ones_like(batch.tokens))

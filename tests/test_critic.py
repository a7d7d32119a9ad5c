"""The critic: V of the state before each token, as stock's own hidden states have it, in every layout and place."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.data.batches import Layout, arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError
from accord.models.adapters import Lora, add_adapter
from accord.models.critic import from_policy, from_reward_model, on_policy, values
from accord.models.heads import Head, head_of, scores
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.scorer import with_new_head
from accord.training.optimizer import Weights, recipe

LAYOUTS: list[Layout] = ["tree", "cache", "rows"]
# Two that share a prompt, one alone, and one with a stretch in the middle that carries no loss.
GROUPS = [
    tiny.group(9, (7, 12, 3)),
    tiny.group(2, (5,), seed=1),
    tiny.group(14, (9, 20), seed=2, loss=[[(0, 2), (5, 9)], [(3, 20)]]),
]
DECODERS: dict[str, Callable[[], PreTrainedModel]] = {**tiny.NETWORKS, "mixtral": tiny.mixtral}


def head(network: PreTrainedModel, seed: int = 3) -> nn.Linear:
    """Not zero, so that its values say something of the states."""
    made = nn.Linear(network.config.get_text_config().hidden_size, 1, bias=False)
    nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(seed))
    return made


def stock(network: PreTrainedModel, groups: Sequence[TokenGroup], of: nn.Linear) -> Tensor:
    """(N,) by stock alone: one plain row a completion, its last hidden states before each token with loss."""
    found = []
    for group in groups:
        for one in group.completions:
            row = torch.from_numpy(np.concatenate([group.prompt, one.ids]).astype(np.int64))
            states = network(input_ids=row[None], use_cache=False, output_hidden_states=True).hidden_states[-1][0]
            found += [states[len(group.prompt) + i - 1] for start, end in one.loss for i in range(start, end)]
    return torch.stack(found) @ of.weight[0]


def stock_decoder(network: PreTrainedModel, groups: Sequence[TokenGroup], of: nn.Linear) -> Tensor:
    """The same of an encoder-decoder, the decoder begun with its start token."""
    found, start = [], network.config.decoder_start_token_id
    for group in groups:
        prompt = torch.from_numpy(group.prompt.astype(np.int64))[None]
        for one in group.completions:
            row = torch.from_numpy(np.concatenate([[start], one.ids[:-1]]).astype(np.int64))[None]
            output = network(input_ids=prompt, decoder_input_ids=row, use_cache=False, output_hidden_states=True)
            states = output.decoder_hidden_states[-1][0]
            found += [states[i] for start_, end in one.loss for i in range(start_, end)]
    return torch.stack(found) @ of.weight[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", list(DECODERS))
def test_values_are_those_of_stock_in_every_layout(name: str, layout: Layout) -> None:
    network = DECODERS[name]()
    of = head(network)
    truth, model = stock(network, GROUPS, of), LanguageModel(network, layout)
    assert truth.std() > 0.1  # numbers that differ, so that a wrong place would show
    batch = arrange(GROUPS, layout)
    with model.segmented():
        alone = values(model, batch, of)
        beside = logprobs(model, batch, head=of)
    assert alone.dtype == torch.float32 and beside.value is not None
    torch.testing.assert_close(alone, truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside.value, truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        beside.token.token, torch.cat([t for g in GROUPS for t in tiny.stock_tokens(network, g)]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("way", ["gathered", "stock"])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_values_of_an_encoder_decoder_are_those_of_its_decoder(name: str, way: Literal["gathered", "stock"]) -> None:
    network = getattr(tiny, name)()
    of, model = head(network), LanguageModel(network, "encoder", way)
    truth, batch = stock_decoder(network, GROUPS, of), arrange(GROUPS, "encoder", start=model.start)
    beside = logprobs(model, batch, head=of)
    assert beside.value is not None and truth.std() > 0.1
    torch.testing.assert_close(values(model, batch, of), truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside.value, truth, atol=1e-4, rtol=1e-4)
    assert torch.equal(beside.sum, logprobs(model, batch).sum)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mixtral"])
def test_with_stocks_output_layer_values_come_from_the_same_pass(name: str) -> None:
    network = DECODERS[name]()
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    of, model, batch = head(network), LanguageModel(network, "rows", "stock"), arrange(GROUPS, "rows")
    found = logprobs(model, batch, head=of)
    assert len(passes) == 1
    assert found.value is not None
    truth = stock(network, GROUPS, of)
    torch.testing.assert_close(found.value, truth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values(model, batch, of), truth, atol=1e-4, rtol=1e-4)
    assert (found.routing is not None) == (name == "mixtral")


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_gradients_of_values_are_those_of_stock_beside_log_probabilities_too(name: str) -> None:
    network = DECODERS[name]()
    of = head(network)
    weight = torch.linspace(-1, 1, len(stock(network, GROUPS, of)))
    sums = torch.cat([torch.stack(each) for each in tiny.stock_sums(network, GROUPS)])
    truth = tiny.gradients(network, (stock(network, GROUPS, of) * weight).sum() + sums.sum())
    own = of.weight.grad
    assert own is not None
    for layout in LAYOUTS:
        model, batch, of.weight.grad = LanguageModel(network, layout), arrange(GROUPS, layout), None
        with model.segmented():
            found = logprobs(model, batch, head=of)
            assert found.value is not None
            gradients = tiny.gradients(network, (found.value * weight).sum() + found.sum.sum())
        assert tiny.distance(gradients, truth) < 1e-5
        torch.testing.assert_close(of.weight.grad, own, atol=1e-4, rtol=1e-4)


def test_on_the_policys_trunk_a_critic_is_a_head_of_zeros() -> None:
    policy = LanguageModel(tiny.llama().to(torch.bfloat16))
    critic = on_policy(policy)
    assert critic.model is None and list(critic.parameters()) == ["head.weight"]
    assert critic.head.weight.dtype == torch.float32 and not critic.head.weight.any()
    with critic.acting(policy) as own:
        assert own is policy
        assert not values(own, arrange(GROUPS, "tree"), critic.head).any()


def test_from_a_reward_model_values_begin_as_scores_of_what_is_written_so_far() -> None:
    scorer = LanguageModel(with_new_head(tiny.llama(), Head(("reward",), seed=3)).eval(), "rows")
    critic = from_reward_model(scorer)
    group = tiny.group(5, (4,), seed=8)
    (one,) = group.completions
    with critic.acting(LanguageModel(tiny.llama())) as own:
        found = values(own, arrange([group], "rows"), critic.head)
    for place in range(1, 4):
        begun = TokenGroup(group.group, group.prompt, (TokenCompletion(one.ids[:place], ((0, place),)),))
        torch.testing.assert_close(found[place], scores(scorer, arrange([begun], "rows")).score[0, 0])
    trunk = scorer.network
    assert list(critic.parameters())[-1] == "head.weight" and critic.head is head_of(trunk)
    assert len(critic.parameters()) == len(list(trunk.parameters()))


def test_a_critic_with_a_trunk_of_its_own_begins_as_the_policy_and_leaves_it() -> None:
    for network in (tiny.llama(), tiny.llama(tie_word_embeddings=True), tiny.t5()):
        layout: Layout = "encoder" if network.config.is_encoder_decoder else "tree"
        policy = LanguageModel(network, layout)
        critic, batch = from_policy(policy), arrange(GROUPS, layout, start=policy.start)
        of = head(network)
        critic.head.weight.data.copy_(of.weight)
        with critic.acting(policy) as own, policy.segmented():
            assert torch.equal(values(own, batch, critic.head), values(policy, batch, of))
            values(own, batch, critic.head).sum().backward()
        named = critic.parameters()
        assert all(parameter.grad is not None for parameter in named.values())  # no output layer, which would have none
        assert all(parameter.grad is None for parameter in network.parameters())
        policys = {parameter.data_ptr() for parameter in network.parameters()}
        assert not policys & {parameter.data_ptr() for parameter in named.values()}


def test_a_micro_batch_in_a_layout_that_a_critic_does_not_compute_is_laid_out_anew() -> None:
    network = tiny.llama()
    of, truth = head(network), stock(network, GROUPS, head(network))
    for own in LAYOUTS:
        model = LanguageModel(network, own)
        with model.segmented():
            for layout in LAYOUTS:
                found = values(model, arrange(GROUPS, layout), of)
                torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_weights_learn_the_values_they_are_told(dtype: torch.dtype) -> None:
    policy = LanguageModel(tiny.llama())
    scorer = LanguageModel(with_new_head(tiny.llama(seed=1), Head(("reward",), seed=3)).eval())
    target = torch.linspace(-1, 1, len(stock(policy.network, GROUPS, head(policy.network))))
    for critic in (on_policy(policy), from_policy(policy), from_reward_model(scorer)):
        weights = Weights.over(critic.parameters(), recipe("adamw"), dtype=dtype)
        assert all(master.dtype == torch.float32 for master in weights.masters.values())
        lost = []
        for _ in range(8):
            with critic.acting(policy) as own:
                loss = (values(own, arrange(GROUPS, "tree"), critic.head) - target).square().mean()
            loss.backward()
            weights.step(1e-2)
            weights.zero_grad()
            lost.append(loss.item())
        assert lost[-1] < 0.9 * lost[0]


def test_what_can_be_no_critic_is_refused() -> None:
    adapted = add_adapter(tiny.llama(), Lora(4, 8, ("all-linear",), False, False), base="", seed=1)
    classifier = with_new_head(tiny.llama(), Head(("a", "b"), seed=3))
    with pytest.raises(InputError, match="put the critic on its base too"):
        from_policy(LanguageModel(adapted))
    with pytest.raises(InputError, match="no head of one number"):
        from_reward_model(LanguageModel(classifier))
    with pytest.raises(InputError, match="no head of one number"):
        from_reward_model(LanguageModel(tiny.llama()))
    scorer = add_adapter(
        with_new_head(tiny.llama(), Head(("reward",), seed=3)), Lora(4, 8, ("q_proj",), False, False), base="", seed=1
    )
    with pytest.raises(InputError, match="accord merge"):
        from_reward_model(LanguageModel(scorer))

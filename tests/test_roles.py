"""Roles on one base: each computes, and is trained, as a network of its own with the same weights."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from accord.data.batches import Layout, arrange
from accord.errors import InputError
from accord.models.adapters import (
    Lora,
    adapter_is_fresh,
    adapter_of,
    adapters_off,
    add_adapter,
    bare,
    make_trainable,
    parameters_of,
)
from accord.models.critic import Critic, values
from accord.models.identity import content
from accord.models.load import load_network, save
from accord.models.logprobs import LanguageModel, logprobs, resting
from accord.models.roles import acting, computed_again, seen_as, trained_in
from accord.models.shared import critic_on_base, keep_reference
from accord.training.optimizer import Weights, recipe

PLAIN = Lora(4, 8, ("all-linear",), False, False)
KINDS = {"lora": PLAIN, "rslora": PLAIN._replace(rank_stabilised=True), "dora": PLAIN._replace(magnitudes=True)}
GROUPS = [tiny.group(9, (5, 7), seed=4), tiny.group(4, (6,), seed=5)]
NETWORKS: dict[str, Callable[[], PreTrainedModel]] = {
    name: make for name, make in tiny.NETWORKS.items() if name in ("llama-tied", "gpt2", "gemma2")
} | {"mixtral": tiny.mixtral, "t5": tiny.t5}


def moved(parameters: dict[str, torch.nn.Parameter], seed: int) -> None:
    """Far enough that a part of them that is ignored, or another's in their place, would show."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def adapted(network: PreTrainedModel, lora: Lora = PLAIN, *, seed: int = 5) -> PreTrainedModel:
    """With an adapter that is trained, and has been."""
    network = add_adapter(network, lora, base="", seed=1)
    make_trainable(network, dropout=0.0)
    moved(trained_in(network, "policy"), seed)
    return network


def with_critic(network: PreTrainedModel, layout: Layout = "tree") -> Critic:
    """Its adapter and its head far from where they begin."""
    critic = critic_on_base(LanguageModel(network, layout), seed=3)
    moved(critic.parameters(), 6)
    return critic


def alone(network: PreTrainedModel, critic: Critic) -> PreTrainedModel:
    """The critic's trunk as a network of its own: a copy, with the critic's weights in the place of the policy's."""
    trunk = copy.deepcopy(network)
    own, there = parameters_of(trunk, "critic"), parameters_of(trunk, "default")
    assert len(own) == len(there)
    for mine, other in zip(own.values(), there.values(), strict=True):
        other.data = mine.data.clone()
    return trunk


def layouts_of(network: PreTrainedModel) -> list[Layout]:
    return ["encoder"] if network.config.is_encoder_decoder else ["tree", "cache", "rows"]


def tokens(network: PreTrainedModel, layout: Layout) -> Tensor:
    """(N,) nats."""
    model = LanguageModel(network, layout)
    with model.segmented():
        return logprobs(model, arrange(GROUPS, layout, start=model.start)).token.token


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "lora") for name in NETWORKS), ("gpt2", "dora"), ("gpt2", "rslora")]
)
def test_roles_compute_what_networks_of_their_own_do(name: str, kind: str) -> None:
    base = NETWORKS[name]()
    network = adapted(copy.deepcopy(base), KINDS[kind])
    policy, (layout, *_) = copy.deepcopy(network), layouts_of(network)
    critic = with_critic(network, layout)
    trunk = alone(network, critic)
    with torch.no_grad():
        truth = tokens(policy, layout)
        assert torch.equal(tokens(network, layout), truth)
        with acting(network, "reference"):
            assert torch.equal(tokens(network, layout), tokens(base, layout))
            with acting(network, "policy"):
                assert torch.equal(tokens(network, layout), truth)
            assert torch.equal(tokens(network, layout), tokens(base, layout))
        assert torch.equal(tokens(seen_as(network, "reference"), layout), tokens(base, layout))
        batch = arrange(GROUPS, layout, start=LanguageModel(network).start)
        with critic.acting(LanguageModel(network, layout)) as own:
            found = values(own, batch, critic.head)
        with LanguageModel(trunk, layout).segmented():
            expected = values(LanguageModel(trunk, layout), batch, critic.head)
    assert torch.equal(found, expected) and found.std() > 0.1
    assert (truth - tokens(base, layout)).abs().max() > 0.1


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_are_those_of_networks_of_their_own(name: str) -> None:
    """One backward pass after all forward passes, when the network is back in the policy's role."""
    for layout in layouts_of(NETWORKS[name]()):
        network = adapted(NETWORKS[name]())
        policy, model = copy.deepcopy(network), LanguageModel(network, layout)
        critic, batch = with_critic(network, layout), arrange(GROUPS, layout, start=model.start)
        trunk = alone(network, critic)
        with model.segmented(), critic.acting(model) as own:
            value = values(own, batch, critic.head)
            with torch.no_grad(), acting(network, "reference"):
                logprobs(model, batch)
            both = tiny.gradients(network, logprobs(model, batch).sum.sum() + value.square().sum())
        with LanguageModel(policy, layout).segmented():
            first = tiny.gradients(policy, logprobs(LanguageModel(policy, layout), batch).sum.sum())
        with LanguageModel(trunk, layout).segmented():
            value = values(LanguageModel(trunk, layout), batch, critic.head)
            second = tiny.gradients(trunk, value.square().sum())
        renamed = {key.replace(".default", ".critic"): gradient for key, gradient in second.items()}
        assert tiny.distance(both, {**first, **renamed}) < 1e-6


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_is_computed_again_in_backward_is_so_in_its_first_role(name: str) -> None:
    network = adapted(tiny.NETWORKS[name]())
    model, batch = LanguageModel(network, "rows"), arrange(GROUPS, "rows")
    critic = with_critic(network, "rows")
    assert critic.model is not None

    def gradients() -> dict[str, Tensor]:
        value = values(critic.model, batch, critic.head)
        return tiny.gradients(network, logprobs(model, batch).sum.sum() + value.square().sum())

    truth = gradients()
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    network.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": computed_again(network)})
    assert tiny.distance(gradients(), truth) < 1e-6
    network.gradient_checkpointing_enable({"use_reentrant": False})  # what would happen without
    with pytest.raises((torch.utils.checkpoint.CheckpointError, AssertionError)):
        assert tiny.distance(gradients(), truth) < 1e-6


def test_a_change_of_role_trains_and_freezes_nothing() -> None:
    network = adapted(tiny.llama())
    critic = with_critic(network)
    before = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    assert {name.split(".")[-2] for name, trained in before.items() if trained} == {"default", "critic"}
    for role in ("critic", "reference", "policy"):
        with pytest.raises(KeyError), acting(network, role):
            assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before
            raise KeyError
    with adapters_off(network):
        assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before
    assert torch.equal(tokens(network, "tree"), tokens(bare(adapted(tiny.llama())), "tree"))
    assert set(trained_in(network, "critic")) == {key.removeprefix("trunk.") for key in critic.parameters()} - {
        "head.weight"
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_optimiser_has_the_weights_of_its_role(dtype: torch.dtype) -> None:
    network = adapted(tiny.llama())
    policy = Weights.of(network, recipe("adamw"), dtype=dtype, widen_frozen=False)
    critic = critic_on_base(LanguageModel(network), seed=3)
    others = Weights.over(critic.parameters(), recipe("adamw"), dtype=dtype)
    assert all(".default." in name for name in policy.masters) and len(policy.masters) == 28
    assert all(".critic." in name or name == "head.weight" for name in others.masters) and len(others.masters) == 29
    before = {name: master.detach().clone() for name, master in (policy.masters | others.masters).items()}
    base = {name: p.detach().clone() for name, p in network.named_parameters() if not p.requires_grad}
    batch = arrange(GROUPS, "tree")
    for _ in range(3):  # the head begins as 0, and until it is not, nothing reaches the trunk; then B, then A
        with LanguageModel(network).segmented(), critic.acting(LanguageModel(network)) as own:
            (values(own, batch, critic.head) - 1).square().sum().backward()
        others.step(1e-2)
        others.zero_grad()
    assert all(master.grad is None and torch.equal(master, before[name]) for name, master in policy.masters.items())
    assert not any(torch.equal(master, before[name]) for name, master in others.masters.items())
    assert all(torch.equal(p, base[name]) for name, p in network.named_parameters() if name in base)


@pytest.mark.parametrize("whole", [None, ["lm_head"]])
def test_a_trained_adapter_is_its_own_reference(whole: list[str] | None) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], modules_to_save=whole, task_type="CAUSAL_LM")
    network = bare(get_peft_model(tiny.llama(), config))
    moved(trained_in(network, "policy"), 5)
    model = LanguageModel(network, "rows", "stock" if whole else "gathered")
    batch = arrange(GROUPS, "rows")
    with torch.no_grad():
        began = logprobs(model, batch).token.token
        keep_reference(network)
        assert torch.equal(logprobs(model, batch).token.token, began)
        moved(trained_in(network, "policy"), 6)
        reference = LanguageModel(seen_as(network, "reference"), model.layout, model.head)
        assert torch.equal(logprobs(reference, batch).token.token, began)
        assert not torch.allclose(logprobs(model, batch).token.token, began, atol=0.1)
    assert not any(p.requires_grad for p in parameters_of(network, "reference").values())


def test_a_reference_in_bf16_is_the_policy_to_the_bit() -> None:
    network = adapted(tiny.llama())
    Weights.of(network, recipe("adamw"), dtype=torch.bfloat16, widen_frozen=False)
    keep_reference(network)
    with torch.no_grad():
        assert torch.equal(tokens(seen_as(network, "reference"), "tree"), tokens(network, "tree"))


def test_a_fresh_adapter_needs_no_copy_for_its_reference() -> None:
    network = add_adapter(tiny.llama(), PLAIN, base="", seed=1)
    keep_reference(network)
    assert list(network.peft_config) == ["default"]
    make_trainable(network, dropout=0.0)
    moved(trained_in(network, "policy"), 5)
    with torch.no_grad():
        assert torch.equal(tokens(seen_as(network, "reference"), "tree"), tokens(tiny.llama(), "tree"))


def test_what_is_written_is_the_policys_adapter_alone(tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base")
    network = add_adapter(load_network(str(base)), PLAIN, base=str(base), seed=1)
    make_trainable(network, dropout=0.0)
    moved(trained_in(network, "policy"), 5)
    save(network, tiny.tokenizer(), tmp_path / "before")
    keep_reference(network)
    with_critic(network)
    save(network, tiny.tokenizer(), tmp_path / "after")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "before" / file).read_bytes() == (tmp_path / "after" / file).read_bytes()
    assert set(load_file(tmp_path / "after" / "adapter_model.safetensors")) and adapter_of(network)[0] == "default"
    again = bare(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "after")).eval()
    with torch.no_grad():
        assert torch.equal(tokens(again, "tree"), tokens(network, "tree"))


def test_a_network_is_known_by_what_it_computes_in_its_role() -> None:
    network = adapted(tiny.llama())
    as_policy, as_base = content(network), content(tiny.llama())
    with_critic(network)
    keep_reference(network)
    assert content(network) == as_policy == content(seen_as(network, "reference"))
    moved(trained_in(network, "policy"), 7)
    assert content(network) != as_policy == content(seen_as(network, "reference"))
    fresh = add_adapter(tiny.llama(), PLAIN, base="", seed=1)
    make_trainable(fresh, dropout=0.0)
    with_critic(fresh)
    assert adapter_is_fresh(fresh) and content(fresh) == as_base == content(seen_as(fresh, "reference"))


def test_resting_leaves_every_part_as_it_was() -> None:
    network = adapted(tiny.gpt2())
    network.train()
    view = seen_as(network, "reference")
    view.training = False  # of itself alone: its parts are the policy's
    with resting(view):
        assert not any(module.training for module in network.modules() if module is not network)
    assert all(module.training for module in network.modules()) and not view.training


def test_names_that_are_taken_are_refused() -> None:
    network = bare(get_peft_model(tiny.llama(), LoraConfig(r=2, target_modules=["q_proj"]), adapter_name="critic"))
    moved(parameters_of(network, "critic"), 5)
    with pytest.raises(InputError, match="called critic already"):
        keep_reference(network)
    network = adapted(tiny.llama())
    with_critic(network)
    with pytest.raises(InputError, match="called critic already"):
        with_critic(network)
    with pytest.raises(InputError, match="no adapter on a base"):
        critic_on_base(LanguageModel(tiny.llama()), seed=0)
    with pytest.raises(AssertionError):
        acting(tiny.llama(), "reference")

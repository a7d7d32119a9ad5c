"""A reward model's adapter on the policy's base: the scores of the reward model loaded whole, or why it is not."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from accord.data.batches import Layout, arrange
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError
from accord.models.adapters import Lora, add_adapter, make_trainable, parameters_of
from accord.models.attention import NAME
from accord.models.critic import from_reward_model, values
from accord.models.heads import SINGLE, Head, score_groups, stock_scores
from accord.models.load import load_network, save
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.roles import trained_in
from accord.models.scorer import Normalisation, as_reward, load_scorer, new_scorer, normalisation_of, normalise
from accord.models.shared import critic_on_base, keep_reference
from accord.models.shared_reward import Apart, reward_on_base
from accord.training.optimizer import Weights, recipe

HEAD = Head(("reward",), seed=3)
PLAIN = Lora(4, 8, ("all-linear",), False, False)
GROUPS = [tiny.group(9, (5, 7), seed=4), tiny.group(4, (6,), seed=5)]
LAYOUTS: list[Layout] = ["tree", "cache", "rows"]


def moved(network: PreTrainedModel, seed: int) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write_model(tmp_path / "base")


def reward_model(base: Path, lora: Lora = PLAIN, head: Head = HEAD) -> str:
    """A trained adapter with a head, as `accord reward --lora_r` writes it."""
    network = add_adapter(new_scorer(str(base), head), lora, base=str(base), seed=1)
    make_trainable(network, dropout=0.0)
    normalise(moved(network, 5), Normalisation(0.25, 1.5))
    place = base.parent / "reward"
    save(network, tiny.tokenizer(), place)
    return str(place)


def policy(base: Path, lora: Lora = PLAIN) -> PreTrainedModel:
    network = add_adapter(load_network(str(base)), lora, base=str(base), seed=2)
    make_trainable(network, dropout=0.0)
    return moved(network, 6)


def shared(network: PreTrainedModel, name: str, layout: Layout = "tree") -> LanguageModel:
    found = reward_on_base(LanguageModel(network, layout), name)
    assert isinstance(found, LanguageModel), found
    return found


@pytest.mark.parametrize(("name", "kind"), [("llama", "lora"), ("gpt2", "dora"), ("gemma2", "other layers")])
def test_scores_are_those_of_the_reward_model_loaded_whole(tmp_path: Path, name: str, kind: str) -> None:
    base = tiny.write_model(tmp_path / "base", tiny.NETWORKS[name]())
    other = PLAIN._replace(targets=("up_proj",))  # that the policy's adapter has, and others that this one has not
    reward = reward_model(base, {"lora": PLAIN, "dora": PLAIN._replace(magnitudes=True), "other layers": other}[kind])
    whole, network = load_scorer(reward), shared(policy(base), reward).network
    for layout in LAYOUTS:
        found = score_groups(LanguageModel(network, layout), GROUPS, max_tokens=1000)
        truth = score_groups(LanguageModel(whole, layout), GROUPS, max_tokens=1000)
        assert all(torch.equal(one, other) for one, other in zip(found, truth, strict=True))
    with torch.no_grad():
        stock = (stock_scores(LanguageModel(one), GROUPS[0]) for one in (network, whole))
        torch.testing.assert_close(*stock, rtol=0, atol=1e-6)
    assert torch.cat(truth).std() > 0.1


def test_in_bf16_it_is_held_against_stock_as_the_policy_is(base: Path) -> None:
    network, reward = policy(base), reward_model(base)
    Weights.of(network, recipe("adamw"), dtype=torch.bfloat16, widen_frozen=False)
    model = shared(network, reward)
    with torch.no_grad():
        ours, stock = score_groups(model, GROUPS[:1], max_tokens=1000)[0], stock_scores(model, GROUPS[0])
    truth = score_groups(LanguageModel(load_scorer(reward)), GROUPS[:1], max_tokens=1000)[0]
    torch.testing.assert_close(ours, stock, rtol=0.05, atol=0.1)
    torch.testing.assert_close(ours, truth, rtol=0.05, atol=0.1)


def test_layers_that_the_policys_adapter_spares_are_adapted_for_the_reward_model_alone(base: Path) -> None:
    network, reward = policy(base, PLAIN._replace(targets=("q_proj",))), reward_model(base)
    before = score_groups(LanguageModel(load_scorer(reward)), GROUPS, max_tokens=1000)
    model, batch = LanguageModel(network), arrange(GROUPS, "tree")
    with torch.no_grad(), model.segmented():
        own = logprobs(model, batch).token.token
        found = score_groups(shared(network, reward), GROUPS, max_tokens=1000)
        assert all(torch.equal(one, other) for one, other in zip(found, before, strict=True))
        assert torch.equal(logprobs(model, batch).token.token, own)


def test_a_critic_begins_as_the_reward_model_beside_it(base: Path) -> None:
    network, reward = policy(base), reward_model(base)
    model = LanguageModel(network)
    scorer = shared(network, reward)
    critic = critic_on_base(model, seed=3, begin=scorer)
    group = tiny.group(5, (4,), seed=8)
    (one,) = group.completions
    with torch.no_grad(), critic.acting(model) as own:
        found = values(own, arrange([group], "tree"), critic.head)
    for place in range(1, 4):
        begun = TokenGroup(group.group, group.prompt, (TokenCompletion(one.ids[:place], ((0, place),)),))
        torch.testing.assert_close(found[place], score_groups(scorer, [begun], max_tokens=1000)[0][0, 0])
    moved_on = critic.parameters()
    assert all(parameter.requires_grad for parameter in moved_on.values())
    for parameter in moved_on.values():
        parameter.data += 1.0
    assert torch.equal(
        score_groups(scorer, [begun], max_tokens=1000)[0],
        score_groups(LanguageModel(load_scorer(reward)), [begun], max_tokens=1000)[0],
    )


def test_the_policy_does_not_notice(base: Path) -> None:
    network, reward = policy(base), reward_model(base)
    model, batch = LanguageModel(network), arrange(GROUPS, "tree")
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    with torch.no_grad(), model.segmented():
        before, told = logprobs(model, batch).token.token, network.config.to_dict()
        keep_reference(network)
        scorer = shared(network, reward)
        critic_on_base(model, seed=3)
        memory = sum(p.numel() for p in network.parameters())
        found = score_groups(scorer, GROUPS, max_tokens=1000)
        assert network.config._attn_implementation == NAME  # still, so that the next micro-batch is a tree too
        assert torch.equal(logprobs(model, batch).token.token, before)
        assert network.config.to_dict() == told
    assert [name for name, p in network.named_parameters() if p.requires_grad and ".critic." not in name] == trained
    assert set(trained_in(network, "policy")) == set(trained)
    assert not any(p.requires_grad for p in parameters_of(network, "reward").values())
    adapter = sum(p.numel() for p in parameters_of(network, "reward").values())
    assert memory == sum(p.numel() for p in tiny.llama(vocab_size=300).parameters()) + 4 * adapter
    assert normalisation_of(scorer.network) == Normalisation(0.25, 1.5)
    assert normalisation_of(network) is None
    assert as_reward(found[0], scorer.network.config).shape == (2,)


def test_a_critic_with_a_trunk_of_its_own_begins_as_an_adapter_that_is_merged(base: Path) -> None:
    reward = reward_model(base)
    critic = from_reward_model(LanguageModel(load_scorer(reward, merge=True)))
    assert critic.model is not None
    found, truth = (
        score_groups(one, GROUPS, max_tokens=1000) for one in (critic.model, LanguageModel(load_scorer(reward)))
    )
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
    names = {name.removeprefix("trunk.") for name in critic.parameters()}
    assert names == {name for name, _ in tiny.llama().model.named_parameters(prefix="model")} | {"head.weight"}
    assert all(parameter.requires_grad for parameter in critic.parameters().values())


def test_a_classifier_keeps_its_labels(base: Path) -> None:
    reward = reward_model(base, head=Head(("harmful", "harmless"), SINGLE, 3))
    model = shared(policy(base), reward)
    (score, _), (truth, _) = (
        score_groups(one, GROUPS, max_tokens=1000) for one in (model, LanguageModel(load_scorer(reward)))
    )
    assert torch.equal(score, truth)
    found = as_reward(score, model.network.config, "harmless")
    torch.testing.assert_close(found, truth[:, 1] - truth[:, 0])


def test_a_base_elsewhere_is_shared_if_its_numbers_are_the_same(base: Path, tmp_path: Path) -> None:
    other = tiny.write_model(tmp_path / "elsewhere")
    assert isinstance(reward_on_base(LanguageModel(policy(base)), reward_model(other)), LanguageModel)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 4] += 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    found = reward_on_base(LanguageModel(policy(base)), reward_model(other))
    assert isinstance(found, Apart) and "weights differ (the first is model.layers.1.mlp.down_proj" in found.why
    assert str(base) in found.why and str(other) in found.why


def test_a_model_object_that_is_not_what_its_name_says_is_noticed(base: Path) -> None:
    network = load_network(str(base))
    network.get_input_embeddings().weight.data += 0.01
    network = add_adapter(network, PLAIN, base=str(base), seed=2)
    found = reward_on_base(LanguageModel(network), reward_model(base))
    assert isinstance(found, Apart) and "model.embed_tokens" in found.why


def test_why_it_does_not_stand_on_the_policys_base(base: Path, tmp_path: Path) -> None:
    whole = new_scorer(str(base), HEAD)
    save(whole, tiny.tokenizer(), tmp_path / "whole")
    assert reward_on_base(LanguageModel(policy(base)), str(tmp_path / "whole")) is None
    reward = reward_model(base)
    plain = LanguageModel(load_network(str(base)))
    assert reward_on_base(plain, reward) is None
    smaller = tiny.write_model(tmp_path / "small", tiny.llama(vocab_size=300, num_hidden_layers=1))
    found = reward_on_base(LanguageModel(policy(smaller)), reward)
    assert isinstance(found, Apart) and "the policy's" in found.why
    network = policy(base)
    assert isinstance(reward_on_base(LanguageModel(network), reward), LanguageModel)
    found = reward_on_base(LanguageModel(network), reward)
    assert isinstance(found, Apart) and "another reward model" in found.why
    path = Path(reward) / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["base_model.model.model.norm.weight"] = torch.ones(32)
    save_file(tensors, path, metadata={"format": "pt"})
    network = policy(base)
    (Path(reward) / "MANIFEST.json").unlink()
    found = reward_on_base(LanguageModel(network), reward)
    assert isinstance(found, Apart) and "trained whole (base_model.model.model.norm.weight)" in found.why
    assert list(network.peft_config) == ["default"]


def test_what_is_no_reward_model_is_refused(base: Path, tmp_path: Path) -> None:
    save(policy(base), tiny.tokenizer(), tmp_path / "language")
    with pytest.raises(InputError, match="score head is missing"):
        reward_on_base(LanguageModel(policy(base)), str(tmp_path / "language"))
    reward = reward_model(base)
    config = Path(reward) / "adapter_config.json"
    (Path(reward) / "MANIFEST.json").unlink()
    config.write_text(json.dumps(json.loads(config.read_text()) | {"peft_type": "IA3"}))
    with pytest.raises(InputError, match="IA3"):
        reward_on_base(LanguageModel(policy(base)), reward)

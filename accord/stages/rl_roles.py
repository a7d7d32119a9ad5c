"""Who takes part in reinforcement learning beside the policy: the reference, the critic, what gives rewards.

With an adapter all of them stand on one base where they can; without, the reference is a frozen copy in the run's own
precision, so that its log-ratios begin as 0.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from accord.errors import InputError
from accord.models.adapters import is_adapted
from accord.models.critic import Critic, from_policy, from_reward_model, on_policy
from accord.models.identity import Unidentified, content
from accord.models.load import check_vocabulary
from accord.models.logprobs import LanguageModel
from accord.models.roles import role_of, seen_as
from accord.models.scorer import is_scorer, load_scorer
from accord.models.shared import critic_on_base, keep_reference
from accord.models.shared_reward import Apart, reward_on_base
from accord.stages.config import RlConfig
from accord.stages.online_config import SampledConfig
from accord.stages.reward_model_source import Longest, RewardModel, Share
from accord.stages.reward_sources import Rewards, rewards_of
from accord.stages.rl_prompts import Prompts
from accord.stages.rl_rollouts import Roles
from accord.stages.session import Begun
from accord.stages.setup import Given, moved, network_of, ready, say
from accord.stages.trainable import optimizer_recipe, set_going
from accord.training.moving import copied
from accord.training.optimizer import Weights


def roles_of(config: RlConfig, given: Given, begun: Begun, prompts: Prompts) -> Roles:
    """All of them, before the first step. InputError where one does not fit."""
    reference = reference_of(config.policy.reference, config, given, begun)
    rewards, watched = scorers_of(config, given, begun, prompts)
    return Roles(begun.model, reference, _critic(config, begun, rewards), rewards, watched)


def reference_of(name: str | None, config: SampledConfig, given: Given, begun: Begun) -> LanguageModel:
    """The frozen model of this name, or that was given, else the policy as it is now.

    InputError where a run is resumed with another one than it began with.
    """
    reference = _reference(name, config, given, begun)
    _seal(begun, reference)
    return reference


def scorers_of(config: SampledConfig, given: Given, begun: Begun, prompts: Prompts) -> tuple[Rewards, Rewards | None]:
    """What gives rewards, and what scores beside it."""
    longest = longest_of(config, begun, prompts)
    share = _on_base(begun.model)
    clock = begun.entered.clock
    rewards = rewards_of(
        config.reward_sources, config.model, given, begun.place, longest=longest, clock=clock, share=share
    )
    _seal_rewards(begun, rewards)
    return rewards, watched_of(config, begun, longest)


def longest_of(config: SampledConfig, begun: Begun, prompts: Prompts) -> Longest:
    """The largest group that may come."""
    largest = max(begun.data.groups, key=lambda group: group.length)
    return Longest(prompts.of(largest), config.generations, config.rollout.max_new_tokens)


def _reference(name: str | None, config: SampledConfig, given: Given, begun: Begun) -> LanguageModel:
    model = begun.model
    if name is not None or "reference" in given:
        network = network_of(name or "<object>", given.get("reference"), begun.tokenizer, config.model, begun.place)
        _check_apart(network, model.network)
        other = ready(network, begun.data.groups, config.model)
        if "reference" not in given:
            moved(network, begun.place.device, begun.place.dtype)
        return other
    if is_adapted(model.network):
        keep_reference(model.network)
        return replace(model, network=seen_as(model.network, "reference"))
    return replace(model, network=copied(model.network, begun.weights.masters).eval())


def _check_apart(reference: PreTrainedModel, policy: PreTrainedModel) -> None:
    """InputError where the reference would be trained: Python gave the policy, or a part of it, as its reference."""
    trained = {id(parameter) for parameter in policy.parameters() if parameter.requires_grad}
    if any(id(parameter) in trained for parameter in reference.parameters()):
        what = "has the model's own weights, which are trained"
        raise InputError(what, where="reference", fix="leave it out, as a copy of the model is kept, or give a copy")


def _on_base(policy: LanguageModel) -> Share:
    """Where the policy is an adapter: puts a reward model that is one beside it, if it can stand there."""

    def share(name: str, base_model: str | None) -> PreTrainedModel | None:
        found = reward_on_base(policy, name, base_model)
        if isinstance(found, Apart):
            say(f"note: the reward model {name} has base weights of its own: {found.why}")
        if not isinstance(found, LanguageModel):
            return None
        say(f"the reward model {name} stands on the policy's base")
        return found.network

    return share


def _seal(begun: Begun, reference: LanguageModel) -> None:
    """InputError where a run is resumed with another reference than it began with."""
    with suppress(Unidentified):
        begun.entered.reference = content(reference.network)
    if begun.entered.found is not None:
        was = begun.entered.found.about["reference"]
        begun.entered.check_fixed("reference", "reference", was, begun.entered.reference)


def _seal_rewards(begun: Begun, rewards: Rewards) -> None:
    """InputError where a run is resumed with a reward model whose weights are not what they were."""
    models = [source.model.network for source in rewards.sources if isinstance(source, RewardModel)]
    with suppress(Unidentified):
        begun.entered.rewards = " ".join(content(network) for network in models)
    if begun.entered.found is not None:
        was = begun.entered.found.about["rewards"]
        begun.entered.check_fixed("reward", "reward model", was, begun.entered.rewards)


def watched_of(config: SampledConfig, begun: Begun, longest: Longest) -> Rewards | None:
    """What scores, and is not learnt from."""
    sources = config.watching.watch_reward
    if sources is None:
        return None
    options = config.reward_sources.model_copy(update={"reward": sources, "reward_weights": None})
    try:
        found = rewards_of(options, config.model, {}, begun.place, longest=longest, clock=begun.entered.clock)
    except InputError as error:
        where = "watch_reward" if error.where == "reward" else error.where
        raise InputError(error.what, where=where, fix=error.fix) from error
    named = tuple(replace(one, name=f"watched/{one.name}") for one in found.sources)  # type: ignore[type-var]
    return Rewards(named, found.weights)


def _critic(config: RlConfig, begun: Begun, rewards: Rewards) -> Critic | None:
    if config.policy.algorithm != "ppo":
        return None
    usual = "adapter" if is_adapted(begun.model.network) and config.critic.critic_model is None else "own"
    place = config.critic.critic or usual
    if place == "trunk":
        return on_policy(begun.model)
    if place == "adapter":
        return critic_on_base(begun.model, seed=config.train.seed, begin=_on_the_same_base(rewards))
    name = config.critic.critic_model or _first_model(rewards, begun)
    if name is not None:
        return from_reward_model(_trunk(name, config, begun))
    if is_adapted(begun.model.network):
        what = "the policy is an adapter, and no reward model reads the same tokens"
        raise InputError(what, where="critic", fix="critic adapter or trunk, or name a reward model with critic_model")
    say("the critic begins as the policy with a head of zeros: no reward model of the same tokens scores the samples")
    return from_policy(begun.model)


def _on_the_same_base(rewards: Rewards) -> LanguageModel | None:
    """The reward model that is an adapter on the policy's base, if there is one; no classifier."""
    models = [source.model for source in rewards.sources if isinstance(source, RewardModel)]
    there = [one for one in models if role_of(one.network) == "reward" and one.network.config.num_labels == 1]
    return there[0] if there else None


def _first_model(rewards: Rewards, begun: Begun) -> str | None:
    """The directory of the first reward model that can be taken over: one score, and the policy's own vocabulary."""
    for source in rewards.sources:
        if isinstance(source, RewardModel) and _fits(source, begun):
            return str(source.model.network.name_or_path)
    return None


def _fits(source: RewardModel, begun: Begun) -> bool:
    network: PreTrainedModel = source.model.network
    same = source.dialogue.tokenizer.get_vocab() == begun.tokenizer.get_vocab()
    one = network.config.num_labels == 1 and not is_adapted(network)
    return same and one and is_scorer(str(network.name_or_path))


def _trunk(name: str, config: RlConfig, begun: Begun) -> LanguageModel:
    """In float32, as its masters are; `critic_weights` makes the rest."""
    trusting = config.model.trust_remote_code
    network = load_scorer(name, device=begun.place.device, trust_remote_code=trusting, merge=True)
    check_vocabulary(network, begun.tokenizer)
    say(f"the critic begins as the reward model {name}")
    model = ready(network, begun.data.groups, config.model, keeps=not config.train.gradient_checkpointing)
    set_going(network, config.train)
    return model


def critic_weights(critic: Critic, config: RlConfig, dtype: torch.dtype) -> Weights:
    """What the critic's own optimiser trains, in the run's precision."""
    return Weights.over(critic.parameters(), optimizer_recipe(config.train), dtype=dtype)

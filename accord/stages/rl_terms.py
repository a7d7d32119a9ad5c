"""What an algorithm's options come to, where they were left to it: one place for what depends on what."""

from __future__ import annotations

from accord.stages.config import RlConfig
from accord.training.policy import Aggregate, KlLoss, Terms
from accord.training.shaping import Settings, Shaping


def is_published(config: RlConfig) -> bool:
    """Whether it is GRPO as published."""
    return config.policy.algorithm == "grpo" and config.policy.group_form == "published"


def kl_in(config: RlConfig) -> str:
    """reward or loss."""
    return config.policy.kl_in or ("loss" if config.policy.algorithm == "grpo" else "reward")


def kl_loss(config: RlConfig) -> KlLoss:
    """The KL's estimator in the loss."""
    if kl_in(config) == "reward":
        return "none"
    return config.policy.kl_loss or ("k3" if is_published(config) else "k2")


def aggregation(config: RlConfig) -> Aggregate:
    """What the loss is a mean over."""
    usual: Aggregate = "token_mean" if config.policy.algorithm == "ppo" else "sequence_sum"
    return config.policy.loss_aggregation or ("sequence_mean" if is_published(config) else usual)


def terms_of(config: RlConfig, beta: float) -> Terms:
    """beta: the coefficient of the KL now."""
    policy, critic = config.policy, config.critic
    return Terms(
        temperature=config.rollout.temperature,
        cliprange=None if policy.algorithm == "reinforce" else policy.cliprange,
        ratio=policy.ratio,
        aggregate=aggregation(config),
        kl_loss=kl_loss(config),
        beta=beta if kl_in(config) == "loss" else 0.0,
        entropy_coef=policy.entropy_coef,
        vf_coef=critic.vf_coef,
        cliprange_value=critic.cliprange_value,
        once=is_once(config),
    )


def is_once(config: RlConfig) -> bool:
    """Whether nothing asks what the policy says before the one step that learns from a round: its own pass then does.

    Not where the KL is in the rewards, or where a critic needs them; and dropout makes the step's pass another policy.
    """
    steps, drops = config.epochs * config.rollout.num_mini_batches, config.train.dropout or config.adapter.lora_dropout
    return steps == 1 and kl_in(config) == "loss" and config.policy.algorithm != "ppo" and not drops


def advantages_of(config: RlConfig) -> str:
    """The row of ADVANTAGES."""
    return "published_grpo" if is_published(config) else config.policy.algorithm


def settings_of(config: RlConfig) -> Settings:
    shaping, whitened = config.shaping, config.shaping.whiten_advantages
    return Settings(
        gamma=config.critic.gamma,
        lam=config.critic.lam,
        whiten_rewards=shaping.whiten_rewards,
        # A KL in the loss keeps its size, and would weigh more or less beside rewards divided by their spread.
        whiten_advantages=(
            config.policy.algorithm == "ppo" and kl_in(config) == "reward" if whitened is None else whitened
        ),
        decay=config.policy.baseline_decay,
    )


def shaping_of(config: RlConfig) -> Shaping:
    options = config.shaping
    return Shaping(options.missing_eos, options.penalty, options.reward_scaling == "running", options.reward_clip)


def told(config: RlConfig) -> str:
    """For people: which form of the algorithm this is, and where it ends."""
    policy, name = config.policy, config.policy.algorithm
    where = "in the rewards" if kl_in(config) == "reward" else f"in the loss ({kl_loss(config)})"
    beta = f"beta {policy.kl_coef:g}, the KL {where}"
    if is_published(config):
        return f"grpo as published: divided by the group's spread; {beta}: its optimum is not that of the objective"
    if kl_loss(config) == "k3":
        return f"{name}, {beta}: k3 as a loss pulls to another optimum than the objective's"
    if aggregation(config) == "sequence_mean":
        return f"{name}, {beta}: a mean over each sample's tokens favours short good ones and long bad ones"
    form = ", unbiased (rewards less those of the prompt's other samples)" if name == "grpo" else ""
    return f"{name}{form}; {beta}"

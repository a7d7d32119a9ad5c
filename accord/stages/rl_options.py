"""The options of reinforcement learning: what is sampled, what becomes of its rewards, and how the policy follows."""

from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from accord.stages.options import Conflict, Options
from accord.stages.rl_names import Algorithm

KL_HORIZON = 10_000  # samples


class RoundOptions(Options):
    """How a round of samples is made: batch_size x num_mini_batches prompts."""

    panel: ClassVar[str] = "Rollout"
    max_new_tokens: int = Field(128, ge=1, description="The most tokens of a sample; longer ones are cut.")
    temperature: float = Field(
        1.0, gt=0, le=100, description="Of the sampling, and of all log-probabilities of the run."
    )
    stop: list[str] = Field([], title="TEXT", description="Texts that end a sample, besides EOS.")
    num_mini_batches: int = Field(1, ge=1, description="Optimiser steps that a pass over a round of samples takes.")
    sample_rows: int = Field(256, ge=1, description="Samples that are made at the same time: bounds the memory.")
    sample_steps: int = Field(
        50, ge=0, description="Show some samples with their rewards every so many steps, at the next round; 0 = never."
    )


class RolloutOptions(RoundOptions):
    """A round of sampling: batch_size x num_mini_batches prompts, num_generations samples of each."""

    num_generations: int | None = Field(
        None, ge=1, le=4096, description="Samples of each prompt; not given: as the algorithm's own command has it."
    )
    num_ppo_epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="How often each round of samples is learnt from; not given: as for the samples.",
    )


class EndOptions(Options):
    """What becomes of the reward of a sample that did not come to its end."""

    panel: ClassVar[str] = "Rewards"
    missing_eos: Literal["score", "subtract", "replace", "mask"] = Field(
        "score",
        description="A sample that was cut: take its score as it is, subtract missing_eos_penalty from it, put minus "
        "the penalty in its place, or leave the sample out of the loss.",
    )
    missing_eos_penalty: float | None = Field(
        None, ge=0, le=1e6, description="What missing_eos subtract and replace take away [1]."
    )

    @property
    def penalty(self) -> float:
        """What a cut sample loses."""
        return 1.0 if self.missing_eos_penalty is None else self.missing_eos_penalty

    @model_validator(mode="after")
    def a_penalty_of_something(self) -> Self:
        if self.missing_eos_penalty is not None and self.missing_eos not in ("subtract", "replace"):
            what = f"would not be used, as missing_eos is {self.missing_eos}"
            raise Conflict("missing_eos_penalty", what, "give missing_eos subtract or replace too, or leave it out")
        return self


class ShapingOptions(EndOptions):
    """What becomes of a reward before the policy learns from it."""

    reward_scaling: Literal["none", "running"] = Field(
        "none", description="Divide rewards by the standard deviation of all rewards so far."
    )
    reward_clip: float | None = Field(None, gt=0, description="Keep rewards within plus and minus this.")
    whiten_rewards: bool = Field(
        False, description="PPO: scale the rewards of all tokens of a round to a spread of 1; their mean stays."
    )
    whiten_advantages: bool | None = Field(
        None,
        description="Advantages of all tokens of a round to mean 0 and variance 1; not given: PPO does, unless the "
        "KL is in the loss.",
    )


class PolicyOptions(Options):
    """How the policy follows its rewards, and how far from the reference."""

    panel: ClassVar[str] = "Policy"
    algorithm: Algorithm = Field(description="Where advantages come from; accord ppo, rloo, ... are it with its name.")
    kl_coef: float = Field(
        0.05, ge=0, le=1e6, description="The beta of the objective E[reward] - beta KL(policy || reference)."
    )
    kl_in: Literal["reward", "loss"] | None = Field(
        None,
        description="Where the KL is: in the rewards, or a term of the loss; not given: in the loss for grpo alone.",
    )
    kl_loss: Literal["k2", "k3"] | None = Field(
        None,
        description="The KL in the loss: k2 of whole samples, whose gradient is the KL's, or k3 of tokens, which "
        "published GRPO has and which pulls to another optimum; not given: k2 (k3 for group_form published).",
    )
    kl_target: float | None = Field(
        None, gt=0, description="Adapt kl_coef so that the KL comes to this, in nats per sample (Ziegler et al. 2019)."
    )
    kl_horizon: int | None = Field(
        None, ge=1, description="Samples over which kl_coef adapts: a fifth at most in so many [10000]."
    )
    cliprange: float = Field(
        0.2, gt=0, le=1e6, description="How far a ratio may go from 1 before it gives no gradient."
    )
    ratio: Literal["token", "sequence"] = Field(
        "token",
        description="The ratio of new to old policy: of each token, as practice has it, or of whole samples, as in the "
        "derivation from the objective.",
    )
    loss_aggregation: Literal["sequence_sum", "sequence_mean", "token_mean"] | None = Field(
        None,
        description="The loss as a mean over samples of their tokens' sum (unbiased) or mean, or over all tokens; not "
        "given: token_mean for ppo, sequence_mean for group_form published, else sequence_sum.",
    )
    group_form: Literal["unbiased", "published"] = Field(
        "unbiased",
        description="grpo: rewards less those of the others and a KL whose optimum is that of the objective; or as "
        "published, divided by the group's spread and with k3, whose optimum is another.",
    )
    baseline_decay: float = Field(0.9, ge=0, lt=1, description="reinforce: decay of the moving mean of rewards.")
    entropy_coef: float = Field(0.0, ge=0, le=1e6, description="Weight of the entropy of every token's distribution.")
    target_kl: float | None = Field(
        None,
        gt=0,
        description="Leave a round of samples early once the policy is further from the one that made them than 1.5 "
        "times this, in nats per token.",
    )
    reference: str | None = Field(
        None, title="DIR_OR_NAME", description="The frozen reference model; not given: the starting model itself."
    )

    @model_validator(mode="after")
    def a_horizon_of_something(self) -> Self:
        if self.kl_horizon is not None and self.kl_target is None:
            raise Conflict("kl_horizon", "without kl_target, kl_coef stays as it is", "give kl_target too")
        if self.kl_target is not None and self.kl_coef == 0:
            raise Conflict("kl_coef", "0 cannot be adapted: it is multiplied", "give one above 0, for example 0.05")
        return self


class CriticOptions(Options):
    """The critic of PPO."""

    panel: ClassVar[str] = "Critic"
    critic: Literal["own", "adapter", "trunk"] | None = Field(
        None,
        description="Where its value head is: on a network of its own, on the policy's base under an adapter of its "
        "own, or on the policy's own last states, which costs no forward pass; not given: adapter where "
        "the policy is one and critic_model is not given, else own.",
    )
    critic_model: str | None = Field(
        None,
        title="DIR_OR_NAME",
        description="critic own: the reward model that it begins as; not given: the first reward model that scores the "
        "samples, where it reads the same tokens, else the policy with a head of zeros.",
    )
    critic_learning_rate: float | None = Field(
        None, gt=0, description="Of the critic's own optimiser; not given: learning_rate."
    )
    vf_coef: float = Field(0.1, gt=0, le=1e6, description="Weight of the value loss.")
    cliprange_value: float = Field(0.2, gt=0, le=1e6, description="How far a value may go from the old one in a round.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount of rewards, token by token.")
    lam: float = Field(0.95, ge=0, le=1, description="The lambda of generalised advantage estimation.")
    critic_warmup: int = Field(0, ge=0, description="Rounds of samples that the critic alone learns from at first.")


class PtxOptions(Options):
    """PPO-ptx: texts that the policy is to stay good at (equation 17)."""

    panel: ClassVar[str] = "Pre-training mix"
    ptx: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="Texts, or demonstrations (learnt as accord sft does), whose likelihood is part of every step.",
    )
    ptx_coef: float = Field(0.0, ge=0, le=1e6, description="Gamma: the weight of their mean log-likelihood of tokens.")
    ptx_batch_size: int | None = Field(None, ge=1, description="Their groups of a step; not given: batch_size.")
    ptx_kind: Literal["texts", "demonstrations"] = Field(
        "texts", description="Learn every token of whole texts, or the completions of demonstrations."
    )

    @model_validator(mode="after")
    def ptx_and_its_weight(self) -> Self:
        if self.ptx is None and self.ptx_coef > 0:
            raise Conflict("ptx_coef", "the weight of nothing, as no ptx is given", "give ptx too, or leave both out")
        if self.ptx is not None and self.ptx_coef == 0:
            raise Conflict("ptx", "would not be used, as ptx_coef is 0", "give ptx_coef too, for example 1")
        return self


class WatchOptions(Options):
    """What is looked at besides the rewards, and not learnt from."""

    panel: ClassVar[str] = "Rewards"
    watch_reward: str | list[str | dict[str, JsonValue]] | None = Field(
        None,
        title="SOURCE",
        description="A second scorer, in the forms of reward: what it says of the samples is shown, and a warning "
        "given where it falls while the reward rises.",
    )


def check_room(longest: int | None, new: int) -> None:
    """Conflict where samples of `new` tokens leave no room for a prompt."""
    if longest is not None and new >= longest:
        what = f"{new}, which leaves no room for a prompt in max_length {longest}"
        raise Conflict("max_new_tokens", what, "a larger max_length, or fewer new tokens")

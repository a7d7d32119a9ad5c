"""The config of each stage.

A config is one frozen model of small groups (`accord.stages.options`): `config.data.max_length`. Users see flat names:
`--max_length` on the command line, `max_length:` in YAML, `max_length=` in Python.
"""

from typing import ClassVar, Self

from pydantic import model_validator

from accord.stages import loss_names
from accord.stages.adapter_options import AdapterOptions, MergeOptions
from accord.stages.best_options import BestOptions
from accord.stages.check_options import CheckOptions, CheckTokensOptions
from accord.stages.classify_options import ClassifyOptions
from accord.stages.command_options import (
    CacheOptions,
    DemoOptions,
    NewModelOptions,
    RunsOptions,
    ScoreOptions,
    SweepOptions,
    TableOptions,
    VerifyOptions,
)
from accord.stages.convert_options import ConvertOptions
from accord.stages.leaderboard_options import StrengthOptions, VerdictOptions
from accord.stages.loss_options import PreferenceOptions
from accord.stages.options import (
    Config,
    Conflict,
    DataOptions,
    DemonstrationOptions,
    LengthOptions,
    ModelOptions,
    ReadOptions,
    TrainOptions,
)
from accord.stages.output_options import ReportedOutput
from accord.stages.reward_options import RewardOptions
from accord.stages.reward_source_options import RewardSourceOptions
from accord.stages.rl_names import ALGORITHMS
from accord.stages.rl_options import (
    KL_HORIZON,
    CriticOptions,
    PolicyOptions,
    PtxOptions,
    RolloutOptions,
    ShapingOptions,
    WatchOptions,
    check_room,
)
from accord.stages.run_options import RunOptions, SampleOptions
from accord.stages.sample_options import ChatOptions, DrawingOptions, SamplesOptions
from accord.stages.score_options import BenchOptions, ScoringOptions


class InitConfig(Config):
    """`accord init`."""

    new_model: NewModelOptions


class TrainingConfig(Config):
    """What every stage that trains has."""

    model: ModelOptions
    data: DataOptions
    train: TrainOptions
    adapter: AdapterOptions
    run: RunOptions
    best: BestOptions

    @model_validator(mode="after")
    def evaluates_where_that_is_asked(self) -> Self:
        asked = [key for key in BestOptions.model_fields if getattr(self.best, key)] if self.best.wanted else []
        held = self.data.validation > 0 or self.data.eval_data is not None
        if self.run.eval_steps is None and asked:
            raise Conflict(asked[0], "without evaluations to choose from", "give eval_steps too, for example 50")
        if self.run.eval_steps is not None and not held:
            what = "no held-out data to evaluate on"
            raise Conflict("eval_steps", what, "give validation, for example 0.1, or eval_data, or leave it out")
        return self

    @model_validator(mode="after")
    def keeps_what_the_layout_needs(self) -> Self:
        if self.model.layout == "cache" and self.train.gradient_checkpointing:
            what = "cache, and with gradient_checkpointing no keys and values are kept"
            raise Conflict("layout", what, "tree or rows, or leave one of the two out")
        return self


class WriterConfig(TrainingConfig):
    """What every stage has whose model writes texts."""

    sampling: SampleOptions


class PretrainConfig(WriterConfig):
    """`accord pretrain`."""

    defaults: ClassVar = {"learning_rate": 1e-3, "warmup_steps": 0.1}


class SftConfig(WriterConfig):
    """`accord sft`."""

    # A pre-trained model needs only a short warm-up; 3 % is Alpaca's.
    defaults: ClassVar = {"learning_rate": 2e-5, "warmup_steps": 0.03}
    length: LengthOptions
    demonstration: DemonstrationOptions


class DpoConfig(WriterConfig):
    """`accord dpo`. own_loss: of a command that is named after a loss."""

    defaults: ClassVar = {"learning_rate": 1e-6, "warmup_steps": 0.1, "loss_type": "sigmoid"}
    own_loss: ClassVar[str | None] = None
    length: LengthOptions
    preference: PreferenceOptions

    @model_validator(mode="after")
    def the_loss_that_the_command_says(self) -> Self:
        if self.own_loss is None or self.preference.loss_type == self.own_loss:
            return self
        from accord.stages.losses import names_of  # here, not above: it imports torch, and help must not

        names = names_of(self.preference)
        relatives = loss_names.LABELS if self.own_loss == "kto" else {}  # trl kto has losses of single completions
        if self.own_loss not in names and not set(names) <= set(relatives):
            what = f"{' + '.join(names)}, and the command is accord {self.own_loss}"
            raise Conflict("loss_type", what, "leave it out, or run accord dpo")
        return self


class RewardConfig(TrainingConfig):
    """`accord reward`."""

    # InstructGPT trains its reward model for one epoch with 9e-6: more epochs overfit.
    defaults: ClassVar = {"learning_rate": 1e-5, "warmup_steps": 0.1}
    length: LengthOptions
    reward: RewardOptions


class ClassifyConfig(TrainingConfig):
    """`accord classify`."""

    # BERT's rate for classification (Devlin et al. 2019): a head that begins at random wants more than accord dpo.
    defaults: ClassVar = {"learning_rate": 2e-5, "warmup_steps": 0.1}
    length: LengthOptions
    classify: ClassifyOptions


class RlConfig(WriterConfig):
    """`accord rl`. own_algorithm: of a command that is named after one."""

    # 3e-6 is PPO's of Huang et al. 2024 (The N+ implementation details).
    defaults: ClassVar = {"learning_rate": 3e-6, "warmup_steps": 0.0}
    own_algorithm: ClassVar[str | None] = None
    length: LengthOptions
    rollout: RolloutOptions
    policy: PolicyOptions
    reward_sources: RewardSourceOptions
    shaping: ShapingOptions
    watching: WatchOptions
    critic: CriticOptions
    ptx: PtxOptions

    @property
    def generations(self) -> int:
        """Samples of a prompt."""
        return self.rollout.num_generations or ALGORITHMS[self.policy.algorithm].num_generations

    @property
    def epochs(self) -> int:
        """How often a round is learnt from."""
        return self.rollout.num_ppo_epochs or ALGORITHMS[self.policy.algorithm].num_ppo_epochs

    @model_validator(mode="after")
    def the_algorithm_that_the_command_says(self) -> Self:
        if self.own_algorithm is not None and self.policy.algorithm != self.own_algorithm:
            what = f"{self.policy.algorithm}, and the command is accord {self.own_algorithm}"
            raise Conflict("algorithm", what, "leave it out, or run accord rl")
        return self

    @model_validator(mode="after")
    def options_of_the_algorithm(self) -> Self:
        name, least = self.policy.algorithm, ALGORITHMS[self.policy.algorithm].least
        for key, (group, algorithms) in OF_ALGORITHMS.items():
            options = getattr(self, group)
            if name not in algorithms and getattr(options, key) != type(options).model_fields[key].default:
                raise Conflict(
                    key, f"would not be used by {name}", f"it is of {' and '.join(algorithms)}: leave it out"
                )
        if self.generations < least:
            what = f"{name} holds the samples of a prompt against each other"
            raise Conflict("num_generations", what, f"at least {least}")
        if name == "reinforce" and self.epochs * self.rollout.num_mini_batches > 1:
            key = "num_ppo_epochs" if self.epochs > 1 else "num_mini_batches"
            what = "reinforce has no ratio that makes up for samples of an earlier policy"
            raise Conflict(key, what, "1, or accord ppo or rloo")
        return self

    @model_validator(mode="after")
    def kl_in_one_place(self) -> Self:
        policy = self.policy
        in_loss = policy.kl_in == "loss" or (policy.kl_in is None and policy.algorithm == "grpo")
        if policy.kl_loss is not None and not in_loss:
            raise Conflict("kl_loss", "the KL is in the rewards", "give kl_in loss too, or leave it out")
        return self

    @model_validator(mode="after")
    def a_kl_that_can_be_held(self) -> Self:
        samples = self.train.batch_size * self.rollout.num_mini_batches * self.generations
        horizon = self.policy.kl_horizon or KL_HORIZON
        if self.policy.kl_target is not None and samples >= 5 * horizon:
            what = f"{horizon} samples, and a round has {samples}: kl_coef would lose its sign"
            raise Conflict("kl_horizon", what, f"more than {samples // 5}, or a smaller batch_size")
        return self

    @model_validator(mode="after")
    def critic_in_one_place(self) -> Self:
        options = self.critic
        if options.critic in ("adapter", "trunk") and options.critic_model is not None:
            raise Conflict(
                "critic_model", f"the critic is on the policy's {options.critic}", "critic own, or leave it out"
            )
        if options.critic == "trunk":
            for key in ("critic_warmup", "critic_learning_rate"):
                if getattr(options, key):
                    what = "the value head is on the policy's trunk, and both are trained together"
                    raise Conflict(key, what, "critic own or adapter, or leave it out")
        return self

    @model_validator(mode="after")
    def room_for_a_prompt(self) -> Self:
        check_room(self.data.max_length, self.rollout.max_new_tokens)
        return self


# Options of one algorithm: by key the group they are in, and the algorithms.
OF_ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{key: ("critic", ("ppo",)) for key in CriticOptions.model_fields},
    "whiten_rewards": ("shaping", ("ppo",)),
    "baseline_decay": ("policy", ("reinforce",)),
    "group_form": ("policy", ("grpo",)),
    "cliprange": ("policy", ("ppo", "rloo", "grpo")),
    "ratio": ("policy", ("ppo", "rloo", "grpo")),
    "target_kl": ("policy", ("ppo", "rloo", "grpo")),
}


class LogprobsConfig(Config):
    """`accord logprobs`."""

    defaults: ClassVar = {"dtype": "float32", "max_length": None}
    model: ModelOptions
    data: ReadOptions
    length: LengthOptions
    score: ScoreOptions


class ScoreConfig(Config):
    """`accord score`."""

    defaults: ClassVar = {"dtype": "float32", "max_length": None}
    model: ModelOptions
    data: ReadOptions
    length: LengthOptions
    scoring: ScoringOptions


class RewardBenchConfig(Config):
    """`accord reward-bench`."""

    defaults: ClassVar = {"dtype": "float32", "max_length": None}
    model: ModelOptions
    data: ReadOptions
    length: LengthOptions
    bench: BenchOptions


class SampleConfig(Config):
    """`accord sample`."""

    defaults: ClassVar = {"max_length": None, "reward": None}
    model: ModelOptions
    data: ReadOptions
    length: LengthOptions
    drawing: DrawingOptions
    samples: SamplesOptions
    reward_sources: RewardSourceOptions
    table: TableOptions

    @property
    def scoring(self) -> RewardSourceOptions | None:
        """Where scores come from; None: samples have none."""
        if self.samples.score is not None:
            return RewardSourceOptions(**{**self.reward_sources.model_dump(), "reward": self.samples.score})
        return self.reward_sources if self.reward_sources.reward is not None else None

    @model_validator(mode="after")
    def scores_from_one_place(self) -> Self:
        if self.samples.score is not None and self.reward_sources.reward is not None:
            raise Conflict("score", "not together with reward, which is the same", "give one of the two")
        if self.scoring is None:
            if self.samples.keep is not None:
                raise Conflict("keep", "nothing says which samples are good", "give score too, or leave it out")
            for key in ("reward_weights", "reward_label", "reward_token"):
                if getattr(self.reward_sources, key) is not None:
                    raise Conflict(key, "without scores it would not be used", "give score too, or leave it out")
        return self

    @model_validator(mode="after")
    def samples_that_differ(self) -> Self:
        if self.samples.beams > 1:
            for key in ("temperature", "top_k", "top_p", "min_p"):
                if getattr(self.drawing, key) != type(self.drawing).model_fields[key].default:
                    raise Conflict(key, "beams are searched, and nothing is drawn", "leave it out, or beams")
        elif self.drawing.temperature == 0 and self.samples.n > 1:
            raise Conflict("n", f"{self.samples.n} samples that are all the likeliest", "1, or a temperature above 0")
        return self


class ChatConfig(Config):
    """`accord chat`."""

    model: ModelOptions
    drawing: DrawingOptions
    chat: ChatOptions


class CheckConfig(Config):
    """`accord check`."""

    check: CheckOptions
    tokens: CheckTokensOptions


class ConvertConfig(Config):
    """`accord convert`."""

    convert: ConvertOptions
    table: TableOptions


class LossesConfig(Config):
    """`accord losses`."""

    table: TableOptions


class CacheConfig(Config):
    """`accord cache`."""

    cache: CacheOptions
    table: TableOptions


class LeaderboardConfig(Config):
    """`accord leaderboard`."""

    verdicts: VerdictOptions
    strength: StrengthOptions
    output: ReportedOutput


class MergeConfig(Config):
    """`accord merge`."""

    merge: MergeOptions


class SweepConfig(Config):
    """`accord sweep`."""

    sweep: SweepOptions


class RunsConfig(Config):
    """`accord runs`."""

    runs: RunsOptions
    table: TableOptions


class VerifyConfig(Config):
    """`accord verify`."""

    verify: VerifyOptions
    table: TableOptions


class DemoConfig(Config):
    """`accord demo`."""

    demo: DemoOptions

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
from accord.stages.leaderboard_options import LeaderboardOutput, StrengthOptions, VerdictOptions
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
from accord.stages.reward_options import RewardOptions
from accord.stages.run_options import RunOptions, SampleOptions
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
    output: LeaderboardOutput


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

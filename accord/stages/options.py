"""The option groups: small frozen models, put together to a config for each stage in `accord.stages.config`.

A leaf's name is its YAML key and its `--key`, so names are unique over the groups of a stage. `description` is the
help text, `title` the word that stands for the value in the help. A leaf without a default is required, or has its
default in the stage (`Config.defaults`), never in both. Groups check; they never change a value.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

Data = Annotated[str, Field(title="FILE_OR_NAME", description="A .jsonl or .jsonl.gz file, or the name of a data set.")]
Split = Annotated[str, Field(title="NAME", description="Which split of a named data set.")]
OnBadRow = Annotated[
    Literal["error", "drop"],
    Field(description="A row that is no group (empty text, equal sides): stop, or drop and count it."),
]
MaxTokens = Annotated[
    int | None,
    Field(
        ge=1,
        description="Tokens of one micro-batch: bounds the memory, and changes nothing but rounding; not given: 2048 "
        "on a CPU, 16384 on a GPU.",
    ),
]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="Of everything random: weights, order, dropout, samples.")]
Threads = Annotated[int | None, Field(ge=1, description="CPU threads; not given: PyTorch's own choice.")]


class Conflict(ValueError):
    """Two options that contradict each other; `key` is the one to name in the error."""

    def __init__(self, key: str, what: str, fix: str) -> None:
        self.key, self.what, self.fix = key, what, fix
        super().__init__(f"{key}: {what}: {fix}")


class Options(BaseModel):
    """A frozen group of options. `panel` is its heading in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    panel: ClassVar[str]

    @field_validator("*")
    @classmethod
    def not_empty(cls, value: object, info: ValidationInfo) -> object:
        if value == "":
            raise Conflict(str(info.field_name), "empty", "give a value, or leave it out")
        return value


class Config(BaseModel):
    """The groups of one stage. `defaults`: those that differ from stage to stage, by the leaf's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    defaults: ClassVar[Mapping[str, object]] = {}


class ModelOptions(Options):
    """Which model, and how it is loaded."""

    panel: ClassVar[str] = "Model"
    model: str = Field(title="DIR_OR_NAME", description="The model to start from: a Hugging Face directory or name.")
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the computation; not given: float32 on CPU, bf16 on GPU."
    )
    device: str | None = Field(None, title="DEVICE", description="cpu, cuda, cuda:1; not given: a GPU if there is one.")
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directory.")
    chat_template: str | None = Field(
        None, title="FILE", description="A Jinja chat template to use instead of the tokenizer's own."
    )
    chat_template_kwargs: dict[str, JsonValue] = Field(
        {}, title="JSON", description="Variables for the chat template, as '{\"enable_thinking\": false}'."
    )
    layout: Literal["auto", "tree", "rows"] = Field(
        "auto",
        description="Compute the completions of a prompt in one row (tree), one by one (rows), or what costs less.",
    )


class ReadOptions(Options):
    """Which groups are read, and what happens to those that cannot be used."""

    panel: ClassVar[str] = "Data"
    data: Data
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    max_length: int | None = Field(
        1024, ge=2, description="Longest prompt and completion together, in tokens; none: the model's context."
    )


class LengthOptions(Options):
    """What happens to groups that are longer than max_length."""

    panel: ClassVar[str] = "Length"
    on_long: Literal["drop", "error", "truncate_prompt"] = Field(
        "drop", description="A group longer than max_length: drop and count it, stop, or cut the start of its prompt."
    )
    max_dropped: float = Field(
        0.05, ge=0, le=1, description="The share of groups that may be dropped for their length; more is an error."
    )


class DataOptions(ReadOptions):
    """What training adds to reading: held-out data and the order."""

    validation: float = Field(
        0.0, ge=0, lt=1, description="The share of prompts held out for evaluation, chosen by a hash of the prompt."
    )
    eval_data: str | None = Field(
        None, title="FILE_OR_NAME", description="Held-out data of its own, instead of a share of the training data."
    )
    shuffle: bool = Field(True, description="A new order in every epoch, from the seed; false keeps the file's.")

    @model_validator(mode="after")
    def one_held_out_set(self) -> Self:
        if self.eval_data is not None and self.validation > 0:
            raise Conflict("validation", "not together with eval_data", "give one of the two")
        return self


class TrainOptions(Options):
    """Steps, optimiser and schedule."""

    panel: ClassVar[str] = "Training"
    batch_size: int = Field(16, ge=1, description="Groups of one optimiser step, over all processes.")
    max_tokens: MaxTokens = None
    num_train_epochs: float = Field(1.0, gt=0, description="Passes over the data; may be a fraction.")
    max_steps: int | None = Field(
        None, ge=1, description="Optimiser steps; where given it decides, not num_train_epochs."
    )
    learning_rate: float = Field(gt=0, description="The highest learning rate, reached after the warm-up.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "inverse_sqrt"] = Field(
        "linear", description="The learning rate after the warm-up; linear and cosine end at 0."
    )
    warmup_steps: float = Field(
        ge=0, description="Steps over which the learning rate rises from 0; below 1: that fraction of all steps."
    )
    optimizer: Literal["adamw", "adam", "sgd", "momentum", "adagrad", "rmsprop"] = Field(
        "adamw", description="The optimiser."
    )
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of the optimiser (decoupled in adamw).")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment (adamw, adam).")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment (adamw, adam).")
    adam_epsilon: float = Field(1e-8, gt=0, description="Added to the root of the second moment (adamw, adam).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum (optimizer momentum).")
    max_grad_norm: float = Field(1.0, ge=0, description="Clip the norm of the whole gradient to this; 0 = off.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice to keep less of them.")
    dropout: bool = Field(False, description="Train with the dropout of the model's own config.")
    average: Literal["none", "iterate", "ema"] = Field(
        "none", description="Save an average of the weights: over all steps by step size, or exponential."
    )
    ema_decay: float = Field(0.999, gt=0, lt=1, description="Decay of the exponential average (average ema).")
    seed: Seed = 0

    @model_validator(mode="after")
    def whole_warmup(self) -> Self:
        if self.warmup_steps > 1 and not self.warmup_steps.is_integer():
            fix = "below 1 it is a fraction of all steps, from 1 on a whole number of steps"
            raise Conflict("warmup_steps", f"{self.warmup_steps:g} is neither a fraction nor a number of steps", fix)
        return self


class RunOptions(Options):
    """The run folder, and what is written into it when."""

    panel: ClassVar[str] = "Run"
    output_dir: str = Field(title="DIR", description="The run folder: the trained model, its config, metrics, curves.")
    logging_steps: int = Field(10, ge=1, description="Write metrics every so many steps.")
    eval_steps: int | None = Field(
        None, ge=1, description="Evaluate on the held-out data every so many steps; not given: at the end only."
    )
    save_steps: int = Field(500, ge=1, description="Write a checkpoint every so many steps.")
    save_total_limit: int = Field(2, ge=2, description="Checkpoints kept; the oldest goes when a new one is safe.")
    resume: bool | str = Field(
        False,
        title="[PATH]",
        description="Continue from the newest checkpoint in output_dir, or from this one; with none yet, start anew.",
    )
    report_to: Literal["tensorboard", "none"] = Field(
        "tensorboard", description="Where curves are shown besides metrics.jsonl and curves.png."
    )
    dry_run: bool = Field(False, description="Only say what would be trained: groups, tokens, steps, memory, time.")
    samples: int = Field(4, ge=0, description="Prompts that the model answers before and after training; 0 = none.")
    sample_tokens: int = Field(64, ge=1, description="Longest such answer, in tokens.")
    threads: Threads = None


class PreferenceOptions(Options):
    """How comparisons become a loss."""

    panel: ClassVar[str] = "Preference"
    reference: str | None = Field(
        None, title="DIR_OR_NAME", description="The frozen reference model; not given: the starting model itself."
    )
    loss_type: str = Field("sigmoid", title="NAME", description="The loss of a pair: sigmoid is DPO.")
    beta: float = Field(
        0.1, gt=0, description="Strength of the pull to the reference: small beta, far from the reference."
    )

    @model_validator(mode="after")
    def known_loss(self) -> Self:
        from accord.maths.preference import PAIR_LOSSES  # here, not above: it imports torch, and help must not

        if self.loss_type not in PAIR_LOSSES:
            fix = f"loss_type must be one of {', '.join(PAIR_LOSSES)}"
            raise Conflict("loss_type", f"{self.loss_type!r} is not one of the choices", fix)
        return self


class DemonstrationOptions(Options):
    """What of a demonstration carries loss, and what is mixed in."""

    panel: ClassVar[str] = "Demonstrations"
    turns: Literal["all", "last"] = Field(
        "all", description="Learn every assistant turn of a conversation, or only the last one."
    )
    lm_alpha: float = Field(
        0.0, ge=0, description="Weight of the auxiliary language-model loss on all tokens of the same rows; 0 = off."
    )
    mix: str | None = Field(
        None, title="FILE_OR_NAME", description="Texts to mix in, learnt whole, as in pre-training (mix_fraction)."
    )
    mix_fraction: float = Field(0.0, ge=0, lt=1, description="The share of the groups of a step that comes from mix.")

    @model_validator(mode="after")
    def mix_and_its_fraction(self) -> Self:
        if self.mix is None and self.mix_fraction > 0:
            raise Conflict(
                "mix_fraction", "a fraction of nothing, as no mix is given", "give mix too, or leave both out"
            )
        if self.mix is not None and self.mix_fraction == 0:
            raise Conflict("mix", "would not be used, as mix_fraction is 0", "give mix_fraction too, for example 0.1")
        return self


class NewModelOptions(Options):
    """The shape of a new model and the data of its tokenizer."""

    panel: ClassVar[str] = "New model"
    data: Data
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    output_dir: str = Field(title="DIR", description="Where the new model directory is written.")
    vocab_size: int = Field(
        8192, ge=264, le=1_000_000, description="Rows of the embedding; the 256 bytes and the control tokens are in it."
    )
    hidden_size: int = Field(256, ge=2, le=65_536, description="Width of the model.")
    layers: int = Field(4, ge=1, le=1_000, description="Number of layers.")
    heads: int = Field(4, ge=1, le=1_024, description="Attention heads of a layer; hidden_size is a multiple.")
    kv_heads: int | None = Field(
        None, ge=1, le=1_024, description="Key-value heads, a divisor of heads; not given: heads / 2."
    )
    intermediate_size: int | None = Field(
        None, ge=1, le=1_000_000, description="Width of the feed-forward layers; not given: chosen from hidden_size."
    )
    context: int = Field(2048, ge=2, le=10_000_000, description="Longest text that the model takes, in tokens.")
    seed: Seed = 0

    @property
    def key_value_heads(self) -> int:
        """`kv_heads`, or half the heads where it is not given."""
        return self.kv_heads if self.kv_heads is not None else max(1, self.heads // 2)

    @model_validator(mode="after")
    def heads_fit(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            what = f"{self.hidden_size} does not give {self.heads} heads of an even width each"
            raise Conflict("hidden_size", what, f"hidden_size must be a multiple of {2 * self.heads} (2 x heads)")
        if self.heads % self.key_value_heads:
            what = f"{self.key_value_heads} does not divide {self.heads} heads"
            raise Conflict("kv_heads", what, "kv_heads must be a divisor of heads")
        return self


class ScoreOptions(Options):
    """Where log-probabilities go."""

    panel: ClassVar[str] = "Output"
    output: str = Field(title="FILE", description="The .jsonl file to write: one line a completion.")
    max_tokens: MaxTokens = None
    threads: Threads = None


class DemoOptions(Options):
    """The demo, offline."""

    panel: ClassVar[str] = "Demo"
    output_dir: str = Field("runs/demo", title="DIR", description="Where its models, data and summary.json go.")
    seed: Seed = 0
    threads: int = Field(1, ge=1, description="CPU threads; its models are so small that more seldom help.")

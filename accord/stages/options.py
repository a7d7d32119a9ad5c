"""The option groups: small frozen models, put together to a config for each stage in `accord.stages.config`.

A leaf's name is its YAML key and its `--key`, so names are unique over the groups of a stage. `description` is the
help text, `title` the word that stands for the value in the help. A leaf without a default is required, or has its
default in the stage (`Config.defaults`), never in both. Groups check; they never change a value.
"""

import warnings
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from annotated_types import Ge
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
ReferenceCache = Annotated[
    str,
    Field(
        title="DIR",
        description="Where the reference's log-probabilities are kept for other runs; auto: ACCORD_CACHE, else "
        "~/.cache/accord; none: nowhere.",
    ),
]
Threads = Annotated[int | None, Field(ge=1, description="CPU threads; not given: PyTorch's own choice.")]
Steps = Annotated[int, Ge(1)] | Literal["epoch"]  # how often: every so many steps, or once an epoch
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow", "none"]


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
    model: str = Field(
        title="DIR_OR_NAME", description="The model to start from, or a LoRA adapter: a Hugging Face directory or name."
    )
    base_model: str | None = Field(
        None,
        title="DIR_OR_NAME",
        description="If model is an adapter: the model it belongs to; not given: the one that its config names.",
    )
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
    layout: Literal["auto", "tree", "cache", "rows"] = Field(
        "auto",
        description="Compute the completions of a prompt in one row with it (tree), as rows on its keys and values "
        "(cache), one by one (rows), or what costs least.",
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
    eval_split: str | None = Field(
        None, title="NAME", description="Which split of a named eval_data; not given: the one of split."
    )
    shuffle: bool = Field(True, description="A new order in every epoch, from the seed; false keeps the file's.")

    @model_validator(mode="after")
    def one_held_out_set(self) -> Self:
        if self.eval_data is not None and self.validation > 0:
            raise Conflict("validation", "not together with eval_data", "give one of the two")
        if self.eval_split is not None and self.eval_data is None:
            raise Conflict("eval_split", "a split of nothing, as no eval_data is given", "give eval_data too")
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


class AdapterOptions(Options):
    """A LoRA adapter instead of the whole model: a few small matrices are trained, the model itself is frozen."""

    panel: ClassVar[str] = "Adapter"
    lora_r: int | None = Field(
        None, ge=1, description="Rank of a new LoRA adapter, which alone is trained; not given: the whole model is."
    )
    lora_alpha: int = Field(32, ge=1, description="The adapter's part is multiplied by lora_alpha / lora_r.")
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout of the adapter's input while it is trained, of a continued one too."
    )
    lora_target_modules: str | list[str] = Field(
        "all-linear",
        title="NAME[,NAME]",
        description="The layers that get an adapter: the ends of their names, or all-linear: every linear layer but "
        "the output layer.",
    )
    use_rslora: bool = Field(False, description="Multiply by lora_alpha / sqrt(lora_r) instead (rank-stabilised).")
    use_dora: bool = Field(False, description="Train the magnitudes of the adapted weights as well (DoRA).")
    load_in_4bit: bool = Field(
        False, description="Keep the frozen model in 4-bit NF4 (QLoRA); needs an adapter, and bitsandbytes installed."
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """`lora_target_modules`, name by name."""
        given = self.lora_target_modules
        words = given.split(",") if isinstance(given, str) else given
        return tuple(word.strip() for word in words if word.strip())

    @model_validator(mode="after")
    def with_a_rank(self) -> Self:
        for key in ("lora_alpha", "lora_target_modules", "use_rslora", "use_dora"):
            if self.lora_r is None and getattr(self, key) != type(self).model_fields[key].default:
                what = "would not be used: it is of a new adapter, and lora_r is not given"
                raise Conflict(key, what, "give lora_r too (16 is usual), or leave it out")
        if not self.targets or ("all-linear" in self.targets and len(self.targets) > 1):
            what = "all-linear beside other names" if self.targets else "names no layer"
            raise Conflict("lora_target_modules", what, "all-linear alone, or names such as q_proj,v_proj")
        return self


class RunOptions(Options):
    """The run folder, and what is written into it when."""

    panel: ClassVar[str] = "Run"
    output_dir: str = Field(title="DIR", description="The run folder: the trained model, its config, metrics, curves.")
    logging_steps: Steps = Field(
        10, title="INTEGER|epoch", description="Write metrics every so many steps, or once an epoch."
    )
    eval_steps: Steps | None = Field(
        None,
        title="INTEGER|epoch",
        description="Evaluate on the held-out data every so many steps, or once an epoch; not given: at the end only.",
    )
    save_steps: Steps | None = Field(
        500,
        title="INTEGER|epoch",
        description="Write a checkpoint every so many steps, or once an epoch; none: at the end only.",
    )
    save_total_limit: int | None = Field(
        2, ge=2, description="Checkpoints kept; the oldest goes when a new one is safe; none: all stay."
    )
    resume: bool | str = Field(
        False,
        title="[PATH]",
        description="Continue from the newest checkpoint in output_dir, or from this one; with none yet, start anew.",
    )
    report_to: list[Tracker] = Field(
        ["tensorboard"],
        min_length=1,
        title="NAME[,NAME]",
        description="Where curves are shown besides metrics.jsonl and curves.png, several with commas.",
    )
    run_name: str | None = Field(
        None, title="NAME", description="The run's name in wandb, trackio, mlflow; not given: that of output_dir."
    )
    project: str | None = Field(
        None,
        title="NAME",
        description="Their project or experiment; not given: what WANDB_PROJECT, TRACKIO_PROJECT or "
        "MLFLOW_EXPERIMENT_NAME say, else accord.",
    )
    push_to_hub: str | None = Field(
        None,
        title="USER/NAME",
        description="Upload the trained model to this repository of the Hugging Face hub, made private if it is new.",
    )
    dry_run: bool = Field(False, description="Only say what would be trained: groups, tokens, steps, memory, time.")
    samples: int = Field(4, ge=0, description="Prompts that the model answers before and after training; 0 = none.")
    sample_tokens: int = Field(64, ge=1, description="Longest such answer, in tokens.")
    threads: Threads = None

    @model_validator(mode="after")
    def none_alone(self) -> Self:
        if "none" in self.report_to and len(self.report_to) > 1:
            raise Conflict("report_to", "none together with trackers", "none alone, or only the trackers")
        return self


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class TableOptions(Options):
        """Where a table goes besides the terminal."""

        panel: ClassVar[str] = "Output"
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write the table as JSON to this file too; - for standard output instead."
        )


class SweepOptions(Options):
    """Which runs, and whether they are only listed."""

    panel: ClassVar[str] = "Sweep"
    file: str = Field(
        title="FILE.yaml", description="A stage's options and its `command:`; a list stands for values to try."
    )
    dry_run: bool = Field(False, description="Only list the runs, and which are done.")


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


class CacheOptions(Options):
    """What is listed, and whether it is removed."""

    panel: ClassVar[str] = "Cache"
    reference_cache: ReferenceCache = "auto"
    clear: bool = Field(False, description="Remove what is listed.")
    older_than: float | None = Field(
        None, ge=0, title="DAYS", description="List only what was not used for so many days; not given: all."
    )


class MergeOptions(Options):
    """An adapter and what it is merged into."""

    panel: ClassVar[str] = "Merge"
    adapter: str = Field(title="DIR_OR_NAME", description="The LoRA adapter.")
    base_model: str | None = Field(
        None, title="DIR_OR_NAME", description="The model it belongs to; not given: the one that its config names."
    )
    output_dir: str = Field(title="DIR", description="Where the merged model is written.")
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the merged weights; not given: that of the model it belongs to."
    )
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directory.")


class DemoOptions(Options):
    """The demo, offline."""

    panel: ClassVar[str] = "Demo"
    output_dir: str = Field("runs/demo", title="DIR", description="Where its models, data and summary.json go.")
    seed: Seed = 0
    threads: int = Field(1, ge=1, description="CPU threads; its models are so small that more seldom help.")

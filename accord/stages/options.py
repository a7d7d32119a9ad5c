"""The option groups of models, data and training, and what all groups are made of.

Groups are small frozen models, put together to a config for each stage in `accord.stages.config`.

A leaf's name is its YAML key and its `--key`, so names are unique over the groups of a stage. `description` is the
help text, `title` the word that stands for the value in the help. A leaf without a default is required, or has its
default in the stage (`Config.defaults`), never in both. Groups check; they never change a value.
"""

import reprlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

Data = Annotated[
    str,
    Field(title="FILE_OR_NAME", description="A file, directory or pattern (docs/data.md), or the name of a data set."),
]
Split = Annotated[str, Field(title="NAME", description="Which split of a named data set.")]
OnBadRow = Annotated[
    Literal["error", "drop"],
    Field(description="A row that cannot be used (broken, an empty text): stop, or drop and count it."),
]
ImplicitPrompt = Annotated[
    bool,
    Field(description="Comparisons without a prompt column: the turns that both sides begin with are the prompt."),
]
MaxTokens = Annotated[
    int | None,
    Field(
        ge=1,
        description="Tokens of one micro-batch: bounds the memory, and changes nothing but rounding; not given: 2048 "
        "on a CPU (1024 to train a score head), 16384 on a GPU.",
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
TokenCache = Annotated[
    str,
    Field(
        title="DIR",
        description="Where the tokens of large data are kept for other runs; auto: ACCORD_CACHE, else "
        "~/.cache/accord; none: nowhere.",
    ),
]
Threads = Annotated[int | None, Field(ge=1, le=4_096, description="CPU threads; not given: PyTorch's own choice.")]


COUNTABLE = 10**12  # what is larger, no run gets through; numbers of 64 bits hold it
MOST_TIMES = 1000  # an epoch goes through a source of a mixture


class Conflict(ValueError):
    """Two options that contradict each other; `key` is the one to name in the error."""

    def __init__(self, key: str, what: str, fix: str) -> None:
        self.key, self.what, self.fix = key, what, fix
        super().__init__(f"{key}: {what}: {fix}")


class Options(BaseModel):
    """A frozen group of options. `panel` is its heading in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    panel: ClassVar[str]

    @field_validator("*", mode="before")
    @classmethod
    def countable(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, int) and abs(value) > COUNTABLE:
            raise Conflict(str(info.field_name), f"{reprlib.repr(value)} is out of range", f"at most {COUNTABLE}")
        return value

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
        title="DIR_OR_NAME", description="The model, or a LoRA adapter of one: a Hugging Face directory or name."
    )
    base_model: str | None = Field(
        None,
        title="DIR_OR_NAME",
        description="If model is an adapter: the model it belongs to; not given: the one that its config names.",
    )
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the computation; none: float32 on CPU, bf16 on GPU."
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
    implicit_prompt: ImplicitPrompt = False
    max_length: int | None = Field(
        1024,
        ge=2,
        description="Longest prompt and completion together, in tokens; none: the model's context.",
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


class Part(NamedTuple):
    """One source of a mixture. weight: how often an epoch goes through it; of half a time, half of its prompts."""

    path: str
    split: str | None = None
    weight: float = 1.0


class DataOptions(ReadOptions):
    """What training adds to reading: mixtures, held-out data and the order."""

    data: str | list[str | dict[str, JsonValue]] = Field(  # type: ignore[assignment]
        title="FILE_OR_NAME",
        description="A file, directory or pattern, or the name of a data set; or several of them. In YAML also a "
        "list of {path, split, weight}, where weight says how often an epoch goes through it.",
    )
    validation: float = Field(
        0.0, ge=0, lt=1, description="The share of prompts held out for evaluation, chosen by a hash of the prompt."
    )
    eval_data: str | None = Field(
        None, title="FILE_OR_NAME", description="Held-out data of its own, instead of a share of the training data."
    )
    eval_split: str | None = Field(
        None, title="NAME", description="Which split of a named eval_data; not given: the one of split."
    )
    allow_shared_prompts: bool = Field(False, description="Prompts of eval_data may be trained on, too.")
    shuffle: bool = Field(True, description="A new order in every epoch, from the seed; false keeps the file's.")
    token_cache: TokenCache = "auto"

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sources: one, or those of a mixture."""
        if isinstance(self.data, str):
            return (Part(self.data),)
        return tuple(_part(number, entry) for number, entry in enumerate(self.data))

    @model_validator(mode="after")
    def a_mixture_of_something(self) -> Self:
        if not self.parts:
            raise Conflict("data", "an empty list", "give a file, or a list of {path, weight}")
        return self

    @model_validator(mode="after")
    def one_held_out_set(self) -> Self:
        if self.eval_data is not None and self.validation > 0:
            raise Conflict("validation", "not together with eval_data", "give one of the two")
        if self.eval_split is not None and self.eval_data is None:
            raise Conflict("eval_split", "a split of nothing, as no eval_data is given", "give eval_data too")
        return self

    @model_validator(mode="after")
    def shared_prompts_of_something(self) -> Self:
        if self.allow_shared_prompts and self.eval_data is None:
            raise Conflict("allow_shared_prompts", "no eval_data is given", "give it too, or leave this out")
        return self


def _part(number: int, entry: str | Mapping[str, JsonValue]) -> Part:
    """One source of a mixture, checked; a name alone is its path."""
    place = f"entry {number + 1}"
    entry = {"path": entry} if isinstance(entry, str) else entry
    if unknown := sorted(set(entry) - set(Part._fields)):
        raise Conflict("data", f"{place} has an unknown key {unknown[0]!r}", "its keys are path, split and weight")
    path, split, weight = entry.get("path"), entry.get("split"), entry.get("weight", 1.0)
    if not isinstance(path, str) or not path:
        raise Conflict("data", f"{place} has no path", "give {path: FILE_OR_NAME, weight: 1}")
    if split is not None and (not isinstance(split, str) or not split):
        raise Conflict("data", f"the split of {place} is no name", "give one, as train, or leave it out")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST_TIMES:
        what = f"the weight of {place} is no number above 0 and at most {MOST_TIMES}"
        raise Conflict("data", what, "give one, as 0.5")
    return Part(path, split, float(weight))


class TrainOptions(Options):
    """Steps, optimiser and schedule."""

    panel: ClassVar[str] = "Training"
    batch_size: int = Field(16, ge=1, description="Groups of one optimiser step, over all processes.")
    max_tokens: MaxTokens = None
    num_train_epochs: float = Field(1.0, gt=0, le=1_000_000, description="Passes over the data; may be a fraction.")
    max_steps: int | None = Field(
        None, ge=1, description="Optimiser steps; where given it decides, not num_train_epochs."
    )
    learning_rate: float = Field(gt=0, description="The highest learning rate, reached after the warm-up.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "inverse_sqrt"] = Field(
        "linear", description="The learning rate after the warm-up; linear and cosine end at 0."
    )
    warmup_steps: float = Field(
        ge=0,
        le=1_000_000_000,
        description="Steps over which the learning rate rises from 0; below 1: that fraction of all steps.",
    )
    optimizer: Literal["adamw", "adam", "sgd", "momentum", "adagrad", "rmsprop"] = Field(
        "adamw", description="The optimiser."
    )
    weight_decay: float = Field(0.0, ge=0, le=1_000, description="Weight decay of the optimiser (decoupled in adamw).")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment (adamw, adam).")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment (adamw, adam).")
    adam_epsilon: float = Field(1e-8, gt=0, le=1, description="Added to the root of the second moment (adamw, adam).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum (optimizer momentum).")
    max_grad_norm: float = Field(1.0, ge=0, description="Clip the norm of the whole gradient to this; 0 = off.")
    longest_first: bool = Field(
        True,
        description="Before the first step the largest micro-batch goes forward and backward, so that memory that is "
        "too small shows then, and not hours later.",
    )
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

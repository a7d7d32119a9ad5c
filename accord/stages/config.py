"""The config of each stage, the table of commands, and the functions that Python calls.

A config is one frozen model of small groups (`accord.stages.options`): `config.data.max_length`. Users see flat names:
`--max_length` on the command line, `max_length:` in YAML, `max_length=` in Python.
"""

import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from accord.errors import InputError
from accord.stages.options import (
    Config,
    DataOptions,
    DemonstrationOptions,
    DemoOptions,
    LengthOptions,
    ModelOptions,
    NewModelOptions,
    PreferenceOptions,
    ReadOptions,
    RunOptions,
    ScoreOptions,
    TrainOptions,
)
from accord.stages.resolve import leaves, load

OBJECTS = ("model", "tokenizer", "data", "eval_data", "reference", "mix")  # Python may pass these as objects


class InitConfig(Config):
    """`accord init`."""

    new_model: NewModelOptions


class TrainingConfig(Config):
    """What every stage that trains has."""

    model: ModelOptions
    data: DataOptions
    train: TrainOptions
    run: RunOptions


class PretrainConfig(TrainingConfig):
    """`accord pretrain`."""

    defaults: ClassVar = {"learning_rate": 1e-3, "warmup_steps": 0.1}


class SftConfig(TrainingConfig):
    """`accord sft`."""

    # A pre-trained model needs only a short warm-up; 3 % is Alpaca's.
    defaults: ClassVar = {"learning_rate": 2e-5, "warmup_steps": 0.03}
    length: LengthOptions
    demonstration: DemonstrationOptions


class DpoConfig(TrainingConfig):
    """`accord dpo`."""

    defaults: ClassVar = {"learning_rate": 1e-6, "warmup_steps": 0.1}
    length: LengthOptions
    preference: PreferenceOptions


class LogprobsConfig(Config):
    """`accord logprobs`."""

    defaults: ClassVar = {"dtype": "float32", "max_length": None}
    model: ModelOptions
    data: ReadOptions
    length: LengthOptions
    score: ScoreOptions


class DemoConfig(Config):
    """`accord demo`."""

    demo: DemoOptions


class Command(NamedTuple):
    """A row of COMMANDS. `module` has `run(config, given) -> result`, and is imported only when it runs."""

    config: type[Config]
    module: str
    panel: str
    help: str
    example: str


COMMANDS: dict[str, Command] = {
    "init": Command(
        InitConfig,
        "accord.stages.init",
        "Stages, in order",
        "Make a new model with random weights, and a tokenizer trained on your data.",
        "accord init --data texts.jsonl --output_dir new",
    ),
    "pretrain": Command(
        PretrainConfig,
        "accord.stages.pretrain",
        "Stages, in order",
        "Teach a model the language of texts.",
        "accord pretrain --model new --data texts.jsonl --output_dir base",
    ),
    "sft": Command(
        SftConfig,
        "accord.stages.sft",
        "Stages, in order",
        "Teach a model to answer as demonstrations do (supervised fine-tuning).",
        "accord sft --model base --data demonstrations.jsonl --output_dir tuned --validation 0.1",
    ),
    "dpo": Command(
        DpoConfig,
        "accord.stages.prefer",
        "Stages, in order",
        "Align a model with comparisons (direct preference optimisation).",
        "accord dpo --model tuned --data comparisons.jsonl --output_dir aligned --validation 0.1",
    ),
    "logprobs": Command(
        LogprobsConfig,
        "accord.stages.logprobs",
        "Beside them",
        "Write the log-probability of every completion in a file.",
        "accord logprobs --model aligned --data comparisons.jsonl --output logprobs.jsonl",
    ),
    "demo": Command(
        DemoConfig,
        "accord.demo.run",
        "Beside them",
        "See all stages in a small written world: offline, in two minutes.",
        "accord demo",
    ),
}


def execute(name: str, config: Config, given: dict[str, object]) -> Any:
    """Imports the command's module and runs it; whatever its `run` returns."""
    return importlib.import_module(COMMANDS[name].module).run(config, given)


def call(name: str, /, *, config: str | os.PathLike[str] | None = None, **options: object) -> Any:
    """Runs a command with options from Python, which win over those of the YAML file `config`.

    What is no text for one of OBJECTS (a loaded model, a tokenizer, a list of groups) goes to the stage as it is, in
    `given`. Raises AccordError.
    """
    given = {key: options.pop(key) for key in OBJECTS if _is_object(options.get(key))}
    config_class = COMMANDS[name].config
    if options.get("tokenizer") is not None:
        raise InputError("takes a loaded tokenizer only", where="tokenizer", fix="leave it out to take the model's own")
    options.pop("tokenizer", None)
    objects = [key for key in given if key != "tokenizer" or "model" not in leaves(config_class)]
    arguments = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()}
    file = None if config is None else os.fspath(config)
    return execute(name, load(config_class, file=file, arguments=arguments, where="", objects=objects), given)


def _is_object(value: object) -> bool:
    return value is not None and not isinstance(value, (str, os.PathLike))


def _function(name: str) -> Callable[..., Any]:
    """The Python function of a command, with the signature that its options give."""

    def function(*, config: str | os.PathLike[str] | None = None, **options: object) -> Any:
        return call(name, config=config, **options)

    keyword, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    options = [
        inspect.Parameter(leaf.key, keyword, default=empty if leaf.required else leaf.default)
        for leaf in leaves(COMMANDS[name].config).values()
    ]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{COMMANDS[name].help}\n\nOptions as `accord {name} --help` explains them; `config`: a YAML file."
    )
    function.__signature__ = inspect.Signature([*options, inspect.Parameter("config", keyword, default=None)])  # type: ignore[attr-defined]
    return function


init, pretrain, sft, dpo, logprobs = map(_function, ("init", "pretrain", "sft", "dpo", "logprobs"))

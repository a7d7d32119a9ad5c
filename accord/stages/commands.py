"""The table of commands, and the functions that Python calls."""

import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any

from accord.errors import InputError
from accord.stages import loss_names, rl_names
from accord.stages.collect_commands import COLLECT
from accord.stages.command import Command
from accord.stages.config import (
    CacheConfig,
    ChatConfig,
    CheckConfig,
    ClassifyConfig,
    ConvertConfig,
    DemoConfig,
    DpoConfig,
    InitConfig,
    LogprobsConfig,
    LossesConfig,
    MergeConfig,
    PretrainConfig,
    RewardConfig,
    RlConfig,
    RunsConfig,
    SampleConfig,
    ScoreConfig,
    SftConfig,
    SweepConfig,
    TrainingConfig,
    VerifyConfig,
)
from accord.stages.evaluation_commands import EVALUATION
from accord.stages.leaves import leaves
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.options import Config
from accord.stages.resolve import load

# Python may pass these as objects; tokenizer and callback only it.
OBJECTS = (
    "model", "data", "eval_data", "reference", "mix", "ptx", "demonstrations", "reward", "judge", "runs", "tokenizer",
    "callback",
)  # fmt: skip


def _loss_command(name: str) -> Command:
    """`accord simpo`: accord dpo with that loss."""
    defaults = {**DpoConfig.defaults, "loss_type": name}
    own = {"defaults": defaults, "own_loss": name, "__doc__": f"`accord {name}`."}
    config = type(f"{name}_config", (DpoConfig,), own)
    data = "thumbs" if name in loss_names.LABELS else "rankings" if name in loss_names.RANKINGS else "comparisons"
    example = f"accord {name} --model tuned --data {data}.jsonl --output_dir aligned --validation 0.1"
    text = f"accord dpo with this loss: {loss_names.NAMES[name]}"
    return Command(config, "accord.stages.prefer", "Losses", text, example, hidden=True)


def _rl_command(name: rl_names.Algorithm | None) -> Command:
    """`accord ppo`: accord rl with that algorithm."""
    about = None if name is None else rl_names.ALGORITHMS[name]
    own: dict[str, object] = {"own_algorithm": name, "__doc__": f"`accord {name or 'rl'}`."}
    if about is not None:
        own["defaults"] = {**RlConfig.defaults, "algorithm": name, **about.defaults}
    config = type(f"{name or 'rl'}_config", (RlConfig,), own)
    example = (
        f"accord {name or 'rl --algorithm ppo'} --model tuned --reward reward --data prompts.jsonl --output_dir aligned"
    )
    text = f"Reinforcement learning from rewards: {about.text}." if about else "Reinforcement learning, any algorithm."
    return Command(config, "accord.stages.rl", "Stages, in order", text, example, hidden=about is None)


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
    "reward": Command(
        RewardConfig,
        "accord.stages.reward",
        "Stages, in order",
        "Train a reward model, which scores answers as people rank them.",
        "accord reward --model tuned --data comparisons.jsonl --output_dir reward --validation 0.1",
    ),
    **{name: _rl_command(name) for name in rl_names.ALGORITHMS},
    "rl": _rl_command(None),
    "online-dpo": Command(
        OnlineDpoConfig,
        "accord.stages.online",
        "Stages, in order",
        "Direct preference optimisation on samples of the model itself, judged by rewards or by people.",
        "accord online-dpo --model tuned --reward reward --data prompts.jsonl --output_dir aligned",
    ),
    "classify": Command(
        ClassifyConfig,
        "accord.stages.classify",
        "Stages, in order",
        "Train a classifier, which says what a text is: toxic, appropriate, about sports.",
        "accord classify --model tuned --data labelled.jsonl --output_dir classifier --validation 0.1",
    ),
    "check": Command(
        CheckConfig,
        "accord.stages.check",
        "Beside them",
        "See what a data set holds and what is wrong with it, line by line, before a model is trained on it.",
        "accord check comparisons.jsonl --model tuned --plot lengths.png",
        word="data",
    ),
    "convert": Command(
        ConvertConfig,
        "accord.stages.convert",
        "Beside them",
        "Write data in the columns of another format, and say what these cannot hold.",
        "accord convert comparisons.jsonl pairs.parquet --to alpaca_comparison",
        word="data output",
    ),
    "logprobs": Command(
        LogprobsConfig,
        "accord.stages.logprobs",
        "Beside them",
        "Write the log-probability of every completion in a file.",
        "accord logprobs --model aligned --data comparisons.jsonl --output logprobs.jsonl",
    ),
    "sample": Command(
        SampleConfig,
        "accord.stages.sample",
        "Beside them",
        "Write what a model answers to the prompts of a file; scored by a reward model, the best of n where wanted.",
        "accord sample --model aligned --data prompts.jsonl --n 4 --output samples.jsonl",
    ),
    "chat": Command(
        ChatConfig,
        "accord.stages.chat",
        "Beside them",
        "Talk with a model in the terminal.",
        "accord chat --model aligned --temperature 0.7",
    ),
    "score": Command(
        ScoreConfig,
        "accord.stages.score",
        "Beside them",
        "Write the score that a reward model or classifier gives to every completion in a file.",
        "accord score --model reward --data answers.jsonl --output scores.jsonl",
    ),
    **EVALUATION,
    "losses": Command(
        LossesConfig,
        "accord.stages.list_losses",
        "Beside them",
        "List the losses that accord dpo and accord reward know, with what they fit and where they end.",
        "accord losses",
    ),
    "cache": Command(
        CacheConfig,
        "accord.stages.cache",
        "Beside them",
        "Show what is kept of reference log-probabilities for later runs, or remove it.",
        "accord cache --clear --older_than 30",
    ),
    "merge": Command(
        MergeConfig,
        "accord.stages.merge",
        "Beside them",
        "Merge a LoRA adapter into its model: a whole model again.",
        "accord merge aligned --output_dir merged",
        word="adapter",
    ),
    "sweep": Command(
        SweepConfig,
        "accord.stages.sweep",
        "Beside them",
        "Run a stage once for every combination of values in a file, and compare the runs.",
        "accord sweep sweep.yaml",
        word="file",
    ),
    "runs": Command(
        RunsConfig,
        "accord.stages.runs",
        "Beside them",
        "List the runs in and below a directory: how each stands, and what to type to go on with it.",
        "accord runs runs",
        word="directory",
    ),
    "verify": Command(
        VerifyConfig,
        "accord.stages.verify",
        "Beside them",
        "Check that runs, checkpoints, models and caches still hold the bytes that were written.",
        "accord verify runs/aligned",
        word="directory",
    ),
    "demo": Command(
        DemoConfig,
        "accord.demo.run",
        "Beside them",
        "See all stages in a small written world, and what is true of it: offline, in about four minutes.",
        "accord demo",
    ),
    **COLLECT,
    **{name: _loss_command(name) for name in loss_names.COMMANDS},
}


def execute(name: str, config: Config, given: dict[str, object]) -> Any:
    """Imports the command's module and runs it; whatever its `run` returns."""
    return importlib.import_module(COMMANDS[name].module).run(config, given)


def call(name: str, /, *, config: str | os.PathLike[str] | None = None, **options: object) -> Any:
    """Runs a command with options from Python, which win over those of the YAML file `config`.

    What is no text for one of OBJECTS (a loaded model, a tokenizer, a list of groups) goes to the stage as it is, in
    `given`. `callback`: a function, or several, that is called with every line of metrics.jsonl as a dict; where it
    returns False the training ends after that step, as at its last one. Raises AccordError.
    """
    given = {key: options.pop(key) for key in OBJECTS if _is_object(key, options.get(key))}
    config_class = COMMANDS[name].config
    if options.get("tokenizer") is not None:
        raise InputError("takes a loaded tokenizer only", where="tokenizer", fix="leave it out to take the model's own")
    if isinstance(options.get("callback"), str):
        raise InputError("takes functions only", where="callback", fix="give a function of one dict, or a list of them")
    unset = [key for key in ("tokenizer", "callback") if options.get(key) is None]
    options = {key: value for key, value in options.items() if key not in unset}
    no_option = {"tokenizer"} if "model" in leaves(config_class) else set()
    no_option |= {"callback"} if issubclass(config_class, TrainingConfig) else set()
    objects = [key for key in given if key not in no_option]
    arguments = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()}
    file = None if config is None else os.fspath(config)
    return execute(name, load(config_class, file=file, arguments=arguments, where="", objects=objects), given)


def _is_object(key: str, value: object) -> bool:
    if key == "reward" and isinstance(value, list):  # of names and settings it is an option, as in YAML
        settings = [item for one in value for item in (one.values() if isinstance(one, dict) else [one])]
        return not all(isinstance(item, str | int | float) for item in settings)
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
    function.__name__ = function.__qualname__ = name.replace("-", "_")
    function.__doc__ = (
        f"{COMMANDS[name].help}\n\nOptions as `accord {name} --help` explains them; `config`: a YAML file."
    )
    function.__signature__ = inspect.Signature([*options, inspect.Parameter("config", keyword, default=None)])  # type: ignore[attr-defined]
    return function


def __getattr__(name: str) -> Callable[..., Any]:
    """A loss by its name: `accord.kto(...)` is `accord.dpo(loss_type="kto", ...)`."""
    if name in loss_names.COMMANDS:
        return _function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


init, pretrain, sft, dpo, reward = map(_function, ("init", "pretrain", "sft", "dpo", "reward"))
rl, ppo, reinforce, rloo, grpo = map(_function, ("rl", "ppo", "reinforce", "rloo", "grpo"))
online_dpo = _function("online-dpo")
classify = _function("classify")
check, convert, logprobs, merge = map(_function, ("check", "convert", "logprobs", "merge"))
runs, verify, report = map(_function, ("runs", "verify", "report"))
leaderboard, winrate, compare = map(_function, ("leaderboard", "winrate", "compare"))
agreement, safety = map(_function, ("agreement", "safety"))
perplexity, scaling, harness = map(_function, ("perplexity", "scaling", "harness"))
frontier, theory = map(_function, ("frontier", "theory"))
sample, score, reward_bench = map(_function, ("sample", "score", "reward-bench"))

"""Configs that make no sense are refused with exit 2 and the option's name, before a model or data are looked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.cli import main
from accord.errors import InputError
from accord.stages.commands import COMMANDS
from accord.stages.config import TrainingConfig
from accord.stages.leaves import leaves
from accord.stages.resolve import load

TRAINING = [name for name, row in COMMANDS.items() if issubclass(row.config, TrainingConfig)]
MAKING = [*TRAINING, "init", "logprobs"]
NOWHERE = {"model": "/nowhere/model", "data": "/nowhere/data.jsonl", "output_dir": "/nowhere/run"}
MORE = {"output": "/nowhere/out", "reward": "/nowhere/reward"}  # of commands that take it
ALSO = {"rl": {"algorithm": "rloo"}}

# What no number may be, whatever it counts or weighs; "1" + 400 zeros is no number of 64 bits.
NEVER = ("nan", "-nan", "inf", "-inf", "1e999", "true", "abc", "[1]", "{}", "", "-1", "1" + "0" * 400)
SOME = ("nan", "inf", "abc", "-1")
# Written down for each, and not read off the options.
ZERO_IS_NONE = {
    "batch_size", "max_tokens", "num_train_epochs", "max_steps", "learning_rate", "adam_epsilon", "ema_decay", "lora_r",
    "lora_alpha", "logging_steps", "eval_steps", "save_steps", "save_total_limit", "sample_tokens", "threads",
    "early_stopping_patience", "beta", "discopop_tau", "sync_steps", "sync_alpha", "max_length", "vocab_size",
    "hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "context", "temperature", "max_new_tokens",
    "num_mini_batches", "num_ppo_epochs", "num_generations", "sample_rows", "reward_clip", "reward_timeout",
    "kl_target", "kl_horizon", "target_kl", "cliprange", "cliprange_value", "critic_learning_rate", "vf_coef", "gamma",
    "ptx_batch_size",
}  # fmt: skip
SHARES = {"validation", "max_dropped", "mix_fraction", "lora_dropout", "ld_alpha", "sync_alpha", "label_smoothing",
          "gamma", "lam"}  # fmt: skip
BELOW_1 = {"adam_beta1", "adam_beta2", "momentum", "ema_decay", "lora_dropout", "validation", "mix_fraction",
           "baseline_decay"}  # fmt: skip
TOO_LARGE = {"threads": "1000000", "lora_r": "1000000000", "num_train_epochs": "1e300", "warmup_steps": "1e300",
             "weight_decay": "1e300", "adam_epsilon": "1e300", "layers": "1000000",
             "temperature": "101", "num_generations": "5000", "kl_coef": "1e300", "ptx_coef": "1e300",
             "entropy_coef": "1e300", "missing_eos_penalty": "1e300", "cliprange": "1e300", "vf_coef": "1e300",
             "f_alpha_divergence_coef": "1e300"}  # fmt: skip
MINUS_1 = {"f_alpha_divergence_coef", "max_steps"}  # any real number; TRL's word for "not given"


def numbers(command: str) -> dict[str, tuple[Any, ...]]:
    """The numeric options of a command, with the types that they take."""
    found = {key: leaf.types for key, leaf in leaves(COMMANDS[command].config).items()}
    return {key: types for key, types in found.items() if {int, float} & set(types)}


def absurd(command: str, key: str, types: tuple[Any, ...]) -> Iterator[str]:
    for value in NEVER if not COMMANDS[command].hidden else SOME:  # what is hidden is dpo under another name
        if not (value == "-1" and key in MINUS_1):
            yield value
    if int in types:
        yield from ("1.5", "1e3")
    if key in ZERO_IS_NONE:
        yield "0"
    if key in SHARES | BELOW_1:
        yield from ("1.5", "2")
    if key in BELOW_1:
        yield "1"
    if key in TOO_LARGE:
        yield TOO_LARGE[key]
    if key == "max_steps":
        yield "-2"


@pytest.mark.parametrize("command", MAKING)
def test_c_range_of_every_numeric_option(command: str) -> None:
    """Also of those that a command has alone. Nothing is loaded: the model is nowhere, and that is not what is said."""
    known = leaves(COMMANDS[command].config)
    given = {key: value for key, value in (NOWHERE | MORE | ALSO.get(command, {})).items() if key in known}
    assert load(COMMANDS[command].config, arguments=given)
    taken = [
        (key, value, said)
        for key, types in numbers(command).items()
        for value in absurd(command, key, types)
        if not (said := refused(command, {**given, key: value})).startswith(f"--{key}: ")
    ]
    assert taken == []


def refused(command: str, given: dict[str, str]) -> str:
    """What is said of these options; nothing where they will do."""
    try:
        load(COMMANDS[command].config, arguments=given)
    except InputError as error:
        return str(error)
    return ""


def test_every_numeric_option_is_thought_of() -> None:
    """A share that is not said to be one would be tried with no number above 1."""
    known = {key for command in MAKING for key in numbers(command)}
    assert known >= ZERO_IS_NONE | SHARES | BELOW_1 | set(TOO_LARGE) | MINUS_1
    floats = {key for command in MAKING for key, types in numbers(command).items() if float in types}
    unbounded = {
        "learning_rate", "warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm", "num_train_epochs",
        "early_stopping_threshold", "beta", "gamma_beta_ratio", "cpo_alpha", "discopop_tau", "desirable_weight",
        "undesirable_weight", "nll_weight", "lm_alpha", "f_alpha_divergence_coef", "center_coefficient", "tie_strength",
        "rating_scale", "temperature", "kl_coef", "kl_target", "target_kl", "cliprange", "cliprange_value", "vf_coef",
        "critic_learning_rate", "entropy_coef", "ptx_coef", "reward_clip", "reward_timeout", "reward_backoff",
        "missing_eos_penalty",
    }  # fmt: skip
    assert floats == unbounded | SHARES | BELOW_1


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines of a command line that ends with exit 2."""
    assert main([*words, *(f"--{key}={value}" for key, value in NOWHERE.items())]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beta", "0"), ("beta", "-0.1"), ("beta", "nan"), ("learning_rate", "nan"), ("learning_rate", "0"),
        ("batch_size", "0"), ("validation", "1.5"), ("validation", "-0.5"), ("label_smoothing", "0.7"),
        ("threads", "999999999"), ("max_steps", "1" + "0" * 30),
    ],
)  # fmt: skip
def test_c_range(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    (line,) = refusal(capsys, "dpo", f"--{option}={value}")
    assert line.startswith(f"error[2] --{option}: ")


@pytest.mark.parametrize(("option", "value"), [("batch_size", "many"), ("shuffle", "perhaps"), ("beta", "[0.1]")])
def test_c_wrong_type(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    (line,) = refusal(capsys, "dpo", f"--{option}={value}")
    assert line.startswith(f"error[2] --{option}: {value!r} is not ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lerning_rate: 0.1\n", "config.yaml:1: unknown option 'lerning_rate': did you mean 'learning_rate'?"),
        ("env: {LD_PRELOAD: x.so}\n", "config.yaml:1: env: is not supported"),
        ("beta: 0.1\nbeta: 0.2\n", "config.yaml:2: 'beta' is given twice"),
        ("beta: wide\n", "config.yaml:1: beta: 'wide' is not a number"),
        ("beta: .nan\n", "config.yaml:1: beta: '.nan' is not a number"),
        ("beta: -0.1\n", "config.yaml:1: beta: -0.1 is out of range"),
        ("loss_type: sigmoyd\n", "config.yaml:1: loss_type: "),
        ("batch_size: 0\n", "config.yaml:1: batch_size: 0 is out of range"),
    ],
    ids=["unknown_key", "env", "dup_key", "wrong_type", "nan", "range", "loss_typo", "zero"],
)
def test_c_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    """c_unknown_key, c_dup_key, c_wrong_type, c_range: with the file and the line."""
    (tmp_path / "config.yaml").write_text(text)
    (line,) = refusal(capsys, "dpo", f"--config={tmp_path / 'config.yaml'}")
    assert line.startswith("error[2] ")
    assert said in line


def test_c_unknown_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "dpo", "--bata=0.1") == ["error[2] --bata: unknown option: did you mean --beta?"]

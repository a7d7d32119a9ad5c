"""Runs that are killed with SIGKILL, or stopped by a fault, and what is compared of them and those left alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from alike import CLOCK, by_the_clock
from score_runs import write_scorer

from accord.training.optimizer import Weights

ROOT = Path(__file__).resolve().parents[1]


class Killed(NamedTuple):
    """A run of 8 steps in 2 epochs, with checkpoints after 3 and 6, where it is killed, and after which it goes on."""

    stage: str
    model: str
    options: dict[str, object]
    where: str = "step 5"
    after: int = 3


EVALUATED = {"validation": 0.2, "eval_steps": 2}
KILLED = {
    "dpo": Killed("dpo", "model", {"logging_steps": 2, "validation": 0.2, "eval_steps": 3, "samples": 1}),
    "dropout": Killed("sft", "gpt2", {"dropout": True, "logging_steps": 5, "max_tokens": 60}),
    "dropout in a first pass": Killed("dpo", "gpt2", {"loss_type": "kto", "beta": 1.0, "dropout": True}),
    "average": Killed("sft", "model", {"average": "ema", "ema_decay": 0.7, "validation": 0.2, "eval_steps": 4}),
    "bf16": Killed("dpo", "model", {"dtype": "bf16", "optimizer": "momentum", "average": "iterate"}),
    "pretrain": Killed("pretrain", "model", {"max_length": 24, "lr_scheduler_type": "cosine", "optimizer": "adagrad"}),
    "while saving": Killed("dpo", "model", {"logging_steps": 3, "samples": 1}, "saving 6"),
    "after saving": Killed("sft", "model", {"validation": 0.2, "logging_steps": 4, "eval_steps": 6}, "saved 6", 6),
    "before the first checkpoint": Killed("dpo", "model", {"validation": 0.2, "samples": 1}, "step 2", 0),
    "after the last step": Killed("sft", "model", {"validation": 0.2, "samples": 1}, "saved 8", 8),
    "a moving reference": Killed("dpo", "model", {"sync_reference": "soft", "sync_steps": 2, **EVALUATED}),
    "an adapter with dropout": Killed("dpo", "model", {"lora_r": 2, "lora_dropout": 0.3, "max_tokens": 60}),
    "the average of an adapter": Killed("sft", "gpt2", {"lora_r": 2, "average": "iterate", "dropout": True}),
    "a mixture": Killed("dpo", "model", {"data": ["dpo.jsonl", "more.jsonl"], "save_steps": "epoch"}, "step 7", 6),
    "texts mixed in": Killed("sft", "gpt2", {"mix": "pretrain.jsonl", "mix_fraction": 0.5, "dropout": True}),
    "a reward model": Killed("reward", "gpt2", {"dropout": True, "max_tokens": 60, "ties": "half", **EVALUATED}),
    "a reward adapter": Killed("reward", "model", {"lora_r": 2, "lora_dropout": 0.3, "loss_type": "plackett_luce"}),
    "the best step": Killed("sft", "model", {"load_best_model_at_end": True, "learning_rate": 1.0, **EVALUATED}),
    **({"4 bits": Killed("sft", "model", {"lora_r": 2, "load_in_4bit": True})} if find_spec("bitsandbytes") else {}),
}

ROUNDS = {"num_ppo_epochs": 2, "num_mini_batches": 2, "batch_size": 2}  # of four steps
# Runs on samples; a step of ppo with a critic of its own takes two steps of optimisers. `sampling`: tokens.
SAMPLED = {
    "ppo in a buffer": Killed(
        "ppo", "model", {**ROUNDS, "kl_target": 0.1, "kl_horizon": 50, "samples": 1, "sample_steps": 4, **EVALUATED},
        "step 9"
    ),
    "ppo from a reward model, at its values": Killed(
        "ppo", "model", {"num_ppo_epochs": 1, "reward": "scorer", "dtype": "bf16", "average": "ema"}, "values 5"
    ),
    "ppo on the trunk, with dropout": Killed(
        "ppo", "gpt2", {**ROUNDS, "critic": "trunk", "dropout": True, "entropy_coef": 0.01, "kl_in": "loss"}, "step 9"
    ),
    "ppo on one base": Killed("ppo", "model", {**ROUNDS, "lora_r": 2, "lora_dropout": 0.2}, "saving 6"),
    "ppo that leaves a round": Killed("ppo", "model", {"num_ppo_epochs": 4, "target_kl": 1e-6, "seed": 4}, "step 8"),
    "ppo that warms up": Killed("ppo", "model", {**ROUNDS, "critic_warmup": 1, "logging_steps": 3}, "step 8"),
    "rloo while it samples": Killed("rloo", "model", {"missing_eos": "mask", "stop": ["a", "e", "i"]}, "sampling 30"),
    "grpo before it scores": Killed(
        "grpo", "gpt2", {"kl_target": 0.05, "kl_horizon": 100, "group_form": "published", "logging_steps": 2},
        "scoring 5"
    ),
    "reinforce": Killed("reinforce", "model", {"reward_scaling": "running", "baseline_decay": 0.5, "samples": 1}),
    "texts beside samples": Killed("rloo", "model", {"ptx": "pretrain.jsonl", "ptx_coef": 0.5}, "step 7", 6),
}  # fmt: skip

# One process imports all, then forks a child for each run, which ends where its run is killed, with SIGKILL.
KILLER = """
import json, os, signal, sys
import torch
from transformers import GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from accord.cli import main
from accord.models import sample_rows
from accord.stages import prefer, pretrain, reward, rl, rl_rollouts, sft
from accord.stages.reward_sources import Rewards
from accord.training import checkpoint
from accord.training.optimizer import Weights

torch.set_num_threads(1)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(where):
    kind, number = where.split()
    step, save, rename = Weights.step, checkpoint.save, os.rename
    steps = []

    def counted(self, lr):
        step(self, lr)
        steps.append(lr)
        if (kind, len(steps)) == ("step", int(number)):
            kill()

    def saved(directory, at, *rest, **more):
        if (kind, at) == ("saving", int(number)):
            checkpoint.os.rename = lambda *paths: kill()  # all is written aside, and not in place
        found = save(directory, at, *rest, **more)
        if (kind, at) == ("saved", int(number)):
            kill()
        return found

    Weights.step, checkpoint.save = counted, saved
    for owner, name, place in (
        (sample_rows, "_write", "sampling"), (Rewards, "of", "scoring"), (rl_rollouts.Maker, "_values", "values")
    ):
        before(owner, name, int(number) if place == kind else 0)

def before(owner, name, number):
    usual, calls = getattr(owner, name), []

    def call(*given, **more):
        calls.append(1)
        if len(calls) == number:
            kill()
        return usual(*given, **more)

    setattr(owner, name, call)

for where, words in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        arm(where)
        os._exit(main(words) or 99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def killed_at(jobs: list[tuple[str, list[str]]]) -> None:
    """Runs each command line in a process of its own until it is killed there: KILLER says what places there are."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER], cwd=ROOT, input=json.dumps(jobs), capture_output=True, text=True
    )
    assert done.stdout.split() == ["-9"] * len(jobs), done.stderr


def words(stage: str, options: dict[str, Any]) -> list[str]:
    return [stage, *(f"--{key}={_word(value)}" for key, value in options.items())]


def _word(value: object) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value).lower() if value is True else str(value)


class Home(NamedTuple):
    """Models and data."""

    path: Path

    def options(self, name: str, place: str) -> dict[str, Any]:
        run = (KILLED | SAMPLED)[name]
        samples = {} if run.stage == "reward" else {"samples": 0, "sample_tokens": 4}
        if name in SAMPLED:
            samples |= {"reward": "rewards.py:letters", "max_new_tokens": 6, "kl_coef": 0.02}
        usual = {
            "model": self.path / run.model, "data": f"{run.stage}.jsonl", **samples,
            "output_dir": self.path / place / name.replace(" ", "-"), "report_to": "none", "batch_size": 4,
            "learning_rate": 3e-3, "warmup_steps": 2, "save_steps": 3, "max_steps": 8, "logging_steps": 1, "seed": 3,
        }  # fmt: skip
        return {key: self._found(key, value) for key, value in {**usual, **run.options}.items()}

    def _found(self, key: str, value: Any) -> Any:
        if key not in ("data", "mix", "reward", "ptx"):
            return value
        return [str(self.path / name) for name in value] if isinstance(value, list) else self.path / value


def furnish(path: Path) -> Home:
    tiny.write_model(path / "model")
    tiny.write_model(path / "gpt2", tiny.gpt2(vocab_size=300))
    pairs = tiny.comparisons(16)
    rows = {"dpo": pairs, "sft": pairs, "more": tiny.comparisons(8, first=500), "pretrain": tiny.texts(60)}
    rows["reward"] = tiny.rankings(16)
    for name, of_file in rows.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of_file))
    return Home(path)


def furnish_sampled(path: Path) -> Home:
    """As `furnish`, with prompts, a reward model and rewards by a function."""
    home = furnish(path)
    rows = [json.dumps({"id": row["id"], "prompt": row["prompt"]}) + "\n" for row in tiny.comparisons(16)]
    for stage in {run.stage for run in SAMPLED.values()}:
        (path / f"{stage}.jsonl").write_text("".join(rows))
    write_scorer(path / "scorer")
    shutil.copy(Path(__file__).with_name("rl_rewards.py"), path / "rewards.py")
    return home


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if not by_the_clock(key)} for line in found]


def figures(directory: Path) -> dict[str, Any]:
    """summary.json without what the clock says."""
    summary = json.loads((directory / "summary.json").read_text())
    metrics = {key: value for key, value in summary["metrics"].items() if not by_the_clock(key)}
    return {key: value for key, value in summary.items() if key not in CLOCK} | {"metrics": metrics}


def weights(directory: Path) -> dict[str, bytes]:
    """The saved model, or adapter: name -> bytes."""
    found = {path.name: path.read_bytes() for path in directory.glob("*model.safetensors")}
    assert found
    return found


def assert_same(one: Path, other: Path, *, drawn: bool = True) -> None:
    assert lines(one / "metrics.jsonl") == lines(other / "metrics.jsonl")
    assert lines(one / "samples.jsonl") == lines(other / "samples.jsonl")
    assert figures(one) == figures(other)
    assert weights(one) == weights(other)
    assert (one / "data_report.json").read_text() == (other / "data_report.json").read_text()
    assert (one / "curves.png").exists() or not drawn


class Stopped(Exception):
    """Stands for whatever ends a run in the middle."""


def stop_at(number: int, run: Callable[[], object]) -> None:
    """Runs until the optimiser's step `number`, counted from 1."""
    steps = []

    def counted(self: Weights, lr: float) -> None:
        steps.append(lr)
        if len(steps) == number:
            raise Stopped
        step(self, lr)

    step = Weights.step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Weights, "step", counted)
        run()


def files(directory: Path) -> dict[str, bytes]:
    """All that a run folder holds, but for the lock: name -> bytes."""
    found = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "run.lock"}

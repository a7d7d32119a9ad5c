"""Killed with SIGKILL and resumed, a run ends in the same bits and the same numbers as one that was left alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny

import accord
from accord.cli import main
from accord.training import checkpoint
from accord.training.optimizer import Weights

ROOT = Path(__file__).resolve().parents[1]
CLOCK = {"time", "tokens_per_second", "seconds_per_step", "seconds"}


class Killed(NamedTuple):
    """A run of 8 steps in 2 epochs, with checkpoints after 3 and 6, and where it is killed."""

    stage: str
    model: str
    options: dict[str, object]
    where: str = "step 5"


KILLED = {
    "dpo": Killed("dpo", "model", {"logging_steps": 2, "validation": 0.2, "eval_steps": 3, "samples": 1}),
    "dropout": Killed("sft", "gpt2", {"dropout": True, "logging_steps": 5, "max_tokens": 60}),
    "dropout in a first pass": Killed("dpo", "gpt2", {"loss_type": "kto", "beta": 1.0, "dropout": True}),
    "average": Killed("sft", "model", {"average": "ema", "ema_decay": 0.7, "validation": 0.2, "eval_steps": 4}),
    "bf16": Killed("dpo", "model", {"dtype": "bf16", "optimizer": "momentum", "average": "iterate"}),
    "pretrain": Killed("pretrain", "model", {"max_length": 24, "lr_scheduler_type": "cosine", "optimizer": "adagrad"}),
    "while saving": Killed("dpo", "model", {"logging_steps": 3, "samples": 1}, "saving 6"),
    "after saving": Killed("sft", "model", {"validation": 0.2, "logging_steps": 4, "eval_steps": 6}, "saved 6"),
    "before the first checkpoint": Killed("dpo", "model", {"validation": 0.2, "samples": 1}, "step 2"),
    "after the last step": Killed("sft", "model", {"validation": 0.2, "samples": 1}, "saved 8"),
}

# One process imports all, then forks a child for each run, which ends where its run is killed, with SIGKILL.
KILLER = """
import json, os, signal, sys
import torch
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast
from accord.cli import main
from accord.stages import prefer, pretrain, sft
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

for where, words in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        arm(where)
        os._exit(main(words) or 99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def words(stage: str, options: dict[str, Any]) -> list[str]:
    return [stage, *(f"--{key}={str(value).lower() if value is True else value}" for key, value in options.items())]


class Home(NamedTuple):
    path: Path

    def options(self, name: str, place: str) -> dict[str, Any]:
        run = KILLED[name]
        usual = {
            "model": self.path / run.model, "data": self.path / f"{run.stage}.jsonl", "samples": 0, "sample_tokens": 4,
            "output_dir": self.path / place / name.replace(" ", "-"), "report_to": "none", "batch_size": 4,
            "learning_rate": 3e-3, "warmup_steps": 2, "save_steps": 3, "max_steps": 8, "logging_steps": 1, "seed": 3,
        }  # fmt: skip
        return {**usual, **run.options}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Models and data."""
    path = tmp_path_factory.mktemp("resume")
    tiny.write_model(path / "model")
    tiny.write_model(path / "gpt2", tiny.gpt2(vocab_size=300))
    pairs = tiny.comparisons(16)
    for stage, rows in (("dpo", pairs), ("sft", pairs), ("pretrain", tiny.texts(60))):
        (path / f"{stage}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Home(path)


@pytest.fixture(scope="module")
def left(home: Home) -> Home:
    """The same, and in `killed` what is left of every run of KILLED."""
    jobs = [(run.where, words(run.stage, home.options(name, "killed"))) for name, run in KILLED.items()]
    done = subprocess.run(
        [sys.executable, "-c", KILLER], cwd=ROOT, input=json.dumps(jobs), capture_output=True, text=True
    )
    assert done.stdout.split() == ["-9"] * len(KILLED), done.stderr
    return home


def lines(path: Path, *, without: set[str] = CLOCK) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if key not in without} for line in found]


def figures(directory: Path) -> dict[str, Any]:
    """summary.json without what the clock says."""
    summary = json.loads((directory / "summary.json").read_text())
    metrics = {key: value for key, value in summary["metrics"].items() if key not in CLOCK}
    return {key: value for key, value in summary.items() if key not in CLOCK} | {"metrics": metrics}


def assert_same(one: Path, other: Path) -> None:
    assert lines(one / "metrics.jsonl") == lines(other / "metrics.jsonl")
    assert lines(one / "samples.jsonl") == lines(other / "samples.jsonl")
    assert figures(one) == figures(other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "data_report.json").read_text() == (other / "data_report.json").read_text()
    assert (one / "curves.png").exists()


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_as_if_it_had_not_been(left: Home, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = KILLED[name].stage
    whole, killed = left.options(name, "whole"), left.options(name, "killed")
    assert not (killed["output_dir"] / "model.safetensors").exists()
    assert main(words(stage, whole)) == 0
    capsys.readouterr()
    assert main(words(stage, {**killed, "resume": True})) == 0
    said = capsys.readouterr().err
    first = {"step 2": None, "step 5": 3, "saving 6": 3, "saved 6": 6, "saved 8": 8}[KILLED[name].where]
    assert (f"resuming after step {first}" if first else "no checkpoint yet") in said
    assert_same(whole["output_dir"], killed["output_dir"])
    assert not list((killed["output_dir"] / "checkpoints").glob(".tmp-*"))


@pytest.fixture
def killed(home: Home, tmp_path: Path) -> dict[str, Any]:
    """The options of a fresh run that a fault stopped in step 5, with a checkpoint after 3; `resume` is on."""
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run"}
    stop_at(5, lambda: accord.dpo(**options))
    return {**options, "resume": True}


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


def test_other_options_are_refused_with_the_difference(
    killed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {path: path.read_bytes() for path in killed["output_dir"].glob("*.*") if path.name != "run.lock"}
    assert main(words("dpo", {**killed, "learning_rate": 1e-4, "beta": 0.5})) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "learning_rate was 0.003, is 0.0001" in line and "beta was not given, is 0.5" in line
    assert {path: path.read_bytes() for path in kept} == kept


def test_what_changes_no_number_may_differ(killed: dict[str, Any]) -> None:
    assert (
        accord.dpo(**{**killed, "logging_steps": 1, "samples": 0, "save_steps": 100, "token_cache": "none"}).summary[
            "steps"
        ]
        == 8
    )


def test_other_data_are_refused(killed: dict[str, Any], tmp_path: Path) -> None:
    """The same name, other content."""
    data = tmp_path / "pairs.jsonl"
    data.write_text(Path(killed["data"]).read_text())
    options = {**killed, "data": data, "output_dir": tmp_path / "moved"}
    stop_at(5, lambda: accord.dpo(**{**options, "resume": False}))
    rows = data.read_text().splitlines()
    data.write_text("\n".join([*rows[1:], rows[0]]) + "\n")
    with pytest.raises(accord.InputError, match="other data"):
        accord.dpo(**options)


def test_a_reference_of_other_data_is_not_used(home: Home, tmp_path: Path) -> None:
    """Stopped before the first checkpoint, its data changed, resumed: the run starts anew, and so does the reference.

    With the old file's values a policy that equals its reference would not begin at log 2.
    """
    data = tmp_path / "pairs.jsonl"
    rows = Path(home.path / "dpo.jsonl").read_text().splitlines()
    data.write_text("\n".join(rows) + "\n")
    options = {**home.options("before the first checkpoint", "unused"), "data": data, "output_dir": tmp_path / "run"}
    stop_at(2, lambda: accord.dpo(**options))
    data.write_text("\n".join(reversed(rows)) + "\n")
    try:
        accord.dpo(**options, resume=True)
    except accord.InputError:
        return  # to refuse is as good
    first = lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["eval_loss"] == pytest.approx(0.693147, abs=1e-5)


def test_with_nothing_there_it_starts_anew_and_says_so(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run", "max_steps": 1, "resume": True}
    assert main(words("dpo", options)) == 0
    assert "starting anew" in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run", "max_steps": 3}
    accord.dpo(**options)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    accord.dpo(**options, resume=True)
    assert_same(tmp_path / "before", tmp_path / "run")


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run"}
    stop_at(7, lambda: accord.dpo(**options))
    file = tmp_path / "run" / "checkpoints" / "step-00000006" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    accord.dpo(**options, resume=True)
    said = capsys.readouterr().err
    assert "step-00000006 is damaged" in said and "resuming after step 3" in said
    whole = {**options, "output_dir": tmp_path / "whole"}
    accord.dpo(**whole)
    assert_same(whole["output_dir"], options["output_dir"])


def test_a_checkpoint_may_be_named(home: Home, tmp_path: Path) -> None:
    options = {**home.options("dpo", "unused"), "output_dir": tmp_path / "run"}
    stop_at(7, lambda: accord.dpo(**options))
    named = tmp_path / "run" / "checkpoints" / "step-00000003"
    accord.dpo(**options, resume=str(named))
    whole = {**options, "output_dir": tmp_path / "whole"}
    accord.dpo(**whole)
    assert_same(whole["output_dir"], options["output_dir"])


def test_a_checkpoint_of_another_run_is_refused(killed: dict[str, Any], tmp_path: Path) -> None:
    other = {**killed, "output_dir": tmp_path / "other", "resume": False}
    stop_at(5, lambda: accord.dpo(**other))
    found = checkpoint.newest(killed["output_dir"] / "checkpoints").checkpoint
    assert found is not None
    with pytest.raises(accord.InputError, match="another run"):
        accord.dpo(**{**other, "resume": str(found.path)})

"""Quick runs of `accord online-dpo` for its tests, and people who judge by a rule."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import killed_runs
import tiny
from killed_runs import ROOT

from accord import cli

PROMPTS = 20
REWARDS = '''
"""Rewards that tests can count."""


def said(group):
    content = group.completions[0].content
    return content if isinstance(content, str) else content[0].content


def length(groups):
    return [-float(len(said(group))) for group in groups]


def constant(groups):
    return [1.0 for group in groups]


def letters(groups):
    return [float(sum(letter in "abcdefghijklm" for letter in said(group))) for group in groups]


def early(groups):
    return [2.0 * any(letter in "abcdefghijklm" for letter in said(group)) for group in groups]
'''


def furnish(place: Path) -> None:
    """model (a Llama), gpt2, t5, prompts.jsonl, one.jsonl (a single prompt), texts.jsonl, rewards.py."""
    tiny.write_model(place / "model")
    tiny.write_model(place / "gpt2", tiny.gpt2(vocab_size=300))
    tiny.write_model(place / "t5", tiny.t5(vocab_size=300))
    rows = [{"id": f"p{i}", "prompt": tiny.sentence(3 * i, 2 + i % 5) + " ?"} for i in range(PROMPTS)]
    write_lines(place / "prompts.jsonl", rows)
    write_lines(place / "one.jsonl", [{"id": "one", "prompt": "the cat sat ?"}])
    write_lines(place / "texts.jsonl", tiny.texts(8))
    (place / "rewards.py").write_text(REWARDS)


def write_lines(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def options(place: Path, output: Path, **changes: object) -> dict[str, Any]:
    """Of a quick run: rounds of 4 prompts with 3 samples each, of 6 tokens, judged by how many of a to m they hold."""
    usual = {
        "model": place / "model", "data": place / "prompts.jsonl", "output_dir": output, "report_to": "none",
        "batch_size": 4, "max_new_tokens": 6, "max_length": 40, "samples": 0, "logging_steps": 1, "warmup_steps": 0,
        "learning_rate": 3e-3, "num_generations": 3, "max_steps": 4, "sample_steps": 0, "seed": 3,
    }  # fmt: skip
    judged = {} if changes.get("judge") == "file" else {"reward": f"{place}/rewards.py:letters"}
    return {**usual, **judged, **changes}


def run(place: Path, output: Path, **changes: object) -> int:
    """Its exit code. AccordError: as the command has it."""
    given = {key: str(value) for key, value in options(place, output, **changes).items()}
    return cli.run(cli.Chosen("online-dpo", None, dict(given)))


def metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def trained(output: Path) -> list[dict[str, Any]]:
    """The lines of steps."""
    return [line for line in metrics(output) if "loss" in line]


def timeless(line: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the clock says."""
    return {
        key: value for key, value in line.items() if key not in killed_runs.CLOCK and not key.startswith("seconds/")
    }


def assert_same(one: Path, other: Path) -> None:
    """Two run folders, but for the clock."""
    assert list(map(timeless, metrics(one))) == list(map(timeless, metrics(other)))
    assert killed_runs.lines(one / "samples.jsonl") == killed_runs.lines(other / "samples.jsonl")
    assert killed_runs.weights(one) == killed_runs.weights(other)
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (one, other))
    assert timeless(ours["metrics"]) == timeless(theirs["metrics"]) and ours["warnings"] == theirs["warnings"]
    assert ours["held_out"] == theirs["held_out"]


def judge(output: Path, number: int) -> Path:
    """A person orders a round as `letters` does."""
    asked = output / "to_judge" / f"round-{number:04d}.jsonl"
    rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        counts = [sum(letter in "abcdefghijklm" for letter in text) for text in row["completions"]]
        row["ranks"] = [1 + sum(other > own for other in counts) for own in counts]
    path = output / "judged" / asked.name
    path.parent.mkdir(exist_ok=True)
    write_lines(path, rows)
    return path


# As killed_runs.KILLER, with the places that only rounds of samples have: the call of a function after or before which
# a run is killed, by its number.
KILLER = """
import json, os, signal, sys
import torch
from transformers import LlamaForCausalLM, GPT2LMHeadModel, PreTrainedTokenizerFast
from accord.cli import main
from accord.stages import online, online_rounds, rl_rollouts, training
from accord.training.optimizer import Weights
from accord.training.run import RunFolder

torch.set_num_threads(1)
RunFolder.draw_curves = lambda *given: None

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(owner, name, number, before=False):
    usual, calls = getattr(owner, name), []

    def call(*given, **more):
        calls.append(1)
        if before and len(calls) == number:
            kill()
        found = usual(*given, **more)
        if len(calls) == number:
            kill()
        return found

    setattr(owner, name, call)

def asking(folder, name, text, write=RunFolder.write_text):
    if name.startswith("to_judge"):
        kill()
    write(folder, name, text)

PLACES = {
    "sampling": (rl_rollouts, "answered"),  # one prompt's samples
    "judging": (online_rounds, "by_score", True),
    "drawing": (online_rounds, "drawn", True),
    "judged": (online_rounds, "judged"),  # one prompt's
    "step": (Weights, "step"),
}

for where, words in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        kind, number = where.split()
        if kind == "asking":
            RunFolder.write_text = asking
        else:
            owner, name, *before = PLACES[kind]
            counted(owner, name, int(number), *before)
        os._exit(main(words) or 99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def killed_at(jobs: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Runs each command line in a process of its own until it is killed there."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER],
        cwd=ROOT,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["-9"] * len(jobs), done.stderr

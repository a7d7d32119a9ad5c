"""An iteration of PPO: where its time goes, and what learning from it costs beside DPO on texts of the same shape.

python bench/iteration.py MODEL REWARD_MODEL PROMPTS STRETCHES FOLDER [--rounds 2] [--dtype float32] [--out FILE]
Every run is a process of its own, in turn. Writes JSON, prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import WARM_UP
from report import iteration_lines, iteration_table, markdown
from samples import NEW_TOKENS

HERE = Path(__file__).resolve().parent
STEP, MINIBATCHES, EPOCHS, SAMPLES = 16, 2, 4, 2  # prompts of a step; steps of an epoch; epochs; samples of a prompt
ITERATIONS = 3  # the first one is not counted
A_ROUND = MINIBATCHES * EPOCHS  # steps
PARTS = ("sampling", "scoring", "forward_passes")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An iteration of PPO beside DPO.")
    for name in ("model", "reward", "prompts", "stretches", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def run(stage: str, asked: argparse.Namespace, **options: object) -> dict[str, Any]:
    """One run, watched."""
    place = asked.folder / stage
    shutil.rmtree(place, ignore_errors=True)
    usual: dict[str, object] = {
        "model": str(asked.model), "output_dir": str(place), "dtype": asked.dtype, "device": "cpu", "shuffle": False,
        "max_length": 1024, "batch_size": STEP, "learning_rate": 1e-4, "warmup_steps": 0.0, "logging_steps": 1,
        "save_steps": 1_000_000, "report_to": "none", "threads": os.cpu_count(), "samples": 0, "token_cache": "none",
        "max_steps": ITERATIONS * A_ROUND,
    }  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
    asking = json.dumps([stage, {**usual, **options}])
    command = [sys.executable, str(HERE / "watched.py")]
    done = subprocess.run(command, input=asking, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: accord {stage} failed ({done.returncode}): {done.stderr.splitlines()[-1:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def dpo(asked: argparse.Namespace) -> dict[str, Any]:
    return run("dpo", asked, data=str(asked.stretches), reference_cache="none")


def ppo(asked: argparse.Namespace, critic: str) -> dict[str, Any]:
    seen = run(
        "ppo", asked, data=str(asked.prompts), reward=str(asked.reward), critic=critic, num_generations=SAMPLES,
        max_new_tokens=NEW_TOKENS, num_mini_batches=MINIBATCHES, num_ppo_epochs=EPOCHS,
    )  # fmt: skip
    assert all(line["completions/mean_length"] == NEW_TOKENS for line in seen["lines"])
    return seen


def split(seen: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of each counted iteration by what they were spent on."""
    found = []
    for first in range(A_ROUND, ITERATIONS * A_ROUND, A_ROUND):
        lines = seen["lines"][first : first + A_ROUND]
        parts = {name: lines[0][f"seconds/{name}"] for name in PARTS}
        parts["learning"] = sum(seen["seconds"][first : first + A_ROUND])
        parts["the rest"] = sum(line["seconds_per_step"] for line in lines) - sum(parts.values())
        found.append(parts)
    return found


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median step, and the median cost of a token that the policy learns from or reads before it."""
    steps = [
        pair for seen in runs for pair in list(zip(seen["seconds"], seen["tokens"], strict=True))[WARM_UP:]
    ]  # fmt: skip
    return {
        "step": statistics.median(seconds for seconds, _ in steps),
        "tokens": statistics.fmean(count for _, count in steps),
        "token": statistics.median(seconds / count for seconds, count in steps),
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    asked.folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {"dpo": [], "trunk": [], "own": []}
    for _ in range(asked.rounds):
        runs["dpo"].append(dpo(asked))
        for critic in ("trunk", "own"):
            runs[critic].append(ppo(asked, critic))
    found: dict[str, Any] = {name: summed(several) for name, several in runs.items()}
    for critic in ("trunk", "own"):
        parts = [one for seen in runs[critic] for one in split(seen)]
        found[critic]["split"] = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
    shape = f"{STEP * MINIBATCHES} prompts x {SAMPLES} samples x {NEW_TOKENS} tokens"
    return {**found, "dtype": asked.dtype, "shape": shape}


def main() -> None:
    asked = arguments()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("\n".join([*iteration_lines(found), markdown(*iteration_table(found))]))


if __name__ == "__main__":
    main()

"""Memory of `accord ppo` with policy, reference, reward model and critic on one base, beside `accord sft` with LoRA.

python bench/roles.py MODEL COMPARISONS.jsonl DEMONSTRATIONS.jsonl FOLDER [--steps 4] [--threads N]
    [--dtype float32] [--out FILE]
Every run is a process of its own, whose peak the system tells when it ends. Writes JSON, prints the table of
docs/benchmarks.md. Imports nothing large: on Linux a child's peak memory counts from its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import BATCH
from report import markdown, roles_table

HERE = Path(__file__).resolve().parent
SAMPLES, NEW_TOKENS, RANK = 4, 64, 16
MICRO_BATCH = 1024  # tokens, which both stages fill: otherwise the one with more data to a step would take more
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory with all roles on one base.")
    parser.add_argument("model", type=Path)
    parser.add_argument("comparisons", type=Path)
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Runs:
    """Starts commands on the model, with all that does not differ from one to the next."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.folder: Path = asked.folder
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
        self.usual: dict[str, object] = {
            "model": asked.model, "dtype": asked.dtype, "device": "cpu", "max_length": 1024, "batch_size": BATCH,
            "learning_rate": 1e-4, "warmup_steps": 0, "logging_steps": 1, "save_steps": 1_000_000,
            "report_to": "none", "max_tokens": MICRO_BATCH, "threads": asked.threads, "max_steps": asked.steps,
            "token_cache": "none",
        }  # fmt: skip

    def peak(self, name: str, stage: str, options: dict[str, object]) -> int:
        """Bytes: the most that the process had at any time."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        given = {**self.usual, **options, "output_dir": place}
        command = [sys.executable, "-m", "accord", stage, *(f"--{key}={value}" for key, value in given.items())]
        with (self.folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"bench: {name} failed ({child.returncode}); all it said: {log.name}")
        return used.ru_maxrss * KILOBYTE


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """The reward models first, which are only needed."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(asked)
    lora: dict[str, object] = {"lora_r": RANK}
    quiet: dict[str, object] = {**lora, "samples": 0}
    short: dict[str, object] = {"data": asked.comparisons, "max_steps": 1}
    runs.peak("reward-adapter", "reward", {**short, **lora})
    runs.peak("reward-whole", "reward", short)
    rollouts: dict[str, object] = {
        "data": asked.demonstrations, "num_generations": SAMPLES, "max_new_tokens": NEW_TOKENS, "num_ppo_epochs": 2,
        "num_mini_batches": 1, **quiet,
    }  # fmt: skip
    own = {"critic": "own", "reward": runs.folder / "reward-whole"}
    return {
        "sft": runs.peak("sft", "sft", {"data": asked.demonstrations, **quiet}),
        "one_base": runs.peak(
            "one-base", "ppo", {**rollouts, "critic": "adapter", "reward": runs.folder / "reward-adapter"}
        ),
        "own_bases": runs.peak("own-bases", "ppo", {**rollouts, **own}),
        "weights": (asked.model / "model.safetensors").stat().st_size,
        "dtype": asked.dtype,
        "max_tokens": MICRO_BATCH,
    }


def main() -> None:
    asked = arguments()
    found = measured(asked)
    print(markdown(*roles_table(found)))
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Checkpoints of the 39 M model: what saving adds to a step, how fast one is verified, how a resumed run starts.

python bench/saving.py MODEL DEMONSTRATIONS.jsonl FOLDER [--rounds 2] [--out FILE]
Every figure is of `accord sft`, a process of its own. Writes JSON, prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from cases import BATCH
from report import markdown, saving_table

HERE = Path(__file__).resolve().parent
WARM_UP, EVERY, SAVES = 10, 50, 2
BESIDE = 6  # steps after a save that are looked at for what it takes from them
STEPS = EVERY * SAVES + WARM_UP  # the last save, which training waits for, is not among those that are counted
VERIFY = """
import sys, time
from pathlib import Path
from accord.training.checkpoint import load
path, seconds = Path(sys.argv[1]), []
for _ in range(5):
    began = time.perf_counter()
    load(path)
    seconds.append(time.perf_counter() - began)
print(sum(file.stat().st_size for file in path.iterdir()), min(seconds))
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Saves, verifies and resumes.")
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Runs:
    """Starts `accord sft` on the model, with all that does not differ from one run to the next."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.folder: Path = asked.folder
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
        options: dict[str, object] = {
            "model": asked.model, "data": asked.data, "dtype": "bf16", "device": "cpu", "max_length": 1024,
            "batch_size": BATCH, "learning_rate": 1e-4, "lr_scheduler_type": "constant", "warmup_steps": 0,
            "logging_steps": 1, "samples": 0, "report_to": "none", "threads": os.cpu_count(),
            "token_cache": self.folder / "tokens",
        }  # fmt: skip
        self.usual = [f"--{name}={value}" for name, value in options.items()]

    def command(self, name: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "accord", "sft", *self.usual, f"--output_dir={self.folder / name}", *more]

    def whole(self, name: str, save_steps: int) -> list[float]:
        """Seconds since 1970 at which each step of a run was logged, which is before it is saved."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        command = self.command(name, f"--max_steps={STEPS}", f"--save_steps={save_steps}")
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        lines = (self.folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["time"] for line in lines]

    def first_step(self, name: str, *more: str) -> float:
        """Seconds from the start of a process to the end of its first step; there it is killed."""
        command = self.command(name, f"--max_steps={10 * STEPS}", f"--save_steps={100 * STEPS}", *more)
        began, said = time.perf_counter(), []
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if line.startswith("sft step "):
                    seconds = time.perf_counter() - began
                    process.kill()
                    return seconds
        sys.exit(f"bench: {name} made no step: {said[-1:]}")


def steps_of(times: list[float]) -> dict[str, float]:
    """Mean seconds of the counted steps; how much longer those took while a save was under way than others."""
    seconds = [after - before for before, after in pairwise(times)]  # of steps 2, 3, ...
    usual = statistics.median(seconds)
    firsts = [EVERY * (number + 1) - 1 for number in range(SAVES)]
    extra = [sum(seconds[first : first + BESIDE]) - BESIDE * usual for first in firsts]
    return {"step": statistics.fmean(seconds[WARM_UP - 1 :]), "extra": statistics.fmean(extra)}


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    asked.folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(asked)
    saving: list[dict[str, float]] = []
    without: list[dict[str, float]] = []
    fresh: list[float] = []
    resumed: list[float] = []
    for _ in range(asked.rounds):
        without.append(steps_of(runs.whole("without", 100 * STEPS)))
        saving.append(steps_of(runs.whole("saving", EVERY)))
    newest = max((asked.folder / "saving" / "checkpoints").glob("step-*"))
    ended = subprocess.run([sys.executable, "-c", VERIFY, str(newest)], env=runs.environment, capture_output=True)
    size, seconds = map(float, ended.stdout.split())
    for _ in range(asked.rounds):
        shutil.rmtree(asked.folder / "fresh", ignore_errors=True)
        fresh.append(runs.first_step("fresh"))
        resumed.append(runs.first_step("saving", "--resume"))
    return {
        "step": min(run["step"] for run in without),
        "means": min(run["step"] for run in saving),
        "extra": statistics.fmean(run["extra"] for run in saving),
        "every": EVERY,
        "size": size,
        "verified": seconds,
        "fresh": min(fresh),
        "resumed": min(resumed),
    }


def main() -> None:
    asked = arguments()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*saving_table(found)))


if __name__ == "__main__":
    main()

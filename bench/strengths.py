"""Strengths of many models from many comparisons: time and memory.

python bench/strengths.py FOLDER [--comparisons 1000000] [--models 300] [--out FILE]
The comparisons are drawn from Davidson's model with known strengths, five to a prompt. Each figure is of a process of
its own. Writes JSON, prints a table; asked for are less than 10 seconds and 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import markdown, strengths_table

HERE = Path(__file__).resolve().parent
# Both children print seconds, those of the processor, peak memory and by how much the strengths miss the truth.
MADE = """
import resource, sys, time
import numpy as np
from accord.maths.comparisons import Comparisons, pair_likelihood
from accord.maths.strengths import clustered, fit, strengths
made = np.load(sys.argv[1])
n, truth = len(made["outcome"]), made["truth"]
began, used = time.perf_counter(), time.process_time()
names = tuple(f"model-{i}" for i in range(len(truth)))
columns = [made[name] for name in ("first", "second", "outcome")]
data = Comparisons(names, *columns, np.ones(n), np.arange(n) // 5, np.zeros((n, 0)))
found = fit(pair_likelihood(data, ties="davidson"))
table = strengths(found, clustered(found), clusters=found.likelihood.clusters)
miss = float(np.sqrt(np.mean(((table.strength - truth) / table.standard_error) ** 2)))
taken, used = time.perf_counter() - began, time.process_time() - used
print(taken, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, miss)
"""
WHOLE = """
import resource, sys, time
began = time.perf_counter()
import numpy as np
from accord.cli import main
assert main(["leaderboard", sys.argv[2], "--ties", "davidson", "--json", sys.argv[3]]) == 0
taken, used = time.perf_counter() - began, time.process_time()
import json
truth = np.load(sys.argv[1])["truth"]
rows = json.load(open(sys.argv[3]))
misses = [(row["strength"] - truth[int(row["model"].split("-")[1])]) / row["standard_error"] for row in rows]
miss = float(np.sqrt(np.mean(np.square(misses))))
print(taken, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, miss)
"""
MAKE = """
import json, sys
import numpy as np
n, models = int(sys.argv[3]), int(sys.argv[4])
generator = np.random.default_rng(0)
truth = generator.normal(size=models)
truth -= truth.mean()
first = generator.integers(models, size=n)
second = (first + generator.integers(1, models, size=n)) % models
half = (truth[first] - truth[second]) / 2
odds = np.stack([np.exp(half), np.full(n, 0.6), np.exp(-half)], axis=1).cumsum(1)
drawn = generator.random(n) * odds[:, 2]
outcome = np.where(drawn < odds[:, 0], 1.0, np.where(drawn < odds[:, 1], 0.5, 0.0))
np.savez(sys.argv[1], first=first, second=second, outcome=outcome, truth=truth)
words = {1.0: "model_a", 0.5: "tie", 0.0: "model_b"}
with open(sys.argv[2], "w", encoding="utf-8") as file:
    for i, (a, b, o) in enumerate(zip(first.tolist(), second.tolist(), outcome.tolist())):
        named = {"question_id": f"question-{i // 5}", "model_a": f"model-{a}", "model_b": f"model-{b}"}
        file.write(json.dumps(named | {"winner": words[o]}) + "\\n")
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fits strengths to many comparisons.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--comparisons", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def child(program: str, *words: object) -> str:
    """The last line that a Python program prints."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *map(str, words)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"bench/strengths.py: a process failed ({ended.returncode}):\n{ended.stderr}")
    return (ended.stdout.splitlines() or [""])[-1]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    arrays, file, table = folder / "comparisons.npz", folder / "comparisons.jsonl", folder / "table.json"
    child(MAKE, arrays, file, asked.comparisons, asked.models)
    found: dict[str, Any] = {"comparisons": asked.comparisons, "models": asked.models, "size": file.stat().st_size}
    for name, words in (("fit", (MADE, arrays)), ("command", (WHOLE, arrays, file, table))):
        seconds, processor, memory, miss = map(float, child(*words).split())
        found[name] = {"seconds": seconds, "processor": processor, "memory": memory, "miss": miss}
    return found


def main() -> None:
    asked = arguments()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*strengths_table(found)))


if __name__ == "__main__":
    main()

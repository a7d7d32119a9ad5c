"""Reading, checking and tokenising large data: speed and memory.

python bench/data.py HH.jsonl.gz FOLDER [--groups 200000] [--checked 100000] [--out FILE]
The comparisons are those of HH.jsonl.gz over and over, each time with its words in another order: as long as real ones,
all different. Every figure is of a process of its own. Writes JSON, prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from comparisons import rows
from report import data_table, markdown

HERE = Path(__file__).resolve().parent
READ = """
import resource, sys, time
from accord.data.read import read_groups
began = time.perf_counter()
groups = sum(1 for _ in read_groups(sys.argv[1]))
print(groups, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reads, checks and tokenises large data.")
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=200_000)
    parser.add_argument("--checked", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def shuffled(value: Any, chance: random.Random) -> Any:
    """Every text with its words in another order."""
    if isinstance(value, str):
        words = value.split(" ")
        chance.shuffle(words)
        return " ".join(words)
    if isinstance(value, dict):
        return {key: item if key == "role" else shuffled(item, chance) for key, item in value.items()}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


def comparisons(source: Path) -> Iterator[dict[str, Any]]:
    """Without end; those whose sides have the same words are left out, as an order may make them the same."""
    found = [row for row in rows(source) if words(row["chosen"]) != words(row["rejected"])]
    for seed in count():
        chance = random.Random(seed)
        yield from (shuffled(row, chance) for row in found)


def words(turns: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(" ".join(turn["content"] for turn in turns).split(" "))


def written(source: Path, path: Path, groups: int) -> Path:
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            for row in islice(comparisons(source), groups):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def ended(command: Sequence[object], environment: dict[str, str]) -> tuple[str, list[tuple[float, str]], float]:
    """(standard output, lines of standard error with the seconds at which they came, seconds in all)."""
    began, lines = time.perf_counter(), []
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), env=environment, **pipes) as process:
        assert process.stderr is not None and process.stdout is not None
        lines = [(time.perf_counter() - began, line.rstrip("\n")) for line in process.stderr]
        out = process.stdout.read()
    if process.returncode not in (0, 2):  # 2: accord check found something
        sys.exit(f"bench: {command[1:5]} failed ({process.returncode}): {lines[-1:]}")
    return out, lines, time.perf_counter() - began


def read(path: Path, environment: dict[str, str]) -> dict[str, float]:
    groups, seconds, memory = ended([sys.executable, "-c", READ, path], environment)[0].split()
    size = path.stat().st_size
    return {"groups": int(groups), "size": size, "seconds": float(seconds), "memory": float(memory)}


def started(path: Path, model: Path, folder: Path, name: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds from the start of `accord sft` to its data, and to its first step."""
    options = [
        "--max_steps",
        "1",
        "--logging_steps",
        "1",
        "--samples",
        "0",
        "--report_to",
        "none",
        "--max_dropped",
        "1",
    ]
    where = ["--model", model, "--data", path, "--output_dir", folder / name, "--token_cache", folder / "tokens"]
    _, lines, _ = ended([sys.executable, "-m", "accord", "sft", *where, *options], environment)
    ready = next(at for at, line in lines if line.startswith("data:"))
    stepped = next(at for at, line in lines if line.startswith("sft step 1/1"))
    return {"data": ready, "step": stepped}


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
    for name in ("one", "two", "tokens", "nothing"):
        subprocess.run(["rm", "-rf", str(folder / name)], check=True)
    large = written(asked.source, folder / f"comparisons-{asked.groups}.jsonl", asked.groups)
    tenth = written(asked.source, folder / f"comparisons-{asked.groups // 10}.jsonl", asked.groups // 10)
    checked = written(asked.source, folder / f"comparisons-{asked.checked}.jsonl", asked.checked)
    model = folder / "new"
    if not model.exists():
        init = [sys.executable, "-m", "accord", "init", "--data", tenth, "--output_dir", model, "--vocab_size", "32000"]
        ended([*init, "--hidden_size", "64", "--layers", "2"], environment)
    check = [sys.executable, "-m", "accord", "check", checked, "--model", model, "--json", folder / "check.json"]
    return {
        "read": {"large": read(large, environment), "tenth": read(tenth, environment)},
        "check": {"groups": asked.checked, "seconds": ended(check, environment)[2]},
        "first": started(large, model, folder, "one", environment),
        "second": started(large, model, folder, "two", environment),
        "groups": asked.groups,
    }


def main() -> None:
    asked = arguments()
    found = measure(asked)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(*data_table(found)))


if __name__ == "__main__":
    main()

"""`make mutants`: breaks the package in one place after the other, and says which test noticed.

Each mutation of `mutations.py` is made in a copy of the project, and the tests that are to notice run there until the
first one fails. A mutation that survives makes the exit code 1: some mistake could be made without anybody noticing.
Before all, the tests run in the copy as it is, where they must pass.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from mutations import ROOT, Mutation, mutations
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

COPIED = (
    "accord",
    "tests",
    "docs",
    "examples",
    "bench",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "requirements.lock",
)
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
LONGEST = 900.0  # seconds
WIDTH = 200  # characters of the table: a name that is cut cannot be run again


class Fate(NamedTuple):
    """noticed_by: the first test that failed; None where all passed."""

    mutation: Mutation
    noticed_by: str | None
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every mutation was noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="mutations at the same time")
    parser.add_argument("--only", default="", help="those whose family or name holds this text")
    chosen = parser.parse_args(arguments)
    wanted = [one for one in mutations() if chosen.only in f"{one.family}: {one.name}"]
    if not wanted:
        print(f"no mutation holds {chosen.only!r}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="accord-mutants-") as place, _progress() as progress:
        fates = list(_tried(wanted, [_copy(Path(place) / str(i)) for i in range(chosen.workers)], progress))
    if not fates:
        return 1
    _show(fates)
    return int(any(fate.noticed_by is None for fate in fates))


def _tried(wanted: Sequence[Mutation], copies: Sequence[Path], progress: Progress) -> Iterator[Fate]:
    files = list(dict.fromkeys(test for one in wanted for test in one.tests))
    task = progress.add_task("the tests, nothing broken", total=None)
    if output := _failing(copies[0], files, "-n", str(len(copies))):
        progress.stop()
        print(output, file=sys.stderr)
        print("the tests fail before anything is broken", file=sys.stderr)
        return
    progress.update(task, description="mutants", total=len(wanted))
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def fate(one: Mutation) -> Fate:
        copy, began = free.get(), time.perf_counter()
        try:
            with _broken(copy / one.file, one):
                output = _failing(copy, one.tests)
        finally:
            free.put(copy)
        progress.advance(task)
        return Fate(one, _first(output) if output else None, time.perf_counter() - began)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(fate, wanted)


@contextmanager
def _broken(file: Path, one: Mutation) -> Iterator[None]:
    text = file.read_text(encoding="utf-8")
    file.write_text(one.make(text), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def _failing(copy: Path, tests: Iterable[str], *options: str) -> str:
    """What pytest prints where a test fails; empty where all pass."""
    files = [f"tests/{test}" for test in tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *options, *files]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"FAILED {files[0]}::no_end_within_{LONGEST:.0f}_seconds"
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _first(output: str) -> str:
    found = FAILED.search(output)
    return found[1].removeprefix("tests/") if found else output.strip().splitlines()[-1]


def _copy(place: Path) -> Path:
    place.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", "images")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=leave_out)
        else:
            shutil.copy(source, place / name)
    return place


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _show(fates: Sequence[Fate]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("broken", "where", "noticed by"):
        table.add_column(title, no_wrap=True)
    family = ""
    for fate in fates:
        said, family = ("" if fate.mutation.family == family else fate.mutation.family), fate.mutation.family
        noticed = escape(fate.noticed_by) if fate.noticed_by else "[bold red]nobody[/bold red]"
        table.add_row(said, fate.mutation.name, noticed)
    Console(width=WIDTH).print(table)
    alive = sum(fate.noticed_by is None for fate in fates)
    print(f"\n{len(fates)} mutants, {len(fates) - alive} noticed, {alive} not")


if __name__ == "__main__":
    sys.exit(main())

"""Writes the tables of docs/reliability.md anew, from what small runs really print: python docs/reliability.py

--check only says whether the page is as it would be written, by its exit code.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "COLUMNS": "110"}

import importlib
import json
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import killing  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from accord.cli import main  # noqa: E402
from accord.training.optimizer import Weights  # noqa: E402
from accord.training.preferences import PairObjective  # noqa: E402
from accord.training.run import RunFolder  # noqa: E402

WARM = ("accord.stages.prefer", "accord.stages.runs", "accord.stages.verify", "matplotlib.pyplot")  # before a fork
PAGE = HERE / "reliability.md"
RUN: dict[str, Any] = {
    "model": "tuned", "data": "prefs.jsonl", "output_dir": "run", "report_to": "none", "batch_size": 4, "samples": 0,
    "max_steps": 12, "save_steps": 3, "logging_steps": 100, "warmup_steps": 0, "learning_rate": 0.001,
}  # fmt: skip
SAID = re.compile(r"^(error|warning|note|changed|resuming|no checkpoint|nothing to resume|SIG|their texts)|by itself$")
# What is not the same from machine to machine, or from day to day.
VARIES = {
    rf"\b{re.escape(socket.gethostname())}\b": "node7", r"process \d+": "process 4711", r"boot \w+": "boot 59783700",
    r"\d+ bytes needed": "422255 bytes needed", r"\d+ free": "100000 free",
    r"started \d{4}-\d\d-\d\d \d\d:\d\d": "started 2026-05-04 10:21",
}  # fmt: skip


def nothing() -> None:
    """Nothing is done to the process."""


def at_step(number: int, do: Callable[[], object]) -> Callable[[], None]:
    """Does something after that step of the process."""

    def patch() -> None:
        step, steps = Weights.step, []

        def counted(self: Weights, lr: float) -> None:
            step(self, lr)
            steps.append(lr)
            if len(steps) == number:
                do()

        Weights.step = counted  # type: ignore[method-assign]

    return patch


def send(*numbers: int) -> Callable[[], None]:
    """These signals to itself."""
    return lambda: [os.kill(os.getpid(), number) for number in numbers] and None


def die_in_save(step: int) -> Callable[[], None]:
    """SIGKILL when all of that checkpoint is written, and it is to get its name."""

    def patch() -> None:
        rename = os.rename

        def killed(source: Any, target: Any) -> None:
            if str(target).endswith(f"step-{step:08d}"):
                send(signal.SIGKILL)()
            rename(source, target)

        os.rename = killed  # type: ignore[assignment]

    return patch


def no_room() -> None:
    """From now on no file of this process may have more bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))


def full_disk() -> None:
    usage = shutil.disk_usage

    def small(path: Any) -> Any:
        return usage(path)._replace(free=100_000)

    shutil.disk_usage = small


def little_memory() -> None:
    """A machine on which no micro-batch fits."""

    def fails(*given: Any, **more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    PairObjective.__call__ = fails  # type: ignore[method-assign]


class Case(NamedTuple):
    """before: runs and damage that come first. patch: what is done to the process. words: the command line."""

    fault: str
    options: Mapping[str, Any] = MappingProxyType({})
    patch: Callable[[], None] = nothing
    before: Sequence[Callable[[], object]] = ()
    command: str = "dpo"
    lines: int = 4  # of what is said that the page shows


def stop() -> None:
    """A run that is stopped after step 7."""
    said("dpo", RUN, at_step(7, send(signal.SIGTERM)))


def stopped() -> None:
    """A run that was stopped after step 7: the same for all."""
    shutil.copytree("../stopped/run", "run")


def hold() -> RunFolder:
    """Another process that trains in it; until the folder is let go of."""
    folder = RunFolder("run")
    folder.claim("dpo", resume=True)
    return folder


def flip(name: str) -> Callable[[], object]:
    """One bit of every such file."""

    def harm() -> None:
        for path in Path().glob(name):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)

    return harm


def turn_round() -> None:
    """The same name, other content."""
    path = Path("prefs.jsonl")
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


RESUMED = {"resume": True}
CASES = (
    Case("Killed (`kill -9`, a crash, no memory left) while step 9 was being saved; then `--resume`", RESUMED,
         before=[lambda: said("dpo", RUN, die_in_save(9))]),
    Case("Killed before the first checkpoint; then `--resume`", RESUMED,
         before=[lambda: said("dpo", RUN, at_step(2, send(signal.SIGKILL)))]),
    Case("SIGTERM, as from a scheduler, or Ctrl-C (SIGINT, exit code 130), within step 5", {},
         at_step(5, send(signal.SIGTERM))),
    Case("The same twice", {}, at_step(5, send(signal.SIGTERM, signal.SIGTERM))),
    Case("A bit of the newest checkpoint has flipped; then `--resume`", RESUMED,
         before=[stopped, flip("run/checkpoints/step-00000007/weights.safetensors")]),
    Case("No checkpoint is whole", RESUMED, before=[stopped, flip("run/checkpoints/*/optimizer.safetensors")]),
    Case("A bit of a model that Accord wrote has flipped", {"model": "base", "max_steps": 1},
         before=[lambda: said("dpo", RUN | {"max_steps": 1, "output_dir": "base"}), flip("base/model.safetensors")]),
    Case("No room on the disk for a checkpoint", {}, at_step(5, full_disk)),
    Case("No file may grow so large (`ulimit -f`)", {}, at_step(5, no_room)),
    Case("`--resume` with other options", RESUMED | {"learning_rate": 0.0001, "beta": 0.5}, before=[stopped]),
    Case("The same with `--allow_change learning_rate,beta`",
         RESUMED | {"learning_rate": 0.0001, "beta": 0.5, "allow_change": "learning_rate,beta"}, before=[stopped]),
    Case("`--resume` with more steps, where the learning rates depend on their number", RESUMED | {"max_steps": 24},
         before=[stopped]),
    Case("`--resume`, and the file of data has changed", RESUMED, before=[stopped, turn_round]),
    Case("`--resume` on another machine, with other versions, with more threads", RESUMED | {"threads": 2},
         before=[stopped]),
    Case("An `output_dir` that holds a run, without `--resume`", {}, before=[stopped]),
    Case("An `output_dir` in which another process trains", RESUMED,
         before=[stopped, hold]),
    Case("A loss or gradient that is not finite", {"learning_rate": 1e30}, lines=6),
    Case("A gradient of exactly 0 for 20 steps", {"loss_type": "hinge", "beta": 100, "max_steps": 60}, lines=6),
    Case("Too little memory for the longest group", {}, little_memory),
)  # fmt: skip


def said(command: str, options: Mapping[str, Any], patch: Callable[[], None] = nothing) -> tuple[int, list[str]]:
    """What one command line ends with, in a process of its own, and says."""
    words = [command, *(f"--{key}={str(value).lower() if value is True else value}" for key, value in options.items())]

    def begin() -> int:
        patch()
        return main(words)

    log = Path("log.txt")
    log.unlink(missing_ok=True)
    ended = killing.run(begin, Path("run"), log)
    return ended.code, log.read_text(encoding="utf-8").splitlines()


@contextmanager
def workplaces() -> Iterator[None]:
    """An empty folder as the present one; `fresh` makes another beside it. All have one cache."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as root:
        os.environ["ACCORD_CACHE"] = f"{root}/cache"
        template = Path(root, "template")
        tiny.write_model(template / "tuned")
        (template / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.comparisons(16)))
        os.chdir(template)
        try:
            fresh("stopped")
            stop()
            yield
        finally:
            os.chdir(before)


def fresh(name: str = "work") -> None:
    """A folder with a model and data, and nothing else, is the present one: names are short."""
    os.chdir("../template")
    shutil.rmtree(f"../{name}", ignore_errors=True)
    shutil.copytree(".", f"../{name}")
    os.chdir(f"../{name}")


def steady(text: str) -> str:
    for pattern, word in VARIES.items():
        text = re.sub(pattern, word, text)
    return text


def row(case: Case) -> str:
    """One fault: what is said of it, and the exit code."""
    fresh()
    held = [do() for do in case.before]
    code, lines = said(case.command, {**RUN, **case.options}, case.patch)
    del held
    shown = [f"``{steady(line.strip())}``" for line in lines if SAID.search(line)][-case.lines :]
    return f"| {case.fault} | {'<br>'.join(shown)} | {code} |"


def faults() -> str:
    """The table."""
    return "\n".join(["| what happens | what you see | exit code |", "|---|---|---|", *map(row, CASES)]) + "\n"


def fenced(lines: Sequence[str]) -> str:
    return "\n".join(["```", *(steady(line.rstrip()) for line in lines), "```"]) + "\n"


def listed() -> str:
    """`accord runs` and `accord verify`, of a run that was stopped and damaged."""
    fresh()
    stop()
    runs = said("runs", {})[1]
    flip("run/checkpoints/step-00000007/weights.safetensors")()
    verified = said("verify", {"directory": "run"})[1]
    verified = [re.sub(r"[\d.]+ .?B in [\d.]+ s", "866 kB in 0.0 s", line) for line in verified]
    runs = [re.sub(r"\d+ s( +)", r"2 h\1", re.sub(r"[\d.]+ kB", "867 kB", line)) for line in runs]
    return fenced(["$ accord runs", *runs, "$ accord verify run", *verified])


SECTIONS: dict[str, Callable[[], str]] = {"faults": faults, "listed": listed}


def renewed(text: str) -> str:
    """The page with its sections as they are now."""
    for module in WARM:
        importlib.import_module(module)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    with workplaces():
        for name, make in SECTIONS.items():
            begin, end = f"<!-- {name}: python docs/reliability.py -->\n", f"<!-- end of {name} -->\n"
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = renewed(old)
    if "--check" in sys.argv:
        sys.exit(new != old)
    PAGE.write_text(new, encoding="utf-8")

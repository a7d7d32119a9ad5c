"""`accord verify`: whether what Accord wrote still has the bytes that were written.

Nothing is changed, and a run that goes on is not disturbed: what it removes meanwhile is no damage.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from accord.errors import InputError, IntegrityError
from accord.stages.config import VerifyConfig
from accord.stages.tables import sized, visible, written
from accord.stages.things import KEPT_REFERENCE, KEPT_TOKENS, STEP, Thing, things, why

MADE_AGAIN = {"checkpoint", "model", "reference"}  # what a run that is resumed writes anew
TICK = 0.2  # seconds between two states of the bar
TELLING = 100_000_000  # bytes from which on a rate is one of reading, and not of starting


@dataclass(frozen=True)
class Verified:
    """What was found. things: kind, path, bytes, damage (a text a file, empty where all is whole).

    resumes: run, and checkpoint that --resume would take there, or None.
    """

    directory: Path
    things: list[dict[str, Any]]
    resumes: list[dict[str, Any]]
    seconds: float

    @property
    def bytes(self) -> int:
        return sum(thing["bytes"] for thing in self.things)

    @property
    def damaged(self) -> int:
        """How many of the things."""
        return sum(bool(thing["damage"]) for thing in self.things)

    @property
    def exit_code(self) -> int:
        return IntegrityError.code if self.damaged else 0

    def to_json(self) -> dict[str, Any]:
        own = {"things": self.things, "resumes": self.resumes, "damaged": self.damaged}
        return {**own, "bytes": self.bytes, "seconds": self.seconds, "exit_code": self.exit_code}


class Result(NamedTuple):
    """A thing, and what is wrong with it: a text a file."""

    thing: Thing
    damage: list[str]


def run(config: VerifyConfig, given: Mapping[str, object]) -> Verified:
    """Prints a line a thing and how all went; on standard error, where something is damaged, the line of a failure.

    InputError where nothing can be verified.
    """
    directory = Path(config.verify.directory)
    if not directory.is_dir():
        what = "is a file" if directory.is_file() else "no such directory"
        raise InputError(
            what, where=str(directory), fix="name the directory of a run, a checkpoint, a model or a cache"
        )
    found = list(things(directory))
    if not found:
        what = "nothing here or below that Accord wrote with hashes"
        fix = "name a run, a checkpoint, a model that Accord wrote, or a cache"
        raise InputError(what, where=str(directory), fix=fix)
    began = time.monotonic()
    results = [one for one in checked(found) if one.damage or one.thing.path.exists()]
    verified = Verified(
        directory, [_row(one) for one in results], list(_resumes(results)), max(time.monotonic() - began, 1e-9)
    )
    if not written(verified.to_json(), config.table.json):
        _print(verified)
    if verified.damaged:
        what = f"{verified.damaged} of {len(verified.things)} damaged"
        error = IntegrityError(what, where=str(directory), fix=_fix(verified))
        print(f"error[{verified.exit_code}] {error}", file=sys.stderr)
    return verified


def checked(found: Sequence[Thing]) -> list[Result]:
    """Every file of every thing is read once, several beside each other, the largest first."""
    read = [0]

    def told(count: int) -> None:
        read[0] += count

    checks = sorted((check for thing in found for check in thing.checks), key=lambda check: -check.size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = {check.path: pool.submit(check.holds, told) for check in checks}
        _watch(list(running.values()), sum(check.size for check in checks), lambda: read[0])
    return [Result(thing, [*thing.wrong, *_failed(thing, running)]) for thing in found]


def _failed(thing: Thing, running: Mapping[Path, Future[object]]) -> Iterator[str]:
    for check in thing.checks:
        error = running[check.path].exception()
        if isinstance(error, IntegrityError | OSError):
            if thing.path.exists():  # else a run that goes on has removed it
                yield why(error, thing.path if thing.path.is_dir() else thing.path.parent)
        elif error is not None:
            raise error


def _watch(running: Sequence[Future[object]], total: int, read: Callable[[], int]) -> None:
    """A bar on a terminal until all is done: how much, how fast, how long still."""
    console = Console(stderr=True)
    columns = (
        TextColumn("verifying", table_column=Column(no_wrap=True)),
        BarColumn(table_column=Column(max_width=40)),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal or console.is_dumb_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=total)
        while wait(running, timeout=TICK).not_done:
            bar.update(task, completed=read())


def _row(one: Result) -> dict[str, Any]:
    return {"kind": one.thing.kind, "path": str(one.thing.path), "bytes": one.thing.size, "damage": one.damage}


def _resumes(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """Of every run: the newest checkpoint of its own that is whole."""
    for one in results:
        if one.thing.kind == "run":
            place = one.thing.path / "checkpoints"
            whole = [
                other.thing.path
                for other in results
                if other.thing.kind == "checkpoint" and other.thing.path.parent == place and not other.damage
            ]
            newest = max(whole, key=_order, default=None)
            yield {"run": str(one.thing.path), "checkpoint": newest and str(newest)}


def _order(path: Path) -> tuple[int, int]:
    """Step and revision of a checkpoint."""
    match = STEP.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)


def _fix(verified: Verified) -> str:
    kinds = {thing["kind"] for thing in verified.things if thing["damage"]}
    if kinds <= {KEPT_TOKENS, KEPT_REFERENCE}:
        return "nothing to do: what a cache has damaged is computed anew"
    if kinds == {"checkpoint"} and verified.resumes and all(one["checkpoint"] for one in verified.resumes):
        return "resume: it goes on from the newest one that is whole"
    if kinds <= MADE_AGAIN and all(
        _made_again(thing["path"], verified) for thing in verified.things if thing["damage"]
    ):
        return "resume: a whole checkpoint is there, and what is damaged is made again from it"
    return "bring back a copy, or train anew"


def _made_again(path: str, verified: Verified) -> bool:
    """Whether it lies in a run that has a whole checkpoint."""
    return any(one["checkpoint"] and Path(path).is_relative_to(one["run"]) for one in verified.resumes)


def _print(verified: Verified) -> None:
    for thing in verified.things:
        state = "damaged" if thing["damage"] else "ok"
        print(visible(f"{state:8} {thing['kind']:14} {thing['path']}"))
        for one in thing["damage"]:
            print(visible(f"           {one}"))
    for resume in verified.resumes:
        taken = resume["checkpoint"]
        found = f"takes {Path(taken).name}" if taken else "finds no checkpoint"
        print(visible(f"--resume in {resume['run']} {found}"))
    how = f"{sized(verified.bytes)} in {verified.seconds:.1f} s"
    if verified.bytes > TELLING:
        how += f", {sized(verified.bytes / verified.seconds)}/s"
    print(f"{len(verified.things)} verified, {verified.damaged} damaged ({how})")

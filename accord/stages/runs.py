"""`accord runs`: the runs in and below a directory, how each stands, and what to type to go on with it.

Only what the run folders say of themselves is read, so that a thousand take a second; nothing is hashed.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from accord.errors import InputError
from accord.stages.commands import COMMANDS
from accord.stages.config import RunsConfig
from accord.stages.resolve import OBJECT
from accord.stages.tables import show, sized, visible, written
from accord.training.lock import held_by

DEPTH = 5  # folders below the directory given: runs/sweep/values of a run, and room above
# What a run folder has besides runs.
OWN = {"checkpoints", "best", "tensorboard"}
BLOCK = 1 << 16  # bytes of metrics.jsonl read at once, from its end
GOES_ON = ("waiting", "stopped", "failed", "killed")
DIVERGED = 3  # the exit code
STEP = re.compile(r"step-(\d+)(?:\.\d+)?")


class Again(NamedTuple):
    """How a run is continued: what to type, or why nothing can be."""

    command: str | None
    note: str | None = None


def run(config: RunsConfig, given: Mapping[str, object]) -> list[dict[str, Any]]:
    """Prints the table, the run that began last at its end, and gives its rows. InputError where there is no run."""
    directory = Path(config.runs.directory)
    if not directory.is_dir():
        raise InputError("no such directory", where=str(directory), fix="name one that runs are in, or below")
    rows = sorted(map(row_of, folders(directory)), key=lambda row: row["started"] or 0.0)
    if not rows:
        what = "no run here or below"
        raise InputError(what, where=str(directory), fix="name the directory of --output_dir, or one above it")
    if written(rows, config.table.json):
        return rows
    show([_shown(row, directory) for row in rows], title=f"{len(rows)} run{'s' * (len(rows) > 1)} in {directory}")
    for row in rows:
        for line in _below(row):
            print(visible(line))
    return rows


def folders(directory: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Every run folder at or below a directory. Links and hidden directories are left out."""
    try:
        with os.scandir(directory) as entries:
            found = sorted((entry for entry in entries), key=lambda entry: entry.name)
    except OSError:  # another user's, or gone meanwhile
        return
    is_run = any(entry.name == "run.json" and entry.is_file(follow_symlinks=False) for entry in found)
    if is_run:
        yield directory
    for entry in found:
        inner = entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        if inner and depth > 0 and not (is_run and entry.name in OWN):
            yield from folders(Path(entry.path), depth - 1)


def row_of(folder: Path) -> dict[str, Any]:
    """All that is said of a run, as for --json: times in seconds since 1970, sizes in bytes; None: not known."""
    about, damage = _about(folder)
    ended = _mapping(about.get("ended"))
    state, why = _state(folder, ended, damage)
    last = _last_figures(folder / "metrics.jsonl")
    checkpoint = max(_checkpoints(folder), default=None)
    steps = [step for step in (ended.get("step"), last["step"], checkpoint) if isinstance(step, int)]
    size, changed = _extent(folder)
    again = _again(folder, about, ended) if state in GOES_ON else Again(None)
    return {
        "run": str(folder),
        "command": about.get("command"),
        "state": state,
        "why": why,
        "code": ended.get("code"),
        "step": max(steps, default=0),
        "total": about.get("total"),
        "checkpoint": checkpoint,
        "loss": last["loss"],
        "eval_loss": last["eval_loss"],
        "started": _number(about.get("started")),
        "changed": changed,
        "bytes": size,
        "resume": again.command,
        "note": again.note,
    }


def _about(folder: Path) -> tuple[dict[str, Any], str | None]:
    """What run.json says, and what is wrong with it."""
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        known = isinstance(about, dict) and isinstance(about.get("command"), str) and about["command"] in COMMANDS
        if not known or not isinstance(about.get("id"), str):
            raise ValueError("not what Accord writes")
        return about, None
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"run.json cannot be read: {error}"


def _state(folder: Path, ended: Mapping[str, Any], damage: str | None) -> tuple[str, str | None]:
    """running, finished, waiting, stopped, failed, killed or damaged; and why."""
    if (process := held_by(folder)) is not None:
        return "running", process
    if damage is not None:
        return "damaged", damage
    if ended.get("state") in ("finished", "waiting", "stopped", "failed"):
        return ended["state"], ended.get("error")
    return "killed", f"no end was recorded ({_last_holder(folder)})"


def _last_holder(folder: Path) -> str:
    place = folder / "run.lock"
    with suppress(OSError, ValueError):
        if place.is_file() and (text := place.read_text(encoding="utf-8").strip()):
            return text
    return "no process is named"


def _last_figures(metrics: Path) -> dict[str, Any]:
    """The last step, loss and held-out loss of metrics.jsonl, each None where there is none."""
    found: dict[str, Any] = {"step": None, "loss": None, "eval_loss": None}
    missing = {key: f'"{key}":'.encode() for key in found}
    for text in _backwards(metrics):
        if not any(name in text for name in missing.values()):
            continue
        try:
            line = json.loads(text)
            new = {key: line[key] for key in missing if key in line}
        except (ValueError, TypeError, RecursionError):  # damaged: `accord verify` says so
            continue
        found |= new
        missing = {key: name for key, name in missing.items() if key not in new}
        if not missing:
            break
    return found


def _backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, the last one first, read in blocks from its end."""
    if not path.is_file():  # a pipe would be waited for
        return
    try:
        with path.open("rb") as file:
            place, rest = file.seek(0, os.SEEK_END), b""
            whole = False  # what follows the last line break is half a line
            while place > 0:
                start = max(0, place - BLOCK)
                file.seek(start)
                rest, *lines = (file.read(place - start) + rest).split(b"\n")
                place = start
                yield from reversed(lines if whole else lines[:-1])
                whole = whole or bool(lines)
            if whole:
                yield rest
    except OSError:
        return


def _checkpoints(folder: Path) -> Iterator[int]:
    """Steps of the checkpoints, by their names."""
    try:
        names = os.listdir(folder / "checkpoints")
    except OSError:
        return
    for name in names:
        if match := STEP.fullmatch(name):
            yield int(match[1])


def _extent(folder: Path) -> tuple[int, float]:
    """Bytes of all files below a folder, links not followed, and when one was last written."""
    size, changed, left = 0, 0.0, [folder]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(Path(entry.path))
                        continue
                    held = entry.stat(follow_symlinks=False)
                    size += held.st_size
                    changed = max(changed, held.st_mtime)
        except OSError:  # rotated away meanwhile
            continue
    return size, changed


def _again(folder: Path, about: Mapping[str, Any], ended: Mapping[str, Any]) -> Again:
    """What continues a run from the directory that we are in. Its paths are those of where it was begun."""
    options = folder / "run.yaml"
    try:
        if not options.is_file():  # a pipe would be waited for
            raise FileNotFoundError
        lines = options.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return Again(None, "it has no run.yaml: it ended before its first step, and can be begun anew")
    objects = [line.removesuffix(f": {OBJECT}") for line in lines if line.endswith(f": {OBJECT}")]
    if objects:
        note = f"begun from Python with objects ({', '.join(objects)}): call accord.{about['command']} with the same"
        return Again(None, f"{note} and resume=True")
    home = about.get("directory")
    home = home if isinstance(home, str) else os.getcwd()
    if not Path(home).is_dir():
        return Again(None, f"its paths are those of {home}, which is gone")
    moves = Path(home).resolve() != Path.cwd().resolve()
    shown = str(folder.resolve() if moves else folder)
    words = ["accord", str(about["command"]), "--config", f"{shown}/run.yaml", "--resume"]
    if Path(home, _output(lines)).resolve() != folder.resolve():  # it was moved
        words += ["--output_dir", shown]
    command = shlex.join(words)
    diverges = ended.get("code") == DIVERGED
    warning = "the same steps come to the same end, unless an option is another: --allow_change KEY --KEY VALUE"
    return Again(f"cd {shlex.quote(home)} && {command}" if moves else command, warning if diverges else None)


def _output(lines: list[str]) -> str:
    """output_dir of a run.yaml: we write one option a line, and the file as a whole takes long to parse."""
    try:
        line = next(line for line in lines if line.startswith("output_dir: "))
        return str(yaml.safe_load(line)["output_dir"])
    except (StopIteration, yaml.YAMLError, TypeError, KeyError, RecursionError):
        return ""


def _shown(row: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """The row as a terminal can hold it."""
    name = os.path.relpath(row["run"], directory)
    return {
        "run": name if name != "." else row["run"],
        "command": row["command"] or "?",
        "state": row["state"] + (f" ({row['code']})" if row["code"] else ""),
        "step": f"{row['step']}/{row['total'] or '?'}",
        "loss": _figure(row["loss"]),
        "held-out": _figure(row["eval_loss"]),
        "age": _age(time.time() - row["changed"]),
        "size": sized(row["bytes"]),
    }


def _below(row: Mapping[str, Any]) -> Iterator[str]:
    """The lines under the table that a run has: why it is as it is, and what to type."""
    if row["state"] in ("finished", "running"):
        return
    yield f"{row['run']}: {row['state']}" + (f": {row['why']}" if row["why"] else "")
    if row["note"]:
        yield f"  # {row['note']}"
    if row["resume"]:
        yield f"  {row['resume']}"


def _figure(value: object) -> str:
    number = _number(value)
    return "" if number is None else f"{number:.4f}"


def _number(value: object) -> float | None:
    """A number as one, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _age(seconds: float) -> str:
    """Since something was last written: 12 s, 5 min, 3 h, 9 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

"""What `accord verify` can verify: found in and below a directory, each thing with the checks that it has to pass."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from accord.data import token_cache
from accord.errors import IntegrityError
from accord.models import manifest
from accord.training.lock import held_by

DEPTH = 6  # folders below the directory given
LINES = ("metrics.jsonl", "samples.jsonl")
OBJECTS = ("run.json", "data_report.json", "trackers.json", "summary.json", "diverged.json")
REFERENCE = "reference.safetensors"
STEP = re.compile(r"step-(\d{8,})(?:\.(\d+))?")  # as accord.training.checkpoint has it, which imports torch
KEY = re.compile("[0-9a-f]{64}")  # of a model or of data, in the cache
KEPT_TOKENS, KEPT_REFERENCE = "kept tokens", "kept reference"
FIX = "bring back a copy"

Told = Callable[[int], None]  # gets how many bytes more were read
ONE_AT_A_TIME = threading.Lock()  # a sealed file is read whole, and hashed in threads of its own


class Check(NamedTuple):
    """One file. `holds` raises IntegrityError, ValueError or OSError where it is not what was written."""

    path: Path
    size: int  # bytes
    holds: Callable[[Told], object]


class Thing(NamedTuple):
    """Something that was written as a whole. wrong: what a first look has found, a text a file.

    kind: run, model, checkpoint, best weights, reference; of a cache: kept reference, kept tokens.
    """

    kind: str
    path: Path
    checks: tuple[Check, ...] = ()
    wrong: tuple[str, ...] = ()
    run: str | None = None  # a checkpoint's

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(check.size for check in self.checks)


def things(directory: Path, depth: int = DEPTH) -> Iterator[Thing]:
    """All things at or below a directory; links and hidden directories are left out.

    Of a run that goes on its model is left out: it is being written.
    """
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # another user's, or gone meanwhile
        return
    names = {entry.name for entry in found if entry.is_file(follow_symlinks=False)}
    yield from _of(directory, names, directory.absolute())
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and depth > 0:
            yield from things(Path(entry.path), depth - 1)


def _of(directory: Path, names: set[str], named: Path) -> Iterator[Thing]:
    """The things that lie in a directory itself. named: the same directory with its own name, and its parent's."""
    if STEP.fullmatch(named.name):
        yield _step(directory, named)
        return
    is_run = "run.json" in names
    if is_run:
        yield _run(directory, names)
    if manifest.NAME in names and not (is_run and held_by(directory)):
        yield _written("model", directory)
    elif is_run and "summary.json" in names and not held_by(directory):
        yield Thing("model", directory, wrong=(f"{manifest.NAME}: missing",))
    kept = named.parent.name if KEY.fullmatch(named.name) else None
    if kept == "tokens":
        yield _tokens(directory)
    for name in sorted(names):
        if name == REFERENCE or (kept == "reference" and name.endswith(".safetensors")):
            path = directory / name
            kind = "reference" if kept is None else KEPT_REFERENCE
            yield Thing(kind, path, (Check(path, _size(path), partial(_sealed, path)),))


def _step(directory: Path, named: Path) -> Thing:
    found = _written("best weights" if named.parent.name == "best" else "checkpoint", directory, alone=True)
    with suppress(OSError, ValueError, KeyError, TypeError):  # of no run, or of one that is damaged itself
        run = json.loads((named.parents[1] / "run.json").read_text(encoding="utf-8"))["id"]
        if found.run not in (run, None):
            return found._replace(wrong=(*found.wrong, f"{manifest.NAME}: of another run"))
    return found


def _written(kind: str, directory: Path, *, alone: bool = False) -> Thing:
    """What a manifest speaks of. alone: nothing else may be there."""
    try:
        held = manifest.read(directory, fix=FIX)
        files: manifest.Entries = held["files"]
        more = {path.name for path in directory.iterdir()} - {manifest.NAME} - files.keys() if alone else ()
    except (IntegrityError, OSError) as error:
        return Thing(kind, directory, wrong=(why(error, directory),))
    wrong, checks = [f"{name}: not in the manifest" for name in sorted(more)], []
    for name, entry in files.items():
        path = directory / name
        try:
            manifest.check_sizes(directory, {name: entry}, fix=FIX)
            checks.append(Check(path, entry["bytes"], partial(_hashed, path, entry["sha256"])))
        except (IntegrityError, OSError) as error:
            wrong.append(why(error, directory))
    return Thing(kind, directory, tuple(checks), tuple(wrong), held.get("run"))


def _run(directory: Path, names: set[str]) -> Thing:
    """The files of a run that are no weights: JSON, lines of JSON, run.yaml."""
    reads: dict[str, Callable[[Path], object]] = dict.fromkeys(LINES, _json_lines)
    reads |= dict.fromkeys(OBJECTS, _json) | {"run.yaml": _yaml}
    paths = {directory / name: read for name, read in reads.items() if name in names}
    checks = [Check(path, _size(path), partial(_read, path, read)) for path, read in paths.items()]
    return Thing("run", directory, tuple(checks))


def _tokens(directory: Path) -> Thing:
    try:
        digests = token_cache.read_about(directory)["sha256"]
        paths = [(directory / name, digest) for name, digest in digests.items()]
        checks = [Check(path, path.stat().st_size, partial(_hashed, path, digest)) for path, digest in paths]
    except OSError as error:
        return Thing(KEPT_TOKENS, directory, wrong=(why(error, directory),))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Thing(KEPT_TOKENS, directory, wrong=(f"{token_cache.ABOUT}: not what was written",))
    return Thing(KEPT_TOKENS, directory, tuple(checks))


def why(error: IntegrityError | OSError, directory: Path) -> str:
    """Which file of a thing, and what is wrong with it."""
    if isinstance(error, IntegrityError):
        return f"{os.path.relpath(error.where, directory)}: {error.what}"
    what = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror or error})"
    return f"{os.path.relpath(error.filename, directory)}: {what}" if error.filename else what


def _hashed(path: Path, digest: str, told: Told) -> None:
    with _Counted(path, told) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise IntegrityError("not the bytes that were written (sha256)", where=str(path), fix=FIX)


class _Counted(FileIO):
    """A file that tells what is read of it."""

    def __init__(self, path: Path, told: Told) -> None:
        super().__init__(path, "rb")
        self._told = told

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._told(count)
        return count


def _sealed(path: Path, told: Told) -> None:
    from accord.models import sealed  # here, not above: it imports torch, and most directories need none

    with ONE_AT_A_TIME:
        sealed.read(path)
    told(_size(path))


def _read(path: Path, read: Callable[[Path], object], told: Told) -> None:
    try:
        read(path)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not what was written ({error})", where=str(path), fix=FIX) from error
    told(_size(path))


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> None:
    """A killed process may leave half a line, which resuming removes: that is no damage."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.endswith(b"\n"):
                    json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON") from error


def _yaml(path: Path) -> None:
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error
    if not isinstance(held, dict):
        raise ValueError("no options in it")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0

"""Checkpoints that are there whole or not at all: written aside, verified, renamed.

    DIRECTORY/step-00000010/weights.safetensors ... state.json MANIFEST.json

The manifest is written last; it names every other file with its size and sha256. A checkpoint counts only under its
final name and with a manifest that holds. Nothing is ever overwritten and nothing is pickled.
"""

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from accord.errors import IntegrityError, StorageError
from accord.models import manifest
from accord.models.tensor_file import write_tensors
from accord.models.writing import check_room, free, sync, told, write_bytes

Files = Mapping[str, Mapping[str, Tensor]]

STATE = "state.json"
# A step that is saved again (its checkpoint was damaged, or the run went back) gets a revision: step-00000010.1
NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose hashes held when it was opened. Tensors are read file by file, when asked for."""

    path: Path
    step: int
    run: str
    state: dict[str, Any]
    files: tuple[str, ...]  # names of the tensor files, without suffix
    about: dict[str, Any] = field(default_factory=dict)  # what else its manifest says

    def tensors(self, file: str) -> dict[str, Tensor]:
        """name -> tensor of one of `files`."""
        return load_file(self.path / f"{file}.safetensors")


class Skipped(NamedTuple):
    """A checkpoint that does not verify, and why."""

    path: Path
    reason: str


class Newest(NamedTuple):
    """The newest checkpoint that verifies, None where there is none at all, and the newer ones that do not."""

    checkpoint: Checkpoint | None
    skipped: tuple[Skipped, ...]


def save(
    directory: Path,
    step: int,
    tensors: Files,
    state: Mapping[str, Any],
    *,
    run: str,
    keep: int | None = 2,
    about: Mapping[str, Any] | None = None,
    counts_on: Iterable[Path] = (),
) -> Path:
    """Writes a checkpoint and gives its path: after this it survives a kill and a power cut.

    tensors: file name without suffix -> name -> tensor. state, about: what JSON can hold; `about` is in the manifest.
    run: the run's id. counts_on: files elsewhere that the state speaks of; those that are there are on the disk before
    the checkpoint counts. Afterwards the newest `keep` (at least 2) stay; older ones, and ones of later steps that the
    run has gone back behind, are removed; None: nothing is. StorageError where the disk is full or not writable: what
    was there before is untouched.
    """
    data = json.dumps(state).encode()  # with NaN and Infinity: a figure that is one is no reason to lose the rest
    # Compared as text, in which a NaN equals itself.
    assert repr(json.loads(data)) == repr(state), (
        "JSON does not give this state back (tuples? keys that are no strings?)"
    )
    aside = directory / f".tmp-{step:08d}-{uuid.uuid4().hex}"
    with _storage(directory, aside, needed=len(data) + size_of(tensors)):
        aside.mkdir(parents=True)
        written = {
            f"{name}.safetensors": write_tensors(aside / f"{name}.safetensors", tensors[name]) for name in tensors
        }
        written[STATE] = write_bytes(aside / STATE, data)
        manifest.seal(aside, written, {"run": run, "step": step, "about": dict(about or {})})
        sync(aside)
        load(aside)
        _sync_all(counts_on)
        path = _final(directory, step)
        os.rename(aside, path)
        sync(directory)
    if keep is not None:
        _rotate(directory, path, max(keep, 2))
    return path


def size_of(tensors: Files) -> int:
    """Bytes of all the tensors."""
    return sum(tensor.nbytes for named in tensors.values() for tensor in named.values())


def load(path: Path) -> Checkpoint:
    """Opens a checkpoint after checking its file set, sizes and hashes. IntegrityError names what is wrong."""
    try:
        held = _manifest(path)
        _check_files(path, held["files"])
        manifest.check_bytes(path, held["files"], fix=OTHER)
        state = json.loads((path / STATE).read_text())
        named = NAME.fullmatch(path.name)
        if named is not None and int(named[1]) != held["step"]:
            raise IntegrityError(f"holds step {held['step']}, and not what its name says", where=str(path), fix=OTHER)
    except OSError as error:
        raise IntegrityError(f"cannot be read: {error}", where=str(path), fix=OTHER) from error
    files = tuple(sorted(name.removesuffix(".safetensors") for name in held["files"] if name != STATE))
    return Checkpoint(path, held["step"], held["run"], state, files, held.get("about", {}))


def newest(directory: Path) -> Newest:
    """The newest checkpoint that verifies. Say `skipped` to the user: those are newer and damaged.

    IntegrityError where there are checkpoints and none verifies: starting anew would hide that they are lost.
    """
    skipped: list[Skipped] = []
    for path in reversed(_ordered(directory)):
        try:
            return Newest(load(path), tuple(skipped))
        except IntegrityError as error:
            skipped.append(Skipped(path, f"{error.where}: {error.what}"))
    if skipped:
        raise IntegrityError(
            f"none of {len(skipped)} checkpoints verifies, the newest because of {skipped[0].reason}",
            where=str(directory),
            fix="train anew in another directory, or bring back a copy",
        )
    return Newest(None, ())


def sweep(directory: Path) -> list[Path]:
    """Removes what killed saves left behind, and names it. Only for the process that owns the run."""
    left = sorted(directory.glob(".tmp-*"))
    for path in left:
        _discard(path)
    return left


OTHER = "resume from another checkpoint"
# What helps where more room does not.
WAYS = {
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
}


@contextmanager
def _storage(directory: Path, aside: Path, *, needed: int) -> Iterator[None]:
    """A save of `needed` bytes: where it fails, nothing of it is left, and the error says what it needs."""
    try:
        check_room(directory, needed)
        yield
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        what = f"cannot save a checkpoint ({told(error)}): {needed} bytes needed, {free(directory)} free"
        way = WAYS.get(error.errno or 0, "make room")
        fix = f"{way} and resume; the checkpoints before this one are untouched"
        raise StorageError(what, where=str(directory), fix=fix) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _sync_all(paths: Iterable[Path]) -> None:
    """Files that are there, and their names, onto the disk."""
    there = [path for path in paths if path.exists()]
    for path in (*there, *sorted({path.parent for path in there})):
        sync(path)


def _final(directory: Path, step: int) -> Path:
    plain = directory / f"step-{step:08d}"
    revisions = [
        match for path in _ordered(directory) if (match := NAME.fullmatch(path.name)) and int(match[1]) == step
    ]
    return plain if not revisions else directory / f"{plain.name}.{max(int(match[2] or 0) for match in revisions) + 1}"


def _rotate(directory: Path, latest: Path, keep: int) -> None:
    """Keeps `latest` and the newest whole ones before it, `keep` in all, one a step."""
    ordered = _ordered(directory)
    kept: dict[int, Path] = {}
    for path in reversed(ordered[: ordered.index(latest) + 1]):
        step = _place(path)[0]
        if len(kept) < keep and step not in kept and _is_whole(path):
            kept[step] = path
    for path in ordered:
        if path not in kept.values():
            _remove(path)


def _remove(path: Path) -> None:
    """First out of sight by a rename, so that a kill in between leaves no half of a checkpoint under a final name."""
    aside = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex}")
    with suppress(OSError):  # gone meanwhile, or not ours to move: the new one counts all the same
        os.rename(path, aside)
        _discard(aside)


def _discard(path: Path) -> None:
    """Of a link, or of a file that somebody put there, only that itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _ordered(directory: Path) -> list[Path]:
    """All that bear a checkpoint's name, oldest first."""
    named = [path for path in directory.glob("step-*") if NAME.fullmatch(path.name)]
    return sorted(named, key=_place)


def _place(path: Path) -> tuple[int, int]:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)


def _is_whole(path: Path) -> bool:
    try:
        _check_files(path, _manifest(path)["files"])
    except (IntegrityError, OSError):
        return False
    return True


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return manifest.read(path, fix=OTHER)
    except (FileNotFoundError, NotADirectoryError):
        what = "no manifest: this is no whole checkpoint"
        raise IntegrityError(what, where=str(path / manifest.NAME), fix=OTHER) from None


def _check_files(path: Path, files: manifest.Entries) -> None:
    """The set of files and their sizes; plain files only."""
    for name in sorted({file.name for file in path.iterdir()} - {manifest.NAME} - files.keys()):
        raise IntegrityError("not in the manifest", where=str(path / name), fix=OTHER)
    manifest.check_sizes(path, files, fix=OTHER)

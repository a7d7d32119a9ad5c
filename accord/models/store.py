"""Reference log-probabilities kept on disk by content, shared between runs.

    ROOT/reference/KEY/NAME.safetensors

KEY says who computed the values (`accord.models.identity`), a file holds those of some groups, found by a digest of
their tokens. A file is written once, in one move, under a name that nobody else has, and never changed: so any number
of processes may write and read at once. The time of a file is that of its last use.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import torch

from accord.data.room import make_room
from accord.errors import IntegrityError
from accord.models import sealed
from accord.models.reference import GroupLogprobs

KEY = re.compile("[0-9a-f]{64}")
DIGEST = 32  # bytes of a group's key
OVERHEAD = 4096  # bytes of a file that are no values, at most
ABANDONED = 86_400.0  # seconds after which a half-written file is taken for one whose writer is dead


class Entry(NamedTuple):
    """One file: values of some groups by one model. about: name, dtype and so on, for people."""

    path: Path
    about: Mapping[str, str]
    groups: int
    tokens: int
    size: int  # bytes
    used: float  # seconds since 1970

    @property
    def key(self) -> str:
        return self.path.parent.name


@dataclass(frozen=True)
class Store:
    """limit: bytes; when more is kept, what was longest not used goes. say: told of damage."""

    root: Path
    limit: int
    say: Callable[[str], None]

    def find(self, key: str, wanted: Collection[bytes]) -> dict[bytes, GroupLogprobs]:
        """Of the groups wanted, the values of those that are there. Damaged files are said and removed."""
        found: dict[bytes, GroupLogprobs] = {}
        left = set(wanted)
        for path in _files(self._place(key), ".safetensors"):
            try:
                if left and left.intersection(_groups(path)):
                    new = {group: values for group, values in _read(path, key) if group in left}
                    found.update(new)
                    left.difference_update(new)
                    with suppress(OSError):  # another's directory, which may be read and not written
                        os.utime(path)
            except FileNotFoundError:
                continue  # another process made room
            except (IntegrityError, KeyError) as error:
                why = error.what if isinstance(error, IntegrityError) else error
                self.say(f"note: a file of the cache is damaged, and its values are computed anew: {path}: {why}")
                with suppress(OSError):
                    path.unlink()
        return found

    def keep(self, key: str, about: Mapping[str, str], values: Mapping[bytes, GroupLogprobs]) -> None:
        """Adds a file with these groups' values, those that are finite. OSError where it cannot be written."""
        finite = {group: parts for group, parts in values.items() if all(bool(p.isfinite().all()) for p in parts)}
        if not finite:
            return
        completions = [part for parts in finite.values() for part in parts]
        tensors = {
            "group": torch.frombuffer(bytearray(b"".join(finite)), dtype=torch.uint8).view(-1, DIGEST),
            "completions": torch.tensor([len(parts) for parts in finite.values()]),
            "length": torch.tensor([len(part) for part in completions]),
            "token": torch.cat(completions) if completions else torch.zeros(0),
        }
        self.sweep()
        needed = OVERHEAD + sum(tensor.nbytes for tensor in tensors.values())
        make_room(self.root, needed, limit=self.limit, entries=self.entries(), remove=remove)
        place = self._place(key)
        for attempt in range(3):
            place.mkdir(parents=True, exist_ok=True)
            try:
                return sealed.write(place / f"{uuid.uuid4().hex}.safetensors", tensors, {**about, "key": key})
            except FileNotFoundError:  # another process removed the empty directory in between
                if attempt == 2:
                    raise

    def forget(self, key: str) -> None:
        """Removes all that one model has."""
        remove([entry for entry in self.entries() if entry.key == key])

    def entries(self) -> list[Entry]:
        """Every file, the one longest not used first. A damaged one has no groups."""
        paths = [path for place in self._places() for path in _files(place, ".safetensors")]
        return sorted(filter(None, map(_entry, paths)), key=attrgetter("used", "path"))

    def sweep(self) -> None:
        """Removes what killed writers left behind."""
        for path in [path for place in self._places() for path in _files(place, ".tmp")]:
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()

    def _places(self) -> list[Path]:
        return [place for place in _files(self.root / "reference", "") if KEY.fullmatch(place.name)]

    def _place(self, key: str) -> Path:
        return self.root / "reference" / key


def remove(entries: Sequence[Entry]) -> int:
    """Removes files, and directories that are empty then; gives the bytes. What another process removed is no error."""
    for entry in entries:
        entry.path.unlink(missing_ok=True)
    for place in {entry.path.parent for entry in entries}:
        with suppress(OSError):  # not empty
            place.rmdir()
    return sum(entry.size for entry in entries)


def _files(place: Path, suffix: str) -> list[Path]:
    """What is in a directory; nothing where another process removed it."""
    try:
        return sorted(place / name for name in os.listdir(place) if name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _groups(path: Path) -> list[bytes]:
    """Whose values a file says it has; not verified."""
    data = sealed.glance(path, "group").data
    return [data[start : start + DIGEST] for start in range(0, len(data), DIGEST)]


def _read(path: Path, key: str) -> Iterator[tuple[bytes, GroupLogprobs]]:
    held = sealed.read(path)
    if held.about.get("key") != key:
        raise IntegrityError("of another model", where=str(path), fix="remove it")
    data = held.tensors["group"].numpy().tobytes()
    parts = iter(held.tensors["token"].split(held.tensors["length"].tolist()))
    for place, count in enumerate(held.tensors["completions"].tolist()):
        yield data[place * DIGEST : (place + 1) * DIGEST], tuple(next(parts) for _ in range(count))


def _entry(path: Path) -> Entry | None:
    """None where another process removed it."""
    try:
        status = path.stat()
        seen = sealed.glance(path, "completions")
        groups, tokens = (seen.shapes[name][0] for name in ("group", "token"))
        return Entry(path, seen.about, groups, tokens, status.st_size, status.st_mtime)
    except FileNotFoundError:
        return None
    except (IntegrityError, KeyError, IndexError):
        return Entry(path, {"name": "damaged"}, 0, 0, status.st_size, status.st_mtime)

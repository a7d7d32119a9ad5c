"""Tokens of whole data sets kept on disk by content, shared between runs, and mapped rather than read.

    ROOT/tokens/KEY/{ids,said}.bin, columns.npz, about.json

KEY is a digest of everything that has a part in the tokens: the files' bytes, the tokenizer, its template, the options,
our own code. A directory is put in place in one move and never changed, so any number of processes may write and read
at once. The time of about.json is that of its last use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.room import make_room
from accord.data.table import Columns, Table

KEY = re.compile("[0-9a-f]{64}")
ABOUT, IDS, SAID, COLUMNS = "about.json", "ids.bin", "said.bin", "columns.npz"
ABANDONED = 86_400.0  # seconds after which a half-written directory is taken for one whose writer is dead


class Entry(NamedTuple):
    """One data set. about: its name, counts and data report."""

    path: Path
    about: Mapping[str, Any]
    size: int  # bytes
    used: float  # seconds since 1970

    @property
    def key(self) -> str:
        return self.path.name


class Found(NamedTuple):
    """What was kept of a data set: its tokens, mapped, and words about it."""

    table: Table
    about: Mapping[str, Any]


@dataclass(frozen=True)
class TokenCache:
    """limit: bytes; when more is kept, what was longest not used goes. say: told of damage and of full disks."""

    root: Path
    limit: int
    say: Callable[[str], None]

    def find(self, key: str) -> Found | None:
        """What is kept under a key. What is damaged is said, removed, and none."""
        place = self._place(key)
        try:
            about = read_about(place)
            damaged = [name for name, digest in about["sha256"].items() if file_digest(place / name) != digest]
            if not damaged:
                table = _opened(place)
                with suppress(OSError):  # another's directory, which may be read and not written
                    os.utime(place / ABOUT)
                return Found(table, about)
            why = f"{damaged[0]} is not what was written (sha256)"
        except FileNotFoundError:
            if not place.exists():  # not kept, or another process makes room
                return None
            why = "a file is missing"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error)
        self.say(f"note: kept tokens are damaged, and the data are tokenised anew: {place}: {why}")
        _discard(place)
        return None

    def keep(self, key: str, table: Table, about: Mapping[str, Any]) -> bool:
        """Whether the table is kept now. Where it cannot be written one note says why: nothing of it ends a run."""
        place = self._place(key)
        aside = place.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            self.sweep()
            needed = table.ids.nbytes + table.said.nbytes + sum(column.nbytes for column in table.columns)
            make_room(self.root, needed, limit=self.limit, entries=self.entries(), remove=remove)
            aside.mkdir(parents=True)
            _write(aside, table, about)
            with suppress(OSError):  # another process was first: its content is the same
                os.rename(aside, place)
            return True
        except OSError as error:
            what = f"note: the tokens are not kept for other runs: {self.root}: {error.strerror or error}"
            self.say(f"{what}: make room there, or give --token_cache DIR")
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Every data set, the one longest not used first."""
        return sorted(filter(None, map(_entry, self._places())), key=lambda entry: (entry.used, entry.path))

    def sweep(self) -> None:
        """Removes what killed writers left behind."""
        for path in _listed(self.root / "tokens"):
            with suppress(OSError):
                if path.suffix == ".tmp" and time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)

    def _places(self) -> Iterator[Path]:
        return (path for path in _listed(self.root / "tokens") if KEY.fullmatch(path.name))

    def _place(self, key: str) -> Path:
        return self.root / "tokens" / key


def remove(entries: list[Entry]) -> int:
    """Removes data sets; gives the bytes. A run that has one mapped keeps it until it ends."""
    for entry in entries:
        _discard(entry.path)
    return sum(entry.size for entry in entries)


def _discard(place: Path) -> None:
    """Out of its place in one move, too: half a directory would be in the way of the next one for ever."""
    aside = place.with_name(f".{uuid.uuid4().hex}.tmp")
    with suppress(OSError):  # another process was first, or it is another's
        os.rename(place, aside)
        os.utime(aside)  # not abandoned yet
    shutil.rmtree(aside, ignore_errors=True)


def read_about(place: Path) -> dict[str, Any]:
    """What about.json says: `sha256`, the digest of every other file by its name, and words about the data.

    ValueError, KeyError, TypeError or AttributeError where it is not what was written.
    """
    about: dict[str, Any] = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    if about.pop("seal") != _seal(about):
        raise ValueError(f"{ABOUT} is not what was written (sha256)")
    return about


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(place: Path) -> Table:
    with np.load(place / COLUMNS) as held:  # never pickles: numpy's own default
        columns = Columns(**{name: held[name] for name in Columns._fields})
    return Table(columns, _mapped(place / IDS, np.int32), _mapped(place / SAID, np.uint8))


def _mapped(path: Path, kind: type[np.int32] | type[np.uint8]) -> npt.NDArray[Any]:
    if not path.stat().st_size:
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=np.dtype(kind).newbyteorder("<"), mode="r")


def _write(place: Path, table: Table, about: Mapping[str, Any]) -> None:
    for name, values in ((IDS, table.ids), (SAID, table.said)):
        with (place / name).open("wb") as file:
            file.write(values.data)
    with (place / COLUMNS).open("wb") as file:
        np.savez(file, **table.columns._asdict())
    digests = {name: file_digest(place / name) for name in (IDS, SAID, COLUMNS)}
    whole = {**about, "sha256": digests}
    text = json.dumps({**whole, "seal": _seal(whole)}, ensure_ascii=False)
    (place / ABOUT).write_text(text, encoding="utf-8")


def _seal(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _listed(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(place: Path) -> Entry | None:
    """None where another process removed it, or where it is none."""
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in place.iterdir())
        return Entry(place, dict(about), size, (place / ABOUT).stat().st_mtime)
    except (OSError, ValueError, TypeError):
        return None

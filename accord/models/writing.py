"""Files that are written once: never over another, hashed on the way, on the disk when the call comes back."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PIECE = 4 << 20  # bytes of one write: hashed first, so that they are still in the processor's cache


class Written(NamedTuple):
    """What a file holds now."""

    bytes: int
    sha256: str  # 64 hexadecimal digits


def write_bytes(path: Path, data: bytes) -> Written:
    """A new file. OSError names it; FileExistsError where there is one already."""
    return write_pieces(path, [data])


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> Written:
    """As `write_bytes`, of bytes that come in parts; other threads go on while it hashes and writes."""
    digest, size = hashlib.sha256(), 0
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), PIECE):
                part = view[start : start + PIECE]
                digest.update(part)
                _write_all(number, part)
            size += len(view)
        os.fsync(number)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(number)
    return Written(size, digest.hexdigest())


def sync(path: Path) -> None:
    """Waits until a file's bytes, or a directory's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def free(directory: Path) -> int:
    """Bytes free where the directory is, or will be."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def check_room(directory: Path, needed: int) -> None:
    """OSError where so many bytes and a fifth more, for what others write meanwhile, are not free."""
    if free(directory) < needed + needed // 5:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def told(error: BaseException) -> str:
    """What kept a file from being written, in words: its name and the system's reason."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{Path(str(error.filename)).name}: {error.strerror}" if error.filename else error.strerror


def _write_all(number: int, part: memoryview) -> None:
    """A system may take less than it is given, as one that is nearly full does."""
    while part:
        part = part[os.write(number, part) :]

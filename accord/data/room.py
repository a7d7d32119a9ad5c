"""Room for what is kept for other runs: within a limit, and never the last of a disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar


class Sized(Protocol):
    """Something kept. size: bytes."""

    @property
    def size(self) -> int: ...


Entry = TypeVar("Entry", bound=Sized)


def make_room(
    root: Path, needed: int, *, limit: int, entries: Sequence[Entry], remove: Callable[[list[Entry]], object]
) -> None:
    """Evicts the first entries until `needed` bytes more are within the limit, and at most half of what is free.

    OSError where that cannot be.
    """
    if needed > limit:
        raise OSError(errno.EFBIG, f"{needed} bytes are more than the cache may hold ({limit})")
    total, going = sum(entry.size for entry in entries) + needed, list[Entry]()
    for entry in entries:
        if total <= limit:
            break
        going.append(entry)
        total -= entry.size
    remove(going)
    root.mkdir(parents=True, exist_ok=True)
    if 2 * needed > shutil.disk_usage(root).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

"""Who has a run folder: one process at a time. The system frees the lock when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from accord.errors import StorageError

NAME = "run.lock"  # the file stays, and says who had it last


def take(folder: Path) -> TextIO:
    """The folder's lock, this process's until it is closed. StorageError names the process that has it."""
    lock = open(folder / NAME, "a+", encoding="utf-8")
    if not _taken(lock):
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        what = f"in use by another run ({holder})"
        raise StorageError(what, where=str(folder), fix="wait for it, or take another --output_dir")
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}{_boot()}\n")
    lock.flush()
    return lock


def held_by(folder: Path) -> str | None:
    """Who has the run folder now, as its lock says; None where no process has it."""
    if not (folder / NAME).is_file():  # a pipe would be waited for
        return None
    try:
        with open(folder / NAME, encoding="utf-8", errors="replace") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip()
    except OSError:  # none there, or another user's
        return None
    return None


def _taken(lock: TextIO) -> bool:
    """Whether the lock is this process's now. A short while is waited, as `held_by` has it for a moment."""
    for _ in range(5):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def _boot() -> str:
    """Which start of the machine this is: the same process number means another process after the next one."""
    with suppress(OSError):
        return ", boot " + Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    return ""  # no Linux

"""A run in a process of its own that dies at a chosen moment: by the clock, between doings on files, within a write.

All that Python opens for writing, moves, makes, removes and fsyncs below the run's place is an event; the events of a
run that was left alone say where another one can be killed. A write is cut by the kernel: past a limit (RLIMIT_FSIZE)
it ends the process, whatever code writes, with part of the bytes in the file.
"""

import json
import mmap
import os
import re
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from accord.training.optimizer import Weights

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
UNIQUE = re.compile(r"[0-9a-f]{32}")  # in the names of files that are being written
SAVED = re.compile(r"/run/checkpoints/step-(\d+)\S*$")
PATIENCE = 120.0  # seconds after which a run hangs
HUNG = 98
BOARD = struct.Struct("qq400s")


class Kill(NamedTuple):
    """clock: the signal `number`, `at` seconds after optimiser step `step` of this process, 0: after its start.

    event: SIGKILL before event `at`, counted from 1.

    cut: in the first write after event `at` that makes a file longer than `size` bytes.
    """

    how: Literal["clock", "event", "cut"]
    at: float
    size: int = 0
    step: int = 0
    number: int = signal.SIGKILL


class Ended(NamedTuple):
    """How a process ended. code: its exit code, or minus the signal; HUNG where it did not end. last: its last event.

    steps: optimiser steps that it took. saved: the last step whose checkpoint got its name. events: all of them, where
    it was left alone.
    """

    code: int
    seconds: float
    steps: int
    saved: int
    last: str
    events: tuple[str, ...]


class _Board:
    """What a process shows while it lives, to be read when it is dead."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, BOARD.size)
        self.steps, self.saved, self.last = 0, 0, ""

    def show(self) -> None:
        BOARD.pack_into(self._shared, 0, self.steps, self.saved, self.last.encode()[:400])

    def read(self) -> tuple[int, int, str]:
        steps, saved, last = BOARD.unpack_from(self._shared)
        return steps, saved, last.rstrip(b"\0").decode(errors="replace")


def run(main: Callable[[], int], place: Path, log: Path, kill: Kill | None = None) -> Ended:
    """Forks; the child runs `main`, which works in `place` and says into `log`, until it is done or dead."""
    board, record = _Board(), log.with_suffix(".events")
    record.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = _child(main, log, _Doings(place, kill, board), record)
        finally:
            os._exit(code)
    code = _ended(child, kill, board)
    events = tuple(json.loads(record.read_text())) if kill is None and record.exists() else ()
    return Ended(code, time.monotonic() - began, *board.read(), events)


def _ended(child: int, kill: Kill | None, board: _Board) -> int:
    """Waits for its end, which may come by a signal from here."""
    if kill is not None and kill.how == "clock":
        code = _waited(child, PATIENCE, lambda: board.read()[0] >= kill.step)
        code = _waited(child, kill.at) if code is None else code
        if code is not None:
            return code
        os.kill(child, kill.number)
    if (code := _waited(child, PATIENCE)) is not None:
        return code
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


def _waited(child: int, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
    """The exit code; None where the child is still alive after that time, or once what is waited for has come."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if until() or time.monotonic() > end:
            return None
        time.sleep(0.002)


def _child(main: Callable[[], int], log: Path, doings: "_Doings", record: Path) -> int:
    kill = doings.kill
    # A cut would hit the log, too.
    out = os.open("/dev/null" if kill and kill.how == "cut" else log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(out, number)
    doings.hook()
    code = main()
    if kill is None:
        record.write_text(json.dumps(doings.seen))
    return code


class _Doings:
    """The events of this process; with `hook` it begins to count them, and dies when its turn has come."""

    def __init__(self, place: Path, kill: Kill | None, board: _Board) -> None:
        self.place, self.kill, self.board = f"{place.resolve()}/", kill, board
        self.seen: list[str] = []

    def hook(self) -> None:
        fsync, step = os.fsync, Weights.step

        def synced(number: int) -> None:
            self.event("fsync", os.readlink(f"/proc/self/fd/{number}"))
            fsync(number)

        first: list[Weights] = []  # a critic's come after the policy's

        def counted(weights: Weights, lr: float) -> None:
            step(weights, lr)
            first.append(weights)
            self.board.steps += weights is first[0]
            self.board.show()

        signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
        # Python hears SIGXFSZ itself, and only the main thread may change that. Nobody wants a core file.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.addaudithook(self._audit)
        os.fsync, os.rename, os.replace = synced, self._named(os.rename), self._named(os.replace)
        Weights.step = counted  # type: ignore[method-assign]

    def event(self, what: str, *paths: str) -> None:
        """Shown before it is done."""
        if not paths[0].startswith(self.place):
            return
        self.board.last = " ".join([what, *(UNIQUE.sub("*", path.removeprefix(self.place)) for path in paths)])
        self.seen.append(self.board.last)
        self.board.show()
        if self.kill is None or len(self.seen) != self.kill.at:
            return
        if self.kill.how == "event":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kill.how == "cut":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.kill.size, resource.RLIM_INFINITY))

    def _audit(self, name: str, given: tuple[Any, ...]) -> None:
        if name == "open" and isinstance(given[0], (str, os.PathLike)) and given[2] & WRITES:
            self.event("open", os.fspath(given[0]))
        elif name == "os.rename":
            self.event("rename", os.fspath(given[0]), os.fspath(given[1]))
        elif name in ("os.remove", "os.rmdir", "os.mkdir"):
            inside = given[-1]  # shutil.rmtree names what it removes from within its directory
            start = os.readlink(f"/proc/self/fd/{inside}") if inside != -1 else ""
            self.event(name.removeprefix("os."), os.path.join(start, os.fspath(given[0])))

    def _named(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(source: Any, target: Any, **more: Any) -> None:
            move(source, target, **more)
            if found := SAVED.search(str(target)):
                self.board.saved = int(found[1])
                self.board.show()

        return moved

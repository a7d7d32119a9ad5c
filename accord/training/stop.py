"""Signals while a run trains: what was begun is finished and saved, and then it ends. Asked twice it ends at once.

SIGTERM is what a scheduler sends before it kills, SIGINT what Ctrl-C sends, SIGHUP a terminal that is closed.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Left(Exception):
    """Work that is done again on resuming was left in the middle, as the run is to stop."""


class Waits(Exception):
    """The run ends here, and goes on once people have done their part.

    what: says which part. name, text: of a file of the run folder that they need. is_new: they are asked for the first
    time, so that all has to be saved before.
    """

    def __init__(self, what: str, name: str, text: str, *, is_new: bool) -> None:
        self.what, self.name, self.text, self.is_new = what, name, text, is_new
        super().__init__(what)


class Stop:
    """Inside this context manager the signals are only noted. One that was ignored before, as under nohup, stays so.

    Handlers are set in the main thread alone, as Python has it: elsewhere nothing is noted.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None  # the one that came
        self._is_asked = False
        self._before: dict[int, Any] = {}

    def passing(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; raises Left before the next one once a signal has come."""
        for item in items:
            if self.signal is not None:
                raise Left
            yield item

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:  # it comes beside SIGTERM where a session is closed, and asks for no more than that
            self.signal = self.signal or signal.SIGHUP
            _tell(f"{name}: the step is finished and saved first")
            return
        # Written straight to the descriptor: a handler may come in the middle of any other writing.
        if self._is_asked:
            _tell(f"error[{128 + number}] {name} again: left at once: what was saved before is there: resume from it")
            os._exit(128 + number)
        self._is_asked, self.signal = True, self.signal or signal.Signals(number)
        _tell(f"{name}: the step is finished and saved first; a second one leaves at once")


def to_nowhere(descriptor: int) -> None:
    """What is written there from now on is lost, and fails no more: nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _tell(line: str) -> None:
    try:
        os.write(2, f"\n{line}\n".encode())
    except OSError as error:  # no room on the disk is no reason not to save
        if error.errno in (errno.EPIPE, errno.EIO):  # Ctrl-C ended the reader, too; or the terminal is gone
            to_nowhere(2)

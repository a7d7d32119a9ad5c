"""Work on many things at once, in threads that nobody has to wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AFTER = 5.0  # seconds in which what is under way may come to its end, where something has failed


def each(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, over: threading.Event
) -> Iterator[tuple[int, Result]]:
    """(place, work(item)) of every item, as they are done; begun in their order, `workers` at a time.

    What work raises is raised here, after `over` was set: nothing more is begun, and what is under way has AFTER
    seconds. Ctrl-C ends at once; the threads end with the process.
    """
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, Result | BaseException, bool]] = SimpleQueue()
    for place in range(len(items)):
        todo.put(place)

    def run() -> None:
        while not over.is_set():
            try:
                place = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((place, work(items[place]), True))
            except BaseException as error:  # it belongs to the thread that waits
                done.put((place, error, False))
                return

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            place, found, is_whole = done.get()
            if not is_whole:
                _end(threads, over)
                raise found  # type: ignore[misc]
            yield place, found  # type: ignore[misc]
    finally:
        over.set()


def _end(threads: Sequence[threading.Thread], over: threading.Event) -> None:
    over.set()
    until = time.monotonic() + AFTER
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))

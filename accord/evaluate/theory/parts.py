"""What `accord theory` goes through: parts, and the tasks of each. `contents.py` has them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from accord.evaluate.theory.found import Found
from accord.evaluate.theory.world import World


class Task(NamedTuple):
    """One method in one world. `find` runs it: mostly one row, several where they come of the same work."""

    name: str
    find: Callable[[], Sequence[Found]]


class Part(NamedTuple):
    """A section of the table. tasks: made at once, run one by one."""

    title: str
    tasks: Callable[[Sequence[World]], list[Task]]
    long: bool = False  # only with --full


def timed(task: Task) -> list[Found]:
    """Runs a task; its seconds are shared out over its rows."""
    began = time.perf_counter()
    rows = list(task.find())
    seconds = (time.perf_counter() - began) / max(1, len(rows))
    return [row._replace(seconds=seconds) for row in rows]

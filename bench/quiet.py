"""Whether others use the machine: a measurement beside a busy neighbour says nothing."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY = 0.05  # share of all cores that others may use
LOOK = 3.0  # seconds of one look


def busy_seconds() -> float:
    """Processor time that all processes (and other guests of the host) have used since the machine started."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:  # not Linux: nothing can be said
        return 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, line[:8])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Watch:
    """`others`: the share of all cores that others used while it was open."""

    others: float = 0.0


@contextmanager
def watch() -> Iterator[Watch]:
    """Watches the processors; the children started within must have ended at its end."""
    found = Watch()
    began, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    yield found
    used = (busy_seconds() - busy) - (own_seconds() - own)
    found.others = max(0.0, used / (time.monotonic() - began) / (os.cpu_count() or 1))


def wait_until_quiet(limit: float) -> float:
    """Waits at most `limit` seconds for others to pause; the share of all cores that they used at the last look."""
    end = time.monotonic() + limit
    while True:
        with watch() as found:
            time.sleep(LOOK)
        if found.others <= BUSY or time.monotonic() >= end:
            return found.others

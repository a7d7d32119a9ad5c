"""The memory of this process, in bytes. Used on both sides, so nothing but the standard library."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak() -> int:
    """The most that was resident at any time. Started by a small process: Linux counts the starter's memory too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def now() -> int:
    """What is resident now; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


class Marks(list[dict[str, object]]):
    """Memory at named points of a run."""

    def add(self, name: str) -> None:
        self.append({"at": name, "now": now(), "peak": peak()})

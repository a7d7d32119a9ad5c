"""How much memory this process may still take: what the machine has, and what its control groups leave of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Limit, use and the part of the use that goes back when asked for: files' bytes that were not needed lately.
NAMES = {  # version of control groups -> names of its files, and of that part in memory.stat
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Bytes that can be taken without swapping or being killed; None where the system does not say (not Linux)."""
    try:
        found = [_fields(proc / "meminfo")["MemAvailable"] * 1024]
    except (OSError, KeyError, ValueError):
        return None
    return max(0, min([*found, *_left(proc, groups)]))


def _left(proc: Path, groups: Path) -> Iterator[int]:
    """What each control group that this process is in leaves, from its own one up."""
    for version, place in _places(proc, groups):
        limit, used, idle = NAMES[version]
        try:
            most = int((place / limit).read_text())
            taken = int((place / used).read_text()) - _fields(place / "memory.stat").get(idle, 0)
        except (OSError, ValueError):  # not there, or "max": no limit
            continue
        yield most - taken


def _places(proc: Path, groups: Path) -> Iterator[tuple[int, Path]]:
    """(version, directory) of this process's groups and those above. In a container they are mounted as the root."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, root = 2, groups
        elif "memory" in controllers.split(","):
            version, root = 1, groups / "memory"
        else:
            continue
        own = root / path.strip("/")
        yield from ((version, place) for place in (own, *own.parents) if place.is_relative_to(root))


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number, such as "MemFree: 12 kB" and "inactive_file 12"."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}

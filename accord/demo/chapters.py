"""What the demo says while it runs: before each part what happens and why, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

PRIOR = 20.0  # seconds: for how long it counts that this machine may be as fast as the other


class Chapters:
    """Takes the time of each part. expected: seconds that each takes on some machine, in their order."""

    def __init__(self, expected: Mapping[str, float], clock: Callable[[], float] = time.perf_counter) -> None:
        self.expected, self.clock = expected, clock
        self.seconds: dict[str, float] = {}
        self.console = Console(stderr=True)

    def open(self, folder: Path) -> None:
        """What is to come."""
        self.console.print(
            "[bold]From random weights to an aligned model[/bold], in a written world so small that the truth about "
            f"every text is known. It takes {duration(sum(self.expected.values()))} on a quiet machine; everything "
            f"goes to {folder}.",
            highlight=False,
            soft_wrap=True,
        )

    @contextmanager
    def chapter(self, name: str, text: str) -> Iterator[None]:
        """One part of the demo."""
        place = f"{len(self.seconds) + 1}/{len(self.expected)}"
        left = f"  ({duration(self.left())} left)" if self.seconds else ""
        self.console.print(f"\n[bold]{place} {name}[/bold]: {text}{left}", highlight=False, soft_wrap=True)
        began = self.clock()
        yield
        self.seconds[name] = self.clock() - began

    def left(self) -> float:
        """Seconds that the parts to come will take, if they are as much slower or faster as those that are done."""
        done = PRIOR + sum(self.expected[name] for name in self.seconds)
        rate = (PRIOR + sum(self.seconds.values())) / done
        return rate * sum(seconds for name, seconds in self.expected.items() if name not in self.seconds)


def duration(seconds: float) -> str:
    """about 4 minutes, or about 40 seconds"""
    if seconds < 90:
        return f"about {max(1, round(seconds))} second{'s' if round(seconds) > 1 else ''}"
    return f"about {seconds / 60:.1f} minutes"

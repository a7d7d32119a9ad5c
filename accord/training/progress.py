"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from accord.training.stop import to_nowhere

WINDOW = 50  # steps over which rates are taken
TOLD = 1000  # rows between two numbers of a reading


class Screen(Console):
    """Standard error. Where nobody reads it any more, nothing ends by that."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """What comes later, from wherever, is not written at all."""
        self.quiet = True
        with suppress(OSError):  # no descriptor is behind it
            to_nowhere(self.file.fileno())


class Tick(NamedTuple):
    """A moment (seconds) at which `step` was reached, and the groups and tokens since the one before."""

    time: float
    groups: int
    tokens: int
    step: int


class Progress:
    """Steps `start` to `total` of a command. A context manager; `advance` after every step, `log` at logging steps.

    On a terminal a bar moves at every step; where output is a file, a pipe or CI, `log` prints a line.
    """

    def __init__(
        self,
        name: str,
        total: int,
        *,
        start: int = 0,
        unit: str = "step",
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.step, self.unit = name, total, start, unit
        self.console = console or Screen()
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal and not os.environ.get("CI")
        self.clock = clock
        self.ticks = deque([Tick(clock(), 0, 0, start)], maxlen=WINDOW + 1)
        self.loss: float | None = None
        self.shown = ""
        self.text = ""
        # The numbers keep their width; the bar takes what a narrow terminal leaves, up to 40.
        numbers = TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True))
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(table_column=Column(max_width=40)),
            numbers,
        )
        self._bar = RichProgress(*columns, console=self.console, disable=not self.live)
        self._task: TaskID = self._bar.add_task(name, total=total, completed=start, text="")

    def advance(
        self, step: int, epoch: float | None, loss: float | None, groups: int, tokens: int, shown: str = ""
    ) -> None:
        """Step `step` is done; it took so many groups and tokens. A loss of None leaves the last one standing.

        shown: what is said in the place of the loss.
        """
        self.step, self.shown = step, shown
        self.ticks.append(Tick(self.clock(), groups, tokens, step))
        self.loss = self.loss if loss is None else loss
        self.text = self._describe(epoch)
        self._bar.update(self._task, completed=step, text=self.text)

    def note(self, text: str) -> None:
        """What is done between two steps, on the bar."""
        self._bar.update(self._task, text=text)

    def log(self) -> None:
        """The state as a plain line, where there is no bar."""
        if not self.live:
            self.print(f"{self.name} {self.unit} {self.text}")

    def print(self, text: str) -> None:
        """A line of text; a bar stays below it. Where it cannot be written, as to a full disk, it is lost."""
        with suppress(OSError):
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def rates(self) -> tuple[float, float]:
        """(groups, tokens) per second over the last steps."""
        seconds = self.ticks[-1].time - self.ticks[0].time
        if seconds <= 0:
            return 0.0, 0.0
        recent = list(self.ticks)[1:]
        return sum(tick.groups for tick in recent) / seconds, sum(tick.tokens for tick in recent) / seconds

    def _describe(self, epoch: float | None) -> str:
        groups, tokens = self.rates()
        first, last = self.ticks[0], self.ticks[-1]
        seconds = (last.time - first.time) / max(1, last.step - first.step)
        passes = "" if epoch is None else f"  epoch {epoch:.2f}"
        shown = "" if self.loss is None else f"  loss {self.loss:.4f}"
        shown = f"  {self.shown}" if self.shown else shown
        left = _clock((self.total - self.step) * seconds)
        return f"{self.step}/{self.total}{passes}{shown}  {groups:.1f} groups/s  {tokens:,.0f} tok/s  {left} left"

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()


class Waiting:
    """A line on the terminal that says how far the reading of a source is, whose end is not known; elsewhere nothing.

    A context manager; `tell` after every row.
    """

    def __init__(self, name: str, *, console: Console | None = None) -> None:
        self._name, self._began = escape(name), time.monotonic()
        self._status = (console or Screen()).status(f"reading {self._name}")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def tell(self, rows: int) -> None:
        if rows % TOLD == 0:
            rate = rows / max(time.monotonic() - self._began, 1e-9)
            self._status.update(f"reading {self._name}: {rows:,} rows, {rate:,.0f} a second")


def printable(text: str) -> str:
    """Without control characters, which a badly trained model may write and a terminal may obey."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _clock(seconds: float) -> str:
    """Seconds as 0:05, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say(text: str) -> None:
    """A line for the user, on standard error."""
    Progress("", 1).print(text)

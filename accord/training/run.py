"""The run folder: who owns it, what a run writes into it, and what resuming takes back out.

run.json (which run), run.yaml (its resolved config), data_report.json, metrics.jsonl and samples.jsonl (one line each
log step or sample), curves.png, trackers.json (what finds the run at trackers), tensorboard/, summary.json.
Checkpoints and the model are written by others.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

from accord.errors import InputError, IntegrityError, StorageError
from accord.models.writing import sync
from accord.training import curves, lock, trackers
from accord.training.ended import ending

# What a run has written before its first step: a run that got no further leaves nothing to lose.
OF_ITS_START = {"run.json", lock.NAME, "run.yaml", "data_report.json"}
BEFORE_STEP_1 = {
    "samples.jsonl", "metrics.jsonl", "trackers.json", "tensorboard", "reference.safetensors", "diverged.json",
}  # fmt: skip
LOGS = ("metrics.jsonl", "samples.jsonl")
CHANGE = ("step", "key", "was", "is", "time")  # steps done then; seconds since 1970


class Held(NamedTuple):
    """What run.json says of the run that a folder holds."""

    id: str
    command: str
    clock: datetime  # when it was started, in local time
    changes: list[dict[str, Any]]  # of what it was started with: each has the keys of CHANGE


class RunFolder:
    """One run's directory. `claim` makes it this process's; use it as a context manager, which lets go of it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.id = ""
        self.step = 0  # the last one done, for `end`
        self.waits: str | None = None  # what people have to do before the run goes on, for `end`
        self._started = False
        self._lock: TextIO | None = None
        self._reporters: trackers.Reporters | None = None
        self._reached = 0  # the last step logged before `take_back`

    def look(self, command: str, *, resume: bool = False) -> Held | None:
        """Before anything is read: the run that `command` continues here, None where it begins one.

        Raises as `claim`. Where there is a run, it is this process's from here on; no directory is made for a new one.
        """
        with _storage(self.path):
            if (self.path / "run.json").exists():
                self._lock = lock.take(self.path)
            _check_writable(self.path)
        if resume and (held := self._held()):
            self._refuse_other(held, command)
            self.id = held.id
            return held
        self._refuse_full()
        return None

    def claim(self, command: str, *, resume: bool = False, clock: datetime | None = None) -> bool:
        """Takes the directory for a run of `command`; True where it continues the run that is there.

        clock: when it was started, in local time; not given: now. Raises InputError where the directory holds something
        else and StorageError where another process has it.
        """
        with _storage(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = lock.take(self.path)
        if resume and (held := self._held()):
            self._refuse_other(held, command)
            self.id = held.id
            return True
        self._refuse_full()
        self.id, clock = uuid.uuid4().hex, clock or datetime.now()
        begun = {"id": self.id, "command": command, "started": clock.timestamp(), "clock": clock.isoformat()}
        self.write_json("run.json", begun)
        for left in self.path.iterdir():
            if left.name in BEFORE_STEP_1:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        return False

    def record(self, **facts: object) -> None:
        """Adds to run.json, in the place of what was there under the same names."""
        with _storage(self.path / "run.json"):
            held = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        self.write_json("run.json", held | facts)

    def start(self) -> None:
        """Nothing refuses the run any more: what run.json says of an earlier process is past.

        directory: to which paths in run.yaml are relative.
        """
        self._started = True
        for path in self._asides():
            path.unlink()
        self.record(ended=None, directory=os.getcwd())

    def end(self, error: BaseException | None = None) -> None:
        """Records how this process ended, once it had started; that this fails does not hide an error."""
        if not self._started:
            return
        self._started = False
        with suppress(Exception) if error else nullcontext():
            self.record(ended=ending(error, self.step, self.waits))

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the folder, or of one in it, whole or not at all; it is on the disk then."""
        file = self.path / name
        aside = file.with_name(f".{file.name}.tmp")
        with _storage(file):
            file.parent.mkdir(exist_ok=True)
            aside.write_text(text, encoding="utf-8")
            sync(aside)
            os.replace(aside, file)
            sync(file.parent)

    def write_json(self, name: str, value: object) -> None:
        """As `write_text`; numbers that are not finite become null, which JSON has."""
        self.write_text(name, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")

    def log(
        self, step: int, epoch: float, train: Mapping[str, float], held_out: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """One line of metrics.jsonl: step, epoch, time (seconds since 1970), `train`, and `held_out` as `eval_...`.

        It goes to the trackers too, and comes back.
        """
        held_out = held_out or {}
        named = {f"eval_{name}": value for name, value in held_out.items()}
        self.step = step
        line = {"step": step, "epoch": epoch, "time": time.time(), **train, **named}
        self._append("metrics.jsonl", [line])
        if self._reporters:
            self._reporters.log(step, train, held_out)
        return line

    def add_samples(self, step: int, samples: Iterable[Mapping[str, Any]]) -> None:
        """Lines of samples.jsonl: what the model wrote after `step` steps."""
        self._append("samples.jsonl", [{"step": step, **sample} for sample in samples])

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl so far."""
        return self._lines("metrics.jsonl")

    def samples(self) -> list[dict[str, Any]]:
        """The lines of samples.jsonl so far."""
        return self._lines("samples.jsonl")

    def marks(self) -> dict[str, int]:
        """How many lines metrics.jsonl and samples.jsonl have: for a checkpoint, so that `take_back` returns to it."""
        return {name: len(self._texts(name)) for name in LOGS}

    def missing(self, marks: Mapping[str, int]) -> dict[str, int]:
        """Before resuming: file -> how many of the lines that `marks` counts are gone, where some are.

        IntegrityError where one of them is not what was written.
        """
        gone = {name: count - len(self._lines(name, count)) for name, count in marks.items()}
        return {name: count for name, count in gone.items() if count}

    def take_back(self, marks: Mapping[str, int]) -> None:
        """Before resuming: removes the lines written since `marks`, all where it names none, and a half-written one."""
        self._reached = self._last_step()
        for name in LOGS:
            kept = self._lines(name, marks.get(name, 0))
            self.write_text(name, "".join(_line(line) for line in kept))

    def _last_step(self) -> int:
        """The last one logged; a power cut may have left zeros in the place of lines that no checkpoint counts."""
        steps = [0]
        for text in self._texts("metrics.jsonl"):
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                steps.append(int(json.loads(text)["step"]))
        return max(steps)

    def report(
        self,
        to: Iterable[str],
        step: int = 0,
        *,
        name: str | None = None,
        project: str | None = None,
        config: Mapping[str, object] | None = None,
        tell: Callable[[str], None] = print,
        again: bool = False,
    ) -> None:
        """From now on `log` also writes to these trackers; a resumed run goes on in the runs that it has there.

        step: steps done. again: the run goes on from a checkpoint, which may be of step 0. tell: gets a line where a
        tracker fails later. ServiceError where one cannot be started.
        """
        held = self._tracked() if step or again else {}
        self._reporters = trackers.Reporters(tell, self._reached if step else 0)
        about = trackers.Run(self.path, project or "", name or self.path.name, config or {}, "", step)
        for tracker in to:
            if tracker != "none":
                own = about._replace(held=held.get(tracker, ""))
                self._reporters.trackers[tracker] = trackers.start(tracker, own)
        self.write_json("trackers.json", held | self._reporters.ids)

    def _tracked(self) -> dict[str, str]:
        """By tracker: the id of this run there."""
        file = self.path / "trackers.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def draw_curves(self, title: str, panels: Sequence[curves.Panel] = curves.PANELS) -> None:
        """curves.png from metrics.jsonl; no file where nothing that it shows was logged."""
        aside = self.path / ".curves.tmp.png"
        with _storage(self.path / "curves.png"):
            if curves.draw(self.metrics(), title, aside, panels):
                os.replace(aside, self.path / "curves.png")

    def close(self, failed: bool = False) -> None:
        """Lets go of the directory; trackers are told whether the run failed."""
        if self._reporters:
            self._reporters.close(failed)
            self._reporters = None
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(failed=error is not None)

    def _held(self) -> Held | None:
        """What run.json says of the run in this directory; None where there is none."""
        file = self.path / "run.json"
        if not file.exists():
            return None
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            changes = [{key: one[key] for key in CHANGE} for one in held.get("changes", ())]
            return Held(str(held["id"]), str(held["command"]), datetime.fromisoformat(held["clock"]), changes)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("not Accord's", where=str(file), fix="take another --output_dir") from error

    def _refuse_other(self, held: Held, command: str) -> None:
        if held.command != command:
            what = f"holds a run of `accord {held.command}`, which `accord {command}` cannot continue"
            raise InputError(what, where=str(self.path), fix="take another --output_dir")

    def _refuse_full(self) -> None:
        with _storage(self.path):
            paths = set(self.path.iterdir()) if self.path.exists() else set()
        names = {path.name for path in paths - set(self._asides())}
        if names <= {lock.NAME} or ("run.json" in names and names <= OF_ITS_START | BEFORE_STEP_1):
            if not self._has_steps():
                return
        held = self._held()
        if held is None:
            raise InputError("not empty, and no run of Accord", where=str(self.path), fix="take another --output_dir")
        what = f"holds a run of `accord {held.command}` started {held.clock:%Y-%m-%d %H:%M}"
        raise InputError(what, where=str(self.path), fix="add --resume to continue it, or take another --output_dir")

    def _has_steps(self) -> bool:
        """Whether a step was logged; where that cannot be read, it is taken for granted."""
        try:
            return any(line["step"] for line in self.metrics())
        except IntegrityError:
            return True

    def _asides(self) -> list[Path]:
        """Files that a killed process was writing: they had not got their names."""
        return [path for path in self.path.glob(".*.tmp*") if path.is_file()]

    def _append(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        with _storage(self.path / name), open(self.path / name, "a", encoding="utf-8") as file:
            file.writelines(map(_line, lines))

    def _lines(self, name: str, most: int | None = None) -> list[dict[str, Any]]:
        """The first `most` lines. IntegrityError where one is not what was written."""
        texts = self._texts(name)[:most]
        return [_read_line(text, f"{self.path / name}:{number}") for number, text in enumerate(texts, 1)]

    def _texts(self, name: str) -> list[bytes]:
        file = self.path / name
        if not file.exists():
            return []
        # A killed process may leave a last line without its line break, cut within a character.
        return file.read_bytes().split(b"\n")[:-1]


def _check_writable(path: Path) -> None:
    """OSError where the directory, or what it would be made in, cannot be written: told before hours of reading."""
    path = path.absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _read_line(text: bytes, where: str) -> dict[str, Any]:
    try:
        line: dict[str, Any] = json.loads(text)
        int(line["step"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        fix = "bring back a copy of the file, or remove the line: only curves and tables are made of it"
        raise IntegrityError("not what was written", where=where, fix=fix) from error
    return line


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(_finite(value), ensure_ascii=False) + "\n"


def _finite(value: object) -> object:
    """The same with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _storage(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "free some space, or give a directory that can be written to"
        raise StorageError(f"cannot be written ({error.strerror or error})", where=str(place), fix=fix) from error

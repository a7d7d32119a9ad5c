"""A run folder before anything is read or loaded: whose it is, what it is continued from, and whether it may be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from accord.data.template import CLOCK
from accord.errors import InputError
from accord.stages.conditions import check_conditions, conditions
from accord.stages.config import TrainingConfig
from accord.stages.resolve import dump
from accord.stages.resuming import (
    CONTENT,
    OF_DATA,
    OF_THIS_START,
    Change,
    Entry,
    check_changes,
    check_keys,
    computing,
    differences,
    entries_of,
    leaves_best,
    not_allowed,
    started_with,
    tell_changes,
    tell_undone,
)
from accord.stages.setup import Machine, say
from accord.training import checkpoint
from accord.training.checkpoint import Checkpoint, Newest
from accord.training.run import Held, RunFolder

CHECKPOINTS = "checkpoints"


@dataclass
class Entered:
    """What is known of a run before its data are read.

    A fresh one has no directory yet, as its data may still be refused. Of one that is continued nothing is written
    until `go_on`: who is refused finds the folder as it was.
    """

    config: TrainingConfig
    folder: RunFolder | None  # none in a dry run, which writes nothing
    clock: datetime  # of the run's first start, in local time: what templates that ask for the time are told
    conditions: dict[str, Any]
    continues: bool = False  # the folder holds this run already
    found: Checkpoint | None = None  # what it goes on from; the hashes held
    changes: list[Change] = field(default_factory=list)  # since then
    history: list[Entry] = field(default_factory=list)  # the changes that led here; from `go_on` on these, too
    known: list[Entry] = field(default_factory=list)  # what run.json has: those of tries that saved nothing, too
    data: str = ""  # their fingerprint, once they are read, without texts that are mixed in
    report: object = None  # of the data, for data_report.json
    reference: str = ""  # the seal of the run's copy of the reference; empty where it has none
    rewards: str = ""  # that of its reward models

    @property
    def step(self) -> int:
        """The steps that are done."""
        return self.found.step if self.found else 0

    def takes(self, change: Change) -> bool:
        """Whether this may change; if so, it is among the changes from here on."""
        if not_allowed([change], self.config, self.step, self.known):
            return False
        self.changes.append(change)
        return True

    def tell_clock(self, template: str) -> None:
        """Says on which day the run goes on by its chat template, where that asks."""
        day = self.clock.date()
        if CLOCK in template and day != datetime.now().date():
            say(f"note: the chat template writes the date: {day}, the day of the run's first start, as it did then")

    def check_data(self, was: str, now: str) -> None:
        """InputError where the checkpoint was trained on other data, by their fingerprints, and none were allowed."""
        if self.found is None or was == now:
            return
        change = Change(CONTENT, f"fingerprint {was[:16]}", f"fingerprint {now[:16]}")
        if any(one.key in OF_DATA for one in self.changes):  # which make other tokens of the same files
            self.changes.append(change)
        elif not self.takes(change):
            what = "was trained on other data: the files, or the tokens made of them, have changed since"
            fix = f"resume with the data that the run began with, or with --allow_change {CONTENT} to go on with these"
            raise InputError(what, where=str(self.found.path), fix=fix)

    def check_frozen(self, was: str, now: str) -> None:
        """InputError where the weights that are not trained are others, by their digests, and none were allowed."""
        change = Change("model", f"frozen weights {was[:16] or 'none'}", f"frozen weights {now[:16] or 'none'}")
        if was == now or any(one.key in ("model", "base_model") for one in self.changes) or self.takes(change):
            return
        fix = "resume with the base model as it was, or with --allow_change model to go on with this one"
        where = str(self.found.path if self.found else "")
        raise InputError("was trained on another base: its weights have changed since", where=where, fix=fix)

    def check_fixed(self, key: str, what: str, was: str, now: str) -> None:
        """InputError where what a run does not train, as its reference, is another model, by its digests, and that was
        not allowed. key: the option that names it."""
        change = Change(key, f"weights {was[:16] or 'unknown'}", f"weights {now[:16] or 'unknown'}")
        if was == now or any(one.key in ("model", key) for one in self.changes) or self.takes(change):
            return
        fix = f"resume with the {what} as it was, or with --allow_change {key} to go on with this one"
        where = str(self.found.path if self.found else "")
        raise InputError(f"was trained with another {what}: its weights have changed since", where=where, fix=fix)

    def check_end(self, total: int) -> None:
        """InputError where the run, of `total` steps by its options, has nothing left to do, and it had before."""
        if total > self.step or (total == self.step and all(map(leaves_best, self.changes))):
            return
        what = f"{self.step} steps are done, and with these options the run has {total}"
        fix = "more --max_steps or --num_train_epochs, or the options that the run began with"
        raise InputError(what, where=str(self.folder and self.folder.path), fix=fix)

    def go_on(self) -> None:
        """Nothing refuses any more: says what has changed, and writes it into the folder."""
        assert self.folder is not None
        tell_changes(self.changes, self.config.run.allow_change, self.step)
        tell_undone(self.changes, [one for one in self.known if one not in self.history], self.step)
        self.history += entries_of(self.changes, self.step)
        if self.history or self.known:
            self.folder.record(changes=self.history)
        self.write()

    def write(self) -> None:
        """What a run is begun with, into its folder."""
        assert self.folder is not None
        self.folder.start()
        self.folder.write_text("run.yaml", dump(self.config, without=OF_THIS_START))
        self.folder.write_json("data_report.json", self.report)

    def about(self, fingerprint: str) -> dict[str, Any]:
        """For the manifest of a checkpoint: what its numbers come from, in short. fingerprint: of all data."""
        options = json.dumps(computing(self.config), sort_keys=True)
        config = hashlib.sha256(options.encode()).hexdigest()
        return {
            "config": config,
            "data": fingerprint,
            "reference": self.reference,
            "rewards": self.rewards,
            **self.conditions,
        }


def enter(command: str, config: TrainingConfig, place: Machine) -> Entered:
    """Looks into the run folder, and holds it where it has a run.

    InputError: another run's folder, or other options than those of the run that is resumed. StorageError: another
    process has it. IntegrityError: there are checkpoints, and none verifies.
    """
    check_keys(config)
    now, here = datetime.now(), conditions(place)
    if config.run.dry_run:
        return Entered(config, None, now, here)
    folder = RunFolder(config.run.output_dir)
    try:
        held = folder.look(command, resume=bool(config.run.resume))
        if held is not None:
            return _continued(folder, held, config, here)
    except BaseException:
        folder.close()
        raise
    if isinstance(config.run.resume, str):
        what = f"holds no run, so none that {config.run.resume} could be of"
        raise InputError(what, where=str(folder.path), fix="--output_dir is the folder of the run that is resumed")
    if config.run.resume:
        say(f"nothing to resume in {folder.path}: starting anew")
    return Entered(config, folder, now, here)


def _continued(folder: RunFolder, held: Held, config: TrainingConfig, here: dict[str, Any]) -> Entered:
    found = _found(folder, config.run.resume)
    before = found.state["config"] if found else started_with(folder)
    changes = differences(before, config) if before is not None else []
    step = found.step if found else 0
    where = str(found.path if found else folder.path)
    check_changes(changes, config, step, held.changes, where, kept=found is not None)
    if found:
        check_conditions(found.about, here, found.path)
    history = found.state["changes"] if found else [one for one in held.changes if one["step"] == 0]
    return Entered(config, folder, held.clock, here, True, found, changes, history, held.changes)


def _found(folder: RunFolder, resume: bool | str) -> Checkpoint | None:
    """The checkpoint to go on from; None where the run has none yet, which is said."""
    own = folder.path / CHECKPOINTS
    found, skipped = _named(Path(resume)) if isinstance(resume, str) else checkpoint.newest(own)
    for one in skipped:
        say(f"warning: {one.path.name} is damaged and was left out: {one.reason}")
    if found is None:
        say(f"no checkpoint yet in {own}: starting anew")
        return None
    if found.run != folder.id:
        fix = "--output_dir is the folder of the run that is resumed, and --resume PATH one of its checkpoints"
        raise InputError(f"is of another run than {folder.path}", where=str(found.path), fix=fix)
    if "config" not in found.state:
        what = "holds weights only, and nothing to go on from"
        raise InputError(what, where=str(found.path), fix=f"name one of {own}, or --resume alone for the newest")
    return found


def _named(path: Path) -> Newest:
    """A checkpoint; or, of a folder of them or a run folder, the newest one that verifies."""
    fix = "a checkpoint, the folder of checkpoints, or a run folder; --resume alone takes the newest"
    if not path.is_dir():
        what = "is a file" if path.is_file() else "no such directory"
        raise InputError(what, where=f"--resume {path}", fix=fix)
    if checkpoint.NAME.fullmatch(path.resolve().name):
        return Newest(checkpoint.load(path), ())
    place = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    newest = checkpoint.newest(place)
    if newest.checkpoint is None:
        raise InputError("holds no checkpoint", where=f"--resume {path}", fix=fix)
    return newest
